"""The server parses requests and formats responses of the Open Inference Protocol."""

import json
import struct

import numpy as np
import pytest
from deeplens.embedding import wire as client
from deeplens.embedding.model import ModelRef

from functions.inference_endpoint.wire import (
    MAX_IMAGES,
    BadRequest,
    InferRequest,
    TooLarge,
    format_response,
    header_length_of,
    parse_request,
)

PIXELS = {"name": "pixels", "datatype": "FP32", "shape": [1, 3, 1, 2]}
IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
TEXT = {"name": "text", "datatype": "BYTES", "shape": [2]}


def whole(document: object) -> tuple[bytes, None]:
    return json.dumps(document).encode(), None


def binary(tensor: dict[str, object], raw: bytes, **more: object) -> tuple[bytes, int]:
    tensor = tensor | {"parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + raw, len(head)


def test_the_server_parses_the_clients_request() -> None:
    asked = parse_request(*client.encode_request([b"abc", b"", b"de"]))

    assert asked.images == [b"abc", b"", b"de"]
    assert asked.binary_output


def test_the_client_parses_the_servers_response() -> None:
    rows = np.array([[0.6, 0.8]], np.float32)
    body, length = format_response("tiny", "1", rows, InferRequest(images=[b""], binary_output=True))
    assert client.decode_response(body, length or 0, 1, ModelRef("tiny", "1", 2)) == pytest.approx(rows)


@pytest.mark.parametrize("values", [[0, 1, 2, 3, 4, 5], [[[[0, 1]], [[2, 3]], [[4, 5]]]]], ids=["flat", "nested"])
def test_pixels_come_as_json_numbers(values: object) -> None:
    asked = parse_request(*whole({"id": "7", "inputs": [PIXELS | {"data": values}]}))

    assert asked.pixels is not None
    assert asked.pixels.dtype == np.float32
    assert asked.pixels.tolist() == [[[[0, 1]], [[2, 3]], [[4, 5]]]]
    assert (asked.id, asked.binary_output) == ("7", False)


def test_texts_come_as_bytes_or_json() -> None:
    texts = ["a cat", "süß 🐱"]
    raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)

    assert parse_request(*binary(TEXT, raw)).texts == texts
    assert parse_request(*whole({"inputs": [TEXT | {"data": texts}]})).texts == texts


def test_a_text_longer_than_any_context_is_refused() -> None:
    with pytest.raises(TooLarge, match="characters"):
        parse_request(*whole({"inputs": [TEXT | {"data": ["a", "a" * 10_000]}]}))


def test_pixels_come_as_bytes() -> None:
    asked = parse_request(*binary(PIXELS, np.arange(6, dtype="<f4").tobytes()))
    assert asked.pixels is not None
    assert asked.pixels.reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "embedding", "parameters": {"binary_data": True}}]}, True),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "embedding", "parameters": {"binary_data": False}}],
            },
            False,
        ),
    ],
)
def test_the_output_is_binary_when_asked_for(more: dict[str, object], expected: bool) -> None:
    assert parse_request(*whole({"inputs": [PIXELS | {"data": [0] * 6}], **more})).binary_output is expected


def test_a_json_answer_carries_numbers_and_the_requests_id() -> None:
    rows = np.array([[0.5, -0.5]], np.float32)
    body, length = format_response("tiny", "1", rows, InferRequest(images=[b""], id="7"))

    assert length is None
    assert json.loads(body) == {
        "id": "7",
        "model_name": "tiny",
        "model_version": "1",
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -0.5]}],
    }


