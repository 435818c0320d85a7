"""Open Inference Protocol v2 with binary tensors, for clients: pure functions on bytes."""

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic_core import from_json

from deeplens.embedding.model import ModelProfile, ModelRef, Thresholds
from deeplens.embedding.ports import Vectors
from deeplens.errors import InferenceUnavailable, InvalidImage, ModelMismatch

HEADER_LENGTH = "Inference-Header-Content-Length"
SAGEMAKER_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
NORM_TOLERANCE = 1e-3
MAX_HEADER_BYTES = 256
"""Upper bound of a request's JSON part."""


def encode_request(items: Sequence[bytes], name: Literal["image", "text"] = "image") -> tuple[bytes, int]:
    """The request's body, and the length of its JSON part; texts are UTF-8."""
    size = sum(len(item) + 4 for item in items)
    tensor = {"name": name, "datatype": "BYTES", "shape": [len(items)], "parameters": {"binary_data_size": size}}
    output = {"name": "embedding", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    elements = (part for item in items for part in (struct.pack("<I", len(item)), item))
    return b"".join((head, *elements)), len(head)


def decode_response(body: bytes, header_length: int, count: int, model: ModelRef) -> Vectors:
    """The embedding of a response, float32, shape (count, dimensions).

    Raises
    ------
    InferenceUnavailable
        The answer breaks the protocol.
    ModelMismatch
        The answer has another model or shape than requested.
    InvalidImage
        A row is not finite or not of length 1: the model has no usable embedding of that image.
    """
    try:
        document = from_json(body[:header_length])
        output = document["outputs"][0]
        named = (document["model_name"], document["model_version"])
        described = (output["name"], output["datatype"], output["shape"])
        values = np.frombuffer(body, "<f4", offset=header_length).astype(np.float32)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InferenceUnavailable("its answer breaks the protocol") from error
    expected = ("embedding", "FP32", [count, model.dimensions])
    if named != (model.name, model.version) or described != expected:
        raise ModelMismatch(f"asked {model} for {list(expected)}, got {list(described)} of {named}")
    if values.size != count * model.dimensions:
        raise InferenceUnavailable(f"its answer has {values.size} values for {count} images")
    return _checked(values.reshape(count, model.dimensions))


def decode_metadata(body: bytes, name: str, version: str) -> ModelProfile:
    """Read a model's metadata: dimensions from the shape of its embedding, the rest from its parameters.

    Raises
    ------
    InferenceUnavailable
        The answer breaks the protocol, or names no embedding of a fixed length.
    """
    try:
        document = from_json(body)
        shape = next(output["shape"] for output in document["outputs"] if output["name"] == "embedding")
        said = document.get("parameters") or {}
        limits = [float(said[key]) for field in Thresholds.__slots__ if (key := f"threshold_{field}") in said]
        thresholds = Thresholds(*limits) if len(limits) == len(Thresholds.__slots__) else None
        ref = ModelRef(name, version, int(shape[-1]))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise InferenceUnavailable("its metadata breaks the protocol") from error
    if ref.dimensions < 1:
        raise InferenceUnavailable(f"its metadata gives the embedding {ref.dimensions} dimensions")
    return ModelProfile(ref, thresholds, bool(said.get("text")))


def _checked(values: Vectors) -> Vectors:
    # Written so that a NaN fails the comparison.
    usable = np.abs(np.linalg.norm(values, axis=1) - 1) <= NORM_TOLERANCE
    if not usable.all():
        raise InvalidImage(f"the model has no usable embedding for image {int(usable.argmin())} of {len(values)}")
    return values


def split_batch(images: Sequence[bytes], max_images: int, max_bytes: int) -> Iterator[Sequence[bytes]]:
    """Split images so that each request keeps both limits; an image above the limit gets a request of its own."""
    start, size = 0, MAX_HEADER_BYTES
    for position, image in enumerate(images):
        cost = len(image) + 4
        if position > start and (position - start >= max_images or size + cost > max_bytes):
            yield images[start:position]
            start, size = position, MAX_HEADER_BYTES
        size += cost
    if start < len(images):
        yield images[start:]
