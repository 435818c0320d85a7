"""``Embedder`` on SageMaker."""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.aws.clients import client
from deeplens.embedding.batched import BatchedEmbedder
from deeplens.embedding.model import ModelRef
from deeplens.embedding.open_inference import error_of, length_of
from deeplens.embedding.wire import SAGEMAKER_TYPE
from deeplens.errors import InferenceBusy, InferenceUnavailable
from deeplens.settings import Settings
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import timed

THROTTLED = {"ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"}


@dataclass(frozen=True)
class SageMakerTransport:
    """``InvokeEndpoint``; the model is named in the custom attributes."""

    runtime: Any
    endpoint_name: str

    def infer(self, body: bytes, header_length: int, model: ModelRef) -> tuple[bytes, int]:
        attributes = f"model={model.name};version={model.version}"
        described = {names.MODEL: f"{model.name}:{model.version}", names.MODEL_OPERATION: "embeddings"}
        with timed("inference"), tracing.span("inference embeddings", attributes=described):
            content, kind = self._invoke(f"{SAGEMAKER_TYPE}{header_length}", attributes, body)
        return content, length_of(kind.removeprefix(SAGEMAKER_TYPE))

    def describe(self, name: str, version: str) -> bytes:
        return self._invoke("application/json", f"model={name};version={version};describe=true", b"{}")[0]

    def _invoke(self, content_type: str, attributes: str, body: bytes) -> tuple[bytes, str]:
        """The answer's body and its content type."""
        try:
            answer = self.runtime.invoke_endpoint(
                EndpointName=self.endpoint_name, ContentType=content_type, CustomAttributes=attributes, Body=body
            )
            return answer["Body"].read(), answer["ContentType"]
        except ClientError as error:
            raise _error_of(error) from error
        except BotoCoreError as error:
            raise InferenceUnavailable(type(error).__name__) from error


def _error_of(error: ClientError) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    if code == "ModelError":
        original: Any = error.response
        return error_of(int(original.get("OriginalStatusCode", 500)), str(original.get("OriginalMessage")).encode())
    return InferenceBusy(code) if code in THROTTLED else InferenceUnavailable(code)


class SageMakerEmbedder(BatchedEmbedder):
    """The adapter for ``INFERENCE_ENDPOINT_NAME``; ``endpoint_url`` overrides ``AWS_ENDPOINT_URL``."""

    def __init__(self, settings: Settings, endpoint_url: str = "") -> None:
        runtime = client("sagemaker-runtime", settings, endpoint_url)
        transport = SageMakerTransport(runtime, settings.inference_endpoint_name)
        super().__init__(transport, settings.inference_max_batch, settings.inference_max_request_bytes)
