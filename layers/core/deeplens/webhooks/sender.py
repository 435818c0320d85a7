"""``WebhookSender`` on the checked connections of ``egress``."""

from collections.abc import Mapping

from urllib3.exceptions import HTTPError

from deeplens.egress.http import EgressPool
from deeplens.egress.rules import EgressRules
from deeplens.errors import EndpointRefused
from deeplens.telemetry import conventions as names
from deeplens.telemetry import tracing
from deeplens.telemetry.metrics import timed
from deeplens.webhooks.model import Answer

AGENT = "DeepLens-Webhooks/1"


class EgressWebhookSender:
    """Posts to tenants' endpoints; follows no redirect, and reads no more of an answer than its head."""

    def __init__(self, rules: EgressRules) -> None:
        self._pool = EgressPool(rules)

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        with timed("webhook"), tracing.span("webhook POST", attributes={names.HTTP_METHOD: "POST"}) as span:
            context = tracing.traceparent()
            answer = self._send(url, {**headers, **({"traceparent": context} if context else {})}, body)
            span.set({names.HTTP_STATUS: answer.status})
            if answer.status is None or answer.status >= 400:
                span.fail(str(answer.status or "unanswered"))
        return answer

    def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            # The body of the answer may be endless, so the connection is closed instead of reused.
            with self._pool.urlopen("POST", url, body=body, headers={**headers, "user-agent": AGENT}) as answer:
                return Answer(answer.status)
        except EndpointRefused as error:
            return Answer(error=str(error))
        except (HTTPError, OSError) as error:
            return Answer(error=type(error).__name__)
