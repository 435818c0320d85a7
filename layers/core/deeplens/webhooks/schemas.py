"""Bodies of the Admin API about webhooks."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from deeplens.http.schemas import AT, ApiModel, Request, example
from deeplens.webhooks.model import DeliveryState

EventType = Literal[
    "image.completed",
    "image.failed",
    "video.completed",
    "video.failed",
    "duplicates.found",
    "usage.budget",
    "whatsapp.message",
]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=7)]
Url = Annotated[str, StringConstraints(min_length=8, max_length=2000, pattern=r"^https?://[!-~]+$")]
WEBHOOK = {
    "webhookId": "whk_01kd1v8q4w2m6n9r5t7x3z0abc",
    "url": "https://example.com/hooks/deeplens",
    "events": ["image.completed", "image.failed"],
    "enabled": True,
    "createdAt": AT,
    "failures": 0,
}
DELIVERY = {
    "deliveryId": "whd_0f3a9b1c2d4e5f60718293a4b5c6d7e8",
    "type": "image.completed",
    "state": "delivered",
    "attempts": 1,
    "createdAt": AT,
    "lastStatus": 204,
    "deliveredAt": "2026-11-20T10:30:01Z",
}


class WebhookRequest(Request):
    model_config = example({"url": "https://example.com/hooks/deeplens", "events": ["image.failed"]})

    url: Url = Field(description="https, at a public address")
    events: EventTypes


class WebhookChange(Request):
    """Members that are absent stay as they are. Enabling a webhook resets its failures."""

    model_config = example({"enabled": True})

    url: Url | None = None
    events: EventTypes | None = None
    enabled: bool | None = None


class WebhookView(ApiModel):
    model_config = example(WEBHOOK)

    webhook_id: str
    url: str
    events: list[EventType]
    enabled: bool
    disabled_reason: str | None = None
    created_at: AwareDatetime
    failures: int = Field(description="in a row")
    failing_since: AwareDatetime | None = None
    paused_until: AwareDatetime | None = Field(default=None, description="after a failure, nothing is sent before")
    previous_secret_until: AwareDatetime | None = Field(
        default=None, description="until then messages also carry the signature of the previous secret"
    )


class NewWebhookView(WebhookView):
    """No other response contains the ``secret``."""

    model_config = example({**WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    secret: str


class WebhookList(ApiModel):
    model_config = example({"webhooks": [WEBHOOK]})

    webhooks: list[WebhookView]


class DeliveryView(ApiModel):
    """A delivery that is ``waiting`` is sent at ``nextAt``; one that ``failed`` is sent again only on request."""

    model_config = example(DELIVERY)

    delivery_id: str
    type: str
    state: DeliveryState
    attempts: int
    created_at: AwareDatetime
    next_at: AwareDatetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    delivered_at: AwareDatetime | None = None


class DeliveryList(ApiModel):
    model_config = example({"deliveries": [DELIVERY]})

    deliveries: list[DeliveryView] = Field(description="newest first; kept for 30 days")
