"""Parse requests and format responses of Open Inference Protocol v2 with the binary tensor data extension.

https://github.com/kserve/open-inference-protocol and Triton's ``extension_binary_data.md``.
"""

import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_LENGTH = "inference-header-content-length"
SAGEMAKER_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
SAGEMAKER_PATTERN = re.compile(r"application/vnd\.sagemaker-triton\.binary\+json;\s*json-header-size=(.*)")
DATATYPES = {"image": "BYTES", "pixels": "FP32", "text": "BYTES"}
MAX_IMAGES = 256
MAX_TEXT_CHARACTERS = 8192
"""Limit of a text; tokenizers truncate at the model's context anyway."""


class BadRequest(Exception):
    """The request violates the protocol; the message says where."""


class TooLarge(Exception):
    """The request has too many images or bytes; split it."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request with either encoded ``images``, decoded ``pixels``, float32, shape (n, 3, h, w), or ``texts``."""

    images: list[bytes] | None = None
    pixels: npt.NDArray[np.float32] | None = None
    texts: list[str] | None = None
    binary_output: bool = False
    id: str | None = None

    @property
    def count(self) -> int:
        """Number of images or texts."""
        return len(next(inputs for inputs in (self.images, self.pixels, self.texts) if inputs is not None))


def header_length_of(content_type: str, header: str | None) -> int | None:
    """Return the bytes of JSON before the tensors; None if the whole body is JSON.

    The protocol's header contains the number, or SageMaker's content type.
    """
    match = SAGEMAKER_PATTERN.fullmatch(content_type)
    length = match[1] if match else header
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal()):
        raise BadRequest(f"the length of the JSON header is {length[:20]!r}, not a number")
    return int(length)


def parse_request(body: bytes | memoryview, header_length: int | None) -> InferRequest:
    """Read a request.

    Parameters
    ----------
    header_length : bytes of JSON before the tensors; None if the whole body is JSON.

    Raises
    ------
    BadRequest, TooLarge
    """
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise BadRequest(f"the JSON header should have {length} bytes, the body has {len(body)}")
    document = _document(bytes(body[:length]))
    tensor = _input(document)
    data = _tensor_data(tensor, memoryview(body)[length:])
    binary, request_id = _binary_output(document), document.get("id")
    match tensor["name"]:
        case "image":
            return InferRequest(images=_images(tensor, data), binary_output=binary, id=request_id)
        case "pixels":
            return InferRequest(pixels=_pixels(tensor, data), binary_output=binary, id=request_id)
    return InferRequest(texts=_texts(tensor, data), binary_output=binary, id=request_id)


def _document(head: bytes) -> dict[str, Any]:
    try:
        document = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the request's JSON cannot be parsed") from error
    if not isinstance(document, dict) or not isinstance(document.get("id", ""), str):
        raise BadRequest("the request must be a JSON object, and its id a string")
    return document


def _input(document: dict[str, Any]) -> dict[str, Any]:
    """Return the only input tensor. Raises ``BadRequest``."""
    match document.get("inputs"):
        case [{"name": "image" | "pixels" | "text" as name, **rest} as tensor]:
            if rest.get("datatype") != DATATYPES[name]:
                raise BadRequest(f"{name}: datatype must be {DATATYPES[name]}")
            return dict(tensor)
    raise BadRequest('inputs must be one tensor, named "image" (BYTES), "pixels" (FP32) or "text" (BYTES)')


def _parameters(owner: dict[str, Any]) -> dict[str, Any]:
    parameters = owner.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequest("parameters must be an object")
    return parameters


def _binary_output(document: dict[str, Any]) -> bool:
    """Return whether the request wants the embedding as binary data, by its own or by the common parameter."""
    default = bool(_parameters(document).get("binary_data_output"))
    match document.get("outputs") or []:
        case []:
            return default
        case [{"name": "embedding"} as output]:
            return bool(_parameters(output).get("binary_data", default))
    raise BadRequest('outputs must be one tensor, named "embedding"')


def _tensor_data(tensor: dict[str, Any], raw: memoryview) -> Any:
    """Return a view of the tensor's binary data, or its value in JSON."""
    size = _parameters(tensor).get("binary_data_size")
    if size is None and not raw:
        return tensor.get("data")
    if size != len(raw):
        raise BadRequest(f"{tensor['name']}: binary_data_size is {size}, {len(raw)} bytes follow the JSON")
    return raw


def _images(tensor: dict[str, Any], data: Any) -> list[bytes]:
    if not isinstance(data, memoryview):
        raise BadRequest("image: send BYTES as binary data; JSON cannot hold them")
    return _elements(tensor, data)


def _texts(tensor: dict[str, Any], data: Any) -> list[str]:
    """Return texts from UTF-8 in binary data, or from strings in JSON."""
    count = _shape(tensor, 1)[0]
    try:
        texts = [element.decode() for element in _elements(tensor, data)] if isinstance(data, memoryview) else data
    except UnicodeDecodeError as error:
        raise BadRequest("text: the data is not UTF-8") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or len(texts) != count:
        raise BadRequest(f"text: the data must be {count} strings")
    if any(len(text) > MAX_TEXT_CHARACTERS for text in texts):
        raise TooLarge(f"text: at most {MAX_TEXT_CHARACTERS} characters each")
    return texts


def _elements(tensor: dict[str, Any], data: memoryview) -> list[bytes]:
    """Return the elements of a BYTES tensor, each of which follows its length."""
    count, elements, position = _shape(tensor, 1)[0], list[bytes](), 0
    while position < len(data):
        start = position + 4
        length = struct.unpack_from("<I", data, position)[0] if start <= len(data) else 0
        position = start + length
        if position > len(data):
            raise BadRequest(f"{tensor['name']}: element {len(elements)} is truncated")
        elements.append(bytes(data[start:position]))
    if len(elements) != count:
        raise BadRequest(f"{tensor['name']}: shape says {count} elements, the data has {len(elements)}")
    return elements


def _pixels(tensor: dict[str, Any], data: Any) -> npt.NDArray[np.float32]:
    shape = _shape(tensor, 4)
    try:
        binary = isinstance(data, memoryview)
        values = np.frombuffer(data, "<f4") if binary else np.asarray(data, np.float32).reshape(-1)
    except (ValueError, TypeError) as error:
        raise BadRequest("pixels: the data is not FP32") from error
    if values.size != math.prod(shape):
        raise BadRequest(f"pixels: shape {shape} needs {math.prod(shape)} values, the data has {values.size}")
    return values.reshape(shape)


def _shape(tensor: dict[str, Any], rank: int) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) != rank or not all(type(n) is int and n > 0 for n in shape):
        raise BadRequest(f"{tensor['name']}: shape must have {rank} positive numbers")
    if shape[0] > MAX_IMAGES:
        raise TooLarge(f"{tensor['name']}: {shape[0]} in one request; at most {MAX_IMAGES}")
    return shape


def format_response(
    name: str, version: str, embedding: npt.NDArray[np.float32], request: InferRequest
) -> tuple[bytes, int | None]:
    """Return the response's body, and the length of its JSON if tensors follow it."""
    output: dict[str, Any] = {"name": "embedding", "datatype": "FP32", "shape": list(embedding.shape)}
    document: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": [output]}
    if request.id is not None:
        document["id"] = request.id
    if not request.binary_output:
        output["data"] = embedding.reshape(-1).tolist()
        return json.dumps(document).encode(), None
    raw = embedding.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps(document).encode()
    return head + raw, len(head)
