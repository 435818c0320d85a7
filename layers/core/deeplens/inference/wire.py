"""Open Inference Protocol v2, binary tensors, from the client's side: pure functions on bytes."""

import json
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from deeplens.domain import ModelRef
from deeplens.errors import ModelMismatch
from deeplens.ports import Vectors

HEADER_LENGTH = "Inference-Header-Content-Length"
SAGEMAKER_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
NORM_TOLERANCE = 1e-3


def encode_request(images: Sequence[bytes]) -> tuple[bytes, int]:
    """The request's body, and the length of its JSON part."""
    raw = b"".join(struct.pack("<I", len(image)) + image for image in images)
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"binary_data_size": len(raw)},
    }
    output = {"name": "embedding", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    return head + raw, len(head)


def decode_response(body: bytes, header_length: int, count: int, model: ModelRef) -> Vectors:
    """The embedding of a response, float32, shape (count, dimensions).

    Raises
    ------
    ModelMismatch
        The answer is of another model, shape or length than asked for, or not finite and normalised.
    """
    try:
        document = json.loads(body[:header_length])
        output = document["outputs"][0]
        values = np.frombuffer(body[header_length:], "<f4").astype(np.float32).reshape(output["shape"])
        named = (document["model_name"], document["model_version"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelMismatch("the endpoint's answer breaks the protocol") from error
    if named != (model.name, model.version) or values.shape != (count, model.dimensions):
        raise ModelMismatch(f"asked for {model}, {count} images; got {named}, shape {values.shape}")
    if not np.isfinite(values).all() or (np.abs(np.linalg.norm(values, axis=1) - 1) > NORM_TOLERANCE).any():
        raise ModelMismatch("the endpoint's embeddings are not normalised")
    return values


def split_batch(images: Sequence[bytes], max_images: int, max_bytes: int) -> Iterator[Sequence[bytes]]:
    """Runs of ``images`` within both limits; one that is too large by itself goes alone."""
    start, size = 0, 0
    for position, image in enumerate(images):
        cost = len(image) + 4
        if position > start and (position - start >= max_images or size + cost > max_bytes):
            yield images[start:position]
            start, size = position, 0
        size += cost
    if start < len(images):
        yield images[start:]
