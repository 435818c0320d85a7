"""What the Admin API takes and gives about webhooks."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from deeplens.http.schemas import ApiModel, example

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
AT = "2026-11-20T10:30:00Z"
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


class WebhookRequest(ApiModel):
    model_config = ConfigDict(
        extra="forbid", **example({"url": "https://example.com/hooks/deeplens", "events": ["image.failed"]})
    )

    url: Url = Field(description="https, at a public address")
    events: EventTypes


class WebhookChange(ApiModel):
    """What is absent stays. Enabling one forgets its failures."""

    model_config = ConfigDict(extra="forbid", **example({"enabled": True}))

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
    paused_until: AwareDatetime | None = Field(default=None, description="nothing is sent before, after a failure")
    previous_secret_until: AwareDatetime | None = Field(
        default=None, description="until then messages carry the signature of the secret before as well"
    )


class NewWebhookView(WebhookView):
    """``secret`` is shown this once."""

    model_config = example({**WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    secret: str


class WebhookList(ApiModel):
    model_config = example({"webhooks": [WEBHOOK]})

    webhooks: list[WebhookView]


class DeliveryView(ApiModel):
    """``waiting`` is tried at ``nextAt``; ``failed`` is not, unless it is asked for."""

    model_config = example(DELIVERY)

    delivery_id: str
    type: str
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    created_at: AwareDatetime
    next_at: AwareDatetime | None = None
    last_status: int | None = None
    last_error: str | None = None
    delivered_at: AwareDatetime | None = None


class DeliveryList(ApiModel):
    model_config = example({"deliveries": [DELIVERY]})

    deliveries: list[DeliveryView] = Field(description="newest first; kept for 30 days")
