"""What each refusal of the endpoint means for the record at hand, directly and through SageMaker."""

from collections.abc import Sequence

import numpy as np
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError
from deeplens.embedding.batched import BatchedEmbedder
from deeplens.embedding.model import ModelRef
from deeplens.embedding.open_inference import error_of
from deeplens.embedding.sagemaker import SageMakerTransport
from deeplens.errors import (
    DeepLensError,
    FileTooLarge,
    InferenceBusy,
    InferenceUnavailable,
    InvalidImage,
    ModelNotFound,
)

MODEL = ModelRef("tiny", "1", 2)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidImage),
        (401, InferenceUnavailable),
        (404, ModelNotFound),
        (413, FileTooLarge),
        (429, InferenceBusy),
        (500, InferenceUnavailable),
        (503, InferenceBusy),
        (504, InferenceUnavailable),
    ],
)
def test_a_status_says_what_happens_next(status: int, expected: type[DeepLensError]) -> None:
    assert type(error_of(status, b"")) is expected


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("7", 7.0), (None, 1.0), ("soon", 1.0), ("Fri, 20 Nov 2026 12:00:00 GMT", 1.0)]
)
def test_a_busy_endpoint_says_when_to_retry(retry_after: str | None, seconds: float) -> None:
    error = error_of(429, b"", retry_after)
    assert isinstance(error, InferenceBusy)
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"error": "image 3 cannot be decoded"}', "image 3"), (b"<html>", "answered 400"), (b"[]", "answered 400")],
)
def test_the_endpoints_reason_is_kept(body: bytes, expected: str) -> None:
    assert expected in str(error_of(400, body))


class RefusingRuntime:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def invoke_endpoint(self, **_: object) -> None:
        raise self.error


def refusal(code: str, **more: object) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}, **more}, "InvokeEndpoint")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (refusal("ModelError", OriginalStatusCode=400, OriginalMessage="{}"), InvalidImage),
        (refusal("ModelError", OriginalStatusCode=429, OriginalMessage="{}"), InferenceBusy),
        (refusal("ModelError", OriginalStatusCode=404), ModelNotFound),
        (refusal("ModelError"), InferenceUnavailable),
        (refusal("ThrottlingException"), InferenceBusy),
        (refusal("ServiceUnavailable"), InferenceBusy),
        (refusal("ModelNotReadyException"), InferenceBusy),
        (refusal("ValidationError"), InferenceUnavailable),
        (refusal("AccessDeniedException"), InferenceUnavailable),
        (refusal("InternalFailure"), InferenceUnavailable),
        (EndpointConnectionError(endpoint_url="http://x"), InferenceUnavailable),
        (ConnectTimeoutError(endpoint_url="http://x"), InferenceUnavailable),
    ],
)
def test_sagemakers_refusals_mean_the_same(raised: Exception, expected: type[DeepLensError]) -> None:
    with pytest.raises(expected) as caught:
        SageMakerTransport(RefusingRuntime(raised), "endpoint").infer(b"", 0, MODEL)
    assert type(caught.value) is expected


class RecordingTransport:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def infer(self, body: bytes, header_length: int, model: ModelRef) -> tuple[bytes, int]:
        self.sizes.append(len(body))
        raise InferenceBusy("full", retry_after_seconds=3)


@pytest.mark.parametrize("images", [[b"x" * 5000], [b"x" * 900, b"y" * 5000]])
def test_an_image_that_no_request_can_carry_is_refused_before_it_is_sent(images: Sequence[bytes]) -> None:
    transport = RecordingTransport()
    with pytest.raises((FileTooLarge, InferenceBusy)):
        BatchedEmbedder(transport, 1, 4096).embed(images, MODEL)
    assert all(size <= 4096 for size in transport.sizes)


def test_no_images_ask_nothing_of_the_endpoint() -> None:
    transport = RecordingTransport()
    embeddings = BatchedEmbedder(transport, 32, 4096).embed([], MODEL)
    assert embeddings.shape == (0, 2)
    assert embeddings.dtype == np.float32
    assert transport.sizes == []