@pytest.mark.parametrize(
    ("request_parts", "message"),
    [
        pytest.param((b"", None), "JSON", id="empty"),
        pytest.param((b"\xff\xfe", None), "JSON", id="not UTF-8"),
        pytest.param((b"[" * 100_000, None), "JSON", id="nested without end"),
        pytest.param((b"[]", None), "object", id="a list"),
        pytest.param((b"{}", 99), "99 bytes", id="header longer than the body"),
        pytest.param(whole({}), "one tensor", id="no inputs"),
        pytest.param(whole({"inputs": {}}), "one tensor", id="inputs no list"),
        pytest.param(whole({"inputs": [7]}), "one tensor", id="input no object"),
        pytest.param(whole({"inputs": [IMAGE, PIXELS]}), "one tensor", id="two inputs"),
        pytest.param(whole({"inputs": [IMAGE | {"name": "label"}]}), "one tensor", id="another input"),
        pytest.param(whole({"inputs": [TEXT | {"data": ["a"]}]}), "2 strings", id="too few texts"),
        pytest.param(whole({"inputs": [TEXT | {"data": ["a", 7]}]}), "2 strings", id="a number as text"),
        pytest.param(whole({"inputs": [TEXT]}), "2 strings", id="no texts"),
        pytest.param(binary(TEXT, struct.pack("<I1sI1s", 1, b"a", 1, b"\xff")), "UTF-8", id="text in Latin-1"),
        pytest.param(whole({"inputs": [PIXELS | {"datatype": "UINT8"}]}), "FP32", id="another type"),
        pytest.param(whole({"inputs": [PIXELS], "id": 7}), "id", id="id no string"),
        pytest.param(whole({"inputs": [PIXELS | {"parameters": [1]}]}), "parameters", id="parameters no object"),
        pytest.param(whole({"inputs": [PIXELS], "outputs": [{"name": "logits"}]}), "embedding", id="another output"),
        pytest.param(whole({"inputs": [PIXELS], "outputs": ["embedding"]}), "embedding", id="output no object"),
        pytest.param(whole({"inputs": [PIXELS]}), "FP32|values", id="no data"),
        pytest.param(whole({"inputs": [PIXELS | {"data": ["a"] * 6}]}), "FP32", id="strings"),
        pytest.param(whole({"inputs": [PIXELS | {"data": [[1], [2, 3]]}]}), "FP32", id="ragged"),
        pytest.param(whole({"inputs": [PIXELS | {"data": [1]}]}), "needs 6", id="too few numbers"),
        pytest.param(whole({"inputs": [PIXELS | {"shape": [1, 3, -1, 2]}]}), "shape", id="negative side"),
        pytest.param(whole({"inputs": [PIXELS | {"shape": [True, 3, 1, 2]}]}), "shape", id="boolean side"),
        pytest.param(whole({"inputs": [PIXELS | {"shape": [3, 1, 2]}]}), "shape", id="three sides"),
        pytest.param(whole({"inputs": [IMAGE | {"data": ["abc"]}]}), "binary", id="image in JSON"),
        pytest.param(binary(IMAGE | {"shape": [0]}, b""), "shape", id="no images"),
        pytest.param(binary(IMAGE, b"\x01\x00"), "truncated", id="half a length"),
        pytest.param(binary(IMAGE, struct.pack("<I2s", 3, b"ab")), "element 0 is truncated", id="half an image"),
        pytest.param(binary(IMAGE, struct.pack("<II", 0, 0)), "the data has 2", id="more images than said"),
        pytest.param(binary(PIXELS, b"abc"), "FP32", id="half a number"),
        pytest.param((binary(IMAGE, b"1234")[0] + b"rest", binary(IMAGE, b"1234")[1]), "8 bytes follow", id="rest"),
        pytest.param((binary(IMAGE, b"1234")[0][:-1], binary(IMAGE, b"1234")[1]), "3 bytes follow", id="cut"),
    ],
)
def test_the_error_of_an_invalid_request_names_the_place(request_parts: tuple[bytes, int | None], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        parse_request(*request_parts)


def test_more_images_than_a_request_may_have_are_too_large() -> None:
    with pytest.raises(TooLarge, match=str(MAX_IMAGES)):
        parse_request(*client.encode_request([b""] * (MAX_IMAGES + 1)))


@pytest.mark.parametrize(
    ("content_type", "header", "expected"),
    [
        ("application/json", None, None),
        ("application/octet-stream", "12", 12),
        ("application/vnd.sagemaker-triton.binary+json;json-header-size=34", None, 34),
        ("application/vnd.sagemaker-triton.binary+json; json-header-size=34", None, 34),
    ],
)
def test_the_json_ends_where_a_header_says(content_type: str, header: str | None, expected: int | None) -> None:
    assert header_length_of(content_type, header) == expected


@pytest.mark.parametrize("given", ["", "-1", "1.5", "twelve", "²"])
def test_a_header_length_is_a_number(given: str) -> None:
    with pytest.raises(BadRequest):
        header_length_of("", given)
    with pytest.raises(BadRequest):
        header_length_of(f"{client.SAGEMAKER_TYPE}{given}", None)
