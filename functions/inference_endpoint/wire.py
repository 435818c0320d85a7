"""Open Inference Protocol v2 with the binary tensor data extension.

https://github.com/kserve/open-inference-protocol and Triton's ``extension_binary_data.md``.
"""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_LENGTH = "inference-header-content-length"
SAGEMAKER_TYPE = "application/vnd.sagemaker-triton.binary+json;json-header-size="
MAX_IMAGES = 256


class BadRequest(Exception):
    """The request breaks the protocol; the message says where."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Either encoded ``images`` or prepared ``pixels``, float32, shape (n, 3, h, w)."""

    images: list[bytes] | None
    pixels: npt.NDArray[np.float32] | None
    binary_output: bool
    id: str | None = None


def parse_request(body: bytes, header_length: int | None) -> InferRequest:
    """Read a request.

    Parameters
    ----------
    header_length : bytes of JSON before the tensors; None when the whole body is JSON.

    Raises
    ------
    BadRequest
    """
    head = body if header_length is None else body[:header_length]
    try:
        document = json.loads(head)
        tensors = [tensor for tensor in document["inputs"] if tensor["name"] in ("image", "pixels")]
        first = tensors[0]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadRequest('inputs needs a tensor named "image" (BYTES) or "pixels" (FP32)') from error
    raw = body[len(head) :] if header_length is not None else b""
    data = _tensor_data(first, raw)
    outputs = document.get("outputs") or [{}]
    binary = bool((document.get("parameters") or {}).get("binary_data_output")) or bool(
        (outputs[0].get("parameters") or {}).get("binary_data")
    )
    if first["name"] == "image":
        return InferRequest(_images(first, data), None, binary, document.get("id"))
    return InferRequest(None, _pixels(first, data), binary, document.get("id"))


def _tensor_data(tensor: dict[str, Any], raw: bytes) -> Any:
    size = (tensor.get("parameters") or {}).get("binary_data_size")
    if size is None:
        return tensor.get("data")
    if not isinstance(size, int) or size > len(raw):
        raise BadRequest(f"{tensor['name']}: binary_data_size is {size}, the body holds {len(raw)} bytes")
    return raw[:size]


def _images(tensor: dict[str, Any], data: Any) -> list[bytes]:
    count = _shape(tensor, 1)[0]
    if not isinstance(data, bytes):
        raise BadRequest("image: send BYTES as binary data; JSON cannot hold them")
    images: list[bytes] = []
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position) if position + 4 <= len(data) else (len(data),)
        images.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    if position != len(data) or len(images) != count:
        raise BadRequest(f"image: shape says {count} elements, the data holds {len(images)}")
    return images


def _pixels(tensor: dict[str, Any], data: Any) -> npt.NDArray[np.float32]:
    shape = _shape(tensor, 4)
    try:
        values = np.frombuffer(data, "<f4") if isinstance(data, bytes) else np.asarray(data, np.float32).reshape(-1)
    except (ValueError, TypeError) as error:
        raise BadRequest("pixels: the data is not FP32") from error
    if values.size != math.prod(shape):
        raise BadRequest(f"pixels: shape {shape} needs {math.prod(shape)} values, the data holds {values.size}")
    return values.reshape(shape)


def _shape(tensor: dict[str, Any], rank: int) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) != rank or not all(isinstance(n, int) and n > 0 for n in shape):
        raise BadRequest(f"{tensor['name']}: shape must have {rank} positive numbers")
    if shape[0] > MAX_IMAGES:
        raise BadRequest(f"{tensor['name']}: {shape[0]} in one request; at most {MAX_IMAGES}")
    return shape


def format_response(
    name: str, version: str, embedding: npt.NDArray[np.float32], request: InferRequest
) -> tuple[bytes, int | None]:
    """The response's body, and the length of its JSON when tensors follow it."""
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
