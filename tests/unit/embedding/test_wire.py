"""Requests and answers of the Open Inference Protocol, as the client writes and reads them."""

import json
import struct

import numpy as np
import pytest
from deeplens.embedding.model import ModelRef
from deeplens.embedding.wire import MAX_HEADER_BYTES, decode_response, encode_request, split_batch
from deeplens.errors import DeepLensError, InferenceUnavailable, InvalidImage, ModelMismatch
from hypothesis import given
from hypothesis import strategies as st

MODEL = ModelRef("tiny", "1", 2)
ROWS = np.array([[0.6, 0.8], [1, 0]], "<f4")
DOCUMENT = {
    "model_name": "tiny",
    "model_version": "1",
    "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [2, 2]}],
}


def answer(document: object = DOCUMENT, raw: bytes = ROWS.tobytes()) -> tuple[bytes, int]:
    head = json.dumps(document).encode()
    return head + raw, len(head)


def test_a_request_holds_length_prefixed_images_after_its_json() -> None:
    body, length = encode_request([b"abc", b"", b"de"])

    document = json.loads(body[:length])
    assert document["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": 17}}
    ]
    assert document["outputs"] == [{"name": "embedding", "parameters": {"binary_data": True}}]
    assert body[length:] == struct.pack("<I3sII2s", 3, b"abc", 0, 2, b"de") == body[-17:]


def test_an_answer_is_read_as_float32_rows() -> None:
    embeddings = decode_response(*answer(), 2, MODEL)

    assert embeddings.dtype == np.float32
    assert embeddings == pytest.approx(ROWS)


@pytest.mark.parametrize(
    ("body", "length", "expected"),
    [
        pytest.param(b"", 0, InferenceUnavailable, id="nothing"),
        pytest.param(b"<html>", 6, InferenceUnavailable, id="html"),
        pytest.param(b"[]", 2, InferenceUnavailable, id="not an object"),
        pytest.param(b"[" * 100_000, 100_000, InferenceUnavailable, id="nested too deeply"),
        pytest.param(*answer({}), InferenceUnavailable, id="no outputs"),
        pytest.param(*answer(DOCUMENT | {"outputs": []}), InferenceUnavailable, id="empty outputs"),
        pytest.param(*answer(raw=ROWS.tobytes()[:-1]), InferenceUnavailable, id="half a number"),
        pytest.param(*answer(raw=ROWS.tobytes()[:-4]), InferenceUnavailable, id="a number less"),
        pytest.param(answer()[0], 10_000, InferenceUnavailable, id="length beyond the body"),
        pytest.param(*answer(DOCUMENT | {"model_name": "other"}), ModelMismatch, id="other model"),
        pytest.param(*answer(DOCUMENT | {"model_version": "2"}), ModelMismatch, id="other version"),
    ],
)
def test_a_wrong_answer_is_no_images_fault(body: bytes, length: int, expected: type[DeepLensError]) -> None:
    with pytest.raises(expected):
        decode_response(body, length, 2, MODEL)


@pytest.mark.parametrize("shape", [[4], [1, 4], [2, 3], [-1, 2], "2x2", None])
def test_another_shape_is_another_model(shape: object) -> None:
    output = {"name": "embedding", "datatype": "FP32", "shape": shape}
    with pytest.raises(ModelMismatch):
        decode_response(*answer(DOCUMENT | {"outputs": [output]}), 2, MODEL)


@pytest.mark.parametrize("row", [[np.nan, 0], [np.inf, 0], [0, 0], [0.6, 0.7]])
def test_a_row_that_is_no_direction_names_its_image(row: list[float]) -> None:
    raw = np.array([[0.6, 0.8], row], "<f4").tobytes()
    with pytest.raises(InvalidImage, match="image 1 of 2"):
        decode_response(*answer(raw=raw), 2, MODEL)


@pytest.mark.parametrize(
    ("sizes", "max_images", "max_bytes", "expected"),
    [
        ([], 3, 100, []),
        ([1] * 7, 3, 100, [3, 3, 1]),
        ([10, 10, 10], 9, 28, [2, 1]),
        ([50, 1, 1], 9, 30, [1, 2]),
        ([1, 50, 1], 9, 30, [1, 1, 1]),
    ],
)
def test_batches_keep_both_limits(sizes: list[int], max_images: int, max_bytes: int, expected: list[int]) -> None:
    parts = split_batch([b"x" * size for size in sizes], max_images, max_bytes + MAX_HEADER_BYTES)
    assert [len(part) for part in parts] == expected


@given(
    st.lists(st.binary(max_size=60), max_size=40),
    st.integers(min_value=1, max_value=9),
    st.integers(min_value=MAX_HEADER_BYTES + 64, max_value=MAX_HEADER_BYTES + 300),
)
def test_every_image_is_sent_once_in_order_within_the_limits(
    images: list[bytes], max_images: int, max_bytes: int
) -> None:
    parts = list(split_batch(images, max_images, max_bytes))

    assert [image for part in parts for image in part] == images
    assert all(0 < len(part) <= max_images for part in parts)
    assert all(len(encode_request(part)[0]) <= max_bytes for part in parts)
