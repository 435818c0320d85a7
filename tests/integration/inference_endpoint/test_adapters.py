"""The adapters translate errors of a busy, unreachable, slow or wrong endpoint, and respect its limits."""

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
from deeplens.embedding.model import ModelRef
from deeplens.embedding.wire import HEADER_LENGTH, SAGEMAKER_TYPE
from deeplens.errors import (
    FileTooLarge,
    InferenceBusy,
    InferenceUnavailable,
    InvalidImage,
    ModelMismatch,
    ModelNotFound,
)

from local.services.process import free_port
from tests.fakes.embedding import BUILT_IN
from tests.fakes.endpoint import StubEndpoint
from tests.integration.inference_endpoint.conftest import NewEmbedder, Server, StartServer, new_http, picture


@pytest.fixture
def stub() -> Iterator[StubEndpoint]:
    made = StubEndpoint()
    yield made
    made.close()


def speak(stub: StubEndpoint, values: np.ndarray, **changes: object) -> None:
    """Let the stub answer an embedding over HTTP and behind SageMaker, parts of its JSON changed."""
    output = {"name": "embedding", "datatype": "FP32", "shape": list(values.shape)}
    document = {"model_name": "tiny", "model_version": "1", "outputs": [output]} | changes
    head = json.dumps(document).encode()
    stub.answer(200, head + values.astype("<f4").tobytes())
    stub.headers = {HEADER_LENGTH: str(len(head)), "Content-Type": f"{SAGEMAKER_TYPE}{len(head)}"}


TINY = ModelRef("tiny", "1", 2)
UNIT = np.array([[0.6, 0.8]])


def test_a_valid_answer_is_parsed(adapter: NewEmbedder, stub: StubEndpoint) -> None:
    speak(stub, UNIT)
    assert adapter(stub.url).embed([b"x"], TINY) == pytest.approx(UNIT)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidImage),
        (404, ModelNotFound),
        (413, FileTooLarge),
        (429, InferenceBusy),
        (503, InferenceBusy),
        (403, InferenceUnavailable),
        (500, InferenceUnavailable),
        (502, InferenceUnavailable),
    ],
)
def test_each_error_status_becomes_its_error(
    adapter: NewEmbedder, stub: StubEndpoint, status: int, expected: type[Exception]
) -> None:
    stub.answer(status, b'{"error": "told why"}')
    with pytest.raises(expected, match="told why") as caught:
        adapter(stub.url).embed([b"x"], TINY)
    assert type(caught.value) is expected


def test_a_busy_endpoint_says_when_to_retry(stub: StubEndpoint) -> None:
    stub.answer(429, b"", Retry_After="7")
    with pytest.raises(InferenceBusy) as caught:
        new_http(stub.url).embed([b"x"], TINY)
    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize("body", [b"", b"<html>welcome</html>", b"{}", b"[1]"])
def test_an_invalid_answer_does_not_blame_an_image(adapter: NewEmbedder, stub: StubEndpoint, body: bytes) -> None:
    stub.answer(200, body, Content_Type="text/html")
    with pytest.raises(InferenceUnavailable):
        adapter(stub.url).embed([b"x"], TINY)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name": "other"},
        {"model_version": "2"},
        {"outputs": [{"name": "embedding", "datatype": "FP32", "shape": [1, 3]}]},
        {"outputs": [{"name": "embedding", "datatype": "FP16", "shape": [1, 2]}]},
    ],
)
def test_vectors_of_another_model_are_refused(
    adapter: NewEmbedder, stub: StubEndpoint, changes: dict[str, object]
) -> None:
    speak(stub, UNIT, **changes)
    with pytest.raises(ModelMismatch):
        adapter(stub.url).embed([b"x"], TINY)


@pytest.mark.parametrize("row", [[np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0], [3.0, 4.0]])
def test_a_row_without_length_one_fails_only_its_image(
    adapter: NewEmbedder, stub: StubEndpoint, row: list[float]
) -> None:
    speak(stub, np.array([UNIT[0], row]))
    with pytest.raises(InvalidImage, match="image 1 of 2"):
        adapter(stub.url).embed([b"x", b"y"], TINY)


def test_an_unreachable_endpoint_is_unavailable(adapter: NewEmbedder) -> None:
    with pytest.raises(InferenceUnavailable):
        adapter(f"http://127.0.0.1:{free_port()}").embed([b"x"], TINY)


def test_an_endpoint_that_never_answers_times_out(stub: StubEndpoint) -> None:
    stub.silent = True
    started = time.monotonic()
    with pytest.raises(InferenceUnavailable):
        new_http(stub.url, inference_timeout_seconds=0.2).embed([b"x"], TINY)
    assert time.monotonic() - started < 5


def test_batches_are_split_by_bytes_and_by_count(adapter: NewEmbedder, server: Server) -> None:
    images = [picture(seed) for seed in range(7)]
    whole = adapter(server.url).embed(images, BUILT_IN)

    by_count = adapter(server.url, inference_max_batch=2).embed(images, BUILT_IN)
    by_bytes = adapter(server.url, inference_max_request_bytes=max(map(len, images)) + 300).embed(images, BUILT_IN)

    assert np.abs(by_count - whole).max() < 1e-5
    assert np.abs(by_bytes - whole).max() < 1e-5


def test_an_image_larger_than_a_request_is_refused_for_good(adapter: NewEmbedder, server: Server) -> None:
    large = picture(1, (900, 900), "PNG")
    with pytest.raises(FileTooLarge):
        adapter(server.url, inference_max_request_bytes=4096).embed([large], BUILT_IN)


def test_an_endpoint_that_comes_back_is_used_again(adapter: NewEmbedder, start_server: StartServer) -> None:
    server = start_server()
    embedder = adapter(server.url)
    before = embedder.embed([picture(1)], BUILT_IN)
    server.kill()
    with pytest.raises(InferenceUnavailable):
        embedder.embed([picture(1)], BUILT_IN)

    server.start()

    assert embedder.embed([picture(1)], BUILT_IN) == pytest.approx(before)
