"""/v1/admin/tenants/{id}/webhooks: endpoints of a tenant, and what was sent to them."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from deeplens.access.caller import Administrator
from deeplens.common.ids import new_id
from deeplens.common.outgoing import OutgoingMessage
from deeplens.egress.rules import check_endpoint
from deeplens.errors import ApiError, EndpointRefused
from deeplens.events.ids import follow_up_id
from deeplens.events.notifications import TenantNotification
from deeplens.http.dependencies import Admin, AdminParts
from deeplens.http.problems import responses
from deeplens.webhooks.model import OVERLAP, Delivery, Webhook, body_of, delivery_id
from deeplens.webhooks.schemas import (
    DeliveryList,
    DeliveryView,
    NewWebhookView,
    WebhookChange,
    WebhookList,
    WebhookRequest,
    WebhookView,
)
from deeplens.webhooks.tick import try_of

MOST = 10
PING = "webhook.ping"

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/webhooks", tags=["webhooks"])


def webhook_in_path(parts: Admin, tenant: Administrator, webhook_id: str) -> Webhook:
    found = parts.webhooks.find(tenant.id, webhook_id)
    if found is None:
        detail = f"{tenant.id} has no webhook {webhook_id[:64]}."
        raise ApiError(404, "webhook-not-found", "Webhook not found", detail)
    return found


InPath = Annotated[Webhook, Depends(webhook_in_path)]


@router.get("", summary="Webhooks of a tenant", responses=responses(404))
def list_webhooks(parts: Admin, tenant: Administrator) -> WebhookList:
    return WebhookList(webhooks=[WebhookView(**shown(one)) for one in parts.webhooks.of_tenant(tenant.id)])


@router.post("", status_code=201, summary="Add a webhook", responses=responses(404, 409))
def add_webhook(parts: Admin, tenant: Administrator, wanted: WebhookRequest) -> NewWebhookView:
    """Its secret is shown this once. In effect everywhere within ten seconds."""
    if len(parts.webhooks.of_tenant(tenant.id)) >= MOST:
        raise ApiError(409, "too-many-webhooks", "Too many webhooks", f"A tenant has at most {MOST}; remove one.")
    _check_url(parts, wanted.url)
    now = parts.clock.now()
    webhook = Webhook(new_id("whk", now), tenant.id, wanted.url, tuple(sorted(set(wanted.events))), now)
    parts.webhooks.save(webhook)
    return NewWebhookView(**shown(webhook), secret=parts.webhook_signer.secret(webhook))


@router.get("/{webhook_id}", summary="One webhook", responses=responses(404))
def webhook_detail(webhook: InPath) -> WebhookView:
    return WebhookView(**shown(webhook))


@router.patch("/{webhook_id}", summary="Change, disable or enable a webhook", responses=responses(404))
def change_webhook(parts: Admin, webhook: InPath, wanted: WebhookChange) -> WebhookView:
    if wanted.url is not None:
        _check_url(parts, wanted.url)
    changed = replace(
        webhook,
        url=wanted.url or webhook.url,
        events=tuple(sorted(set(wanted.events))) if wanted.events else webhook.events,
        enabled=webhook.enabled if wanted.enabled is None else wanted.enabled,
    )
    if wanted.enabled:
        changed = replace(changed, disabled_reason=None, failing_since=None, failures=0, paused_until=None)
    parts.webhooks.save(changed)
    return WebhookView(**shown(changed))


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook", responses=responses(404))
def remove_webhook(parts: Admin, webhook: InPath) -> None:
    """With its deliveries."""
    parts.webhooks.remove(webhook.tenant_id, webhook.id)


@router.post("/{webhook_id}/rotate", status_code=201, summary="Replace the secret", responses=responses(404))
def rotate_secret(parts: Admin, webhook: InPath) -> NewWebhookView:
    """For a day messages carry both signatures, so that the endpoint can change over in its own time."""
    until = parts.clock.now() + OVERLAP
    rotated = replace(webhook, secret_version=webhook.secret_version + 1, previous_until=until)
    parts.webhooks.save(rotated)
    return NewWebhookView(**shown(rotated), secret=parts.webhook_signer.secret(rotated))


@router.post("/{webhook_id}/ping", status_code=202, summary="Send a test message", responses=responses(404, 409))
def ping_webhook(parts: Admin, webhook: InPath) -> DeliveryView:
    """Of type ``webhook.ping``; follow it among the deliveries."""
    _require_enabled(webhook)
    now = parts.clock.now()
    event_id = new_id("ping", now)
    message = TenantNotification(tenant_id=webhook.tenant_id, type=PING, occurred_at=now, details={})
    id_ = delivery_id(webhook.id, event_id)
    delivery = Delivery(id_, webhook.id, webhook.tenant_id, event_id, PING, body_of(message), now, next_at=now)
    parts.webhooks.add(delivery)
    return _sent(parts, delivery)


@router.get("/{webhook_id}/deliveries", summary="What was sent", responses=responses(404))
def list_deliveries(parts: Admin, webhook: InPath, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> DeliveryList:
    found = parts.webhooks.deliveries(webhook.tenant_id, webhook.id, limit)
    return DeliveryList(deliveries=[delivered(one) for one in found])


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Send a message again",
    responses=responses(404, 409),
)
def redeliver(parts: Admin, webhook: InPath, delivery_id: str) -> DeliveryView:
    """The same bytes under the same ``webhook-id``, whatever became of them before."""
    _require_enabled(webhook)
    delivery = parts.webhooks.again(webhook.tenant_id, webhook.id, delivery_id, parts.clock.now())
    if delivery is None:
        detail = f"{webhook.id} has no delivery {delivery_id[:64]}."
        raise ApiError(404, "delivery-not-found", "Delivery not found", detail)
    return _sent(parts, delivery)


def shown(webhook: Webhook) -> dict[str, Any]:
    same = ("url", "enabled", "disabled_reason", "created_at", "failures", "failing_since", "paused_until")
    return {name: getattr(webhook, name) for name in same} | {
        "webhook_id": webhook.id,
        "events": list(webhook.events),
        "previous_secret_until": webhook.previous_until,
    }


def delivered(delivery: Delivery) -> DeliveryView:
    same = ("type", "state", "attempts", "created_at", "last_status", "last_error", "delivered_at")
    next_at = delivery.next_at if delivery.state == "waiting" else None
    return DeliveryView(delivery_id=delivery.id, next_at=next_at, **{name: getattr(delivery, name) for name in same})


def _sent(parts: AdminParts, delivery: Delivery) -> DeliveryView:
    """Ask for a try now; should that get lost, the schedule asks within a minute."""
    event_id = follow_up_id("webhook", f"{delivery.id}/{delivery.next_at.isoformat()}", 0)
    parts.publisher.publish([OutgoingMessage(try_of(delivery), event_id)])
    return delivered(delivery)


def _check_url(parts: AdminParts, url: str) -> None:
    try:
        check_endpoint(url, parts.egress)
    except EndpointRefused as error:
        raise ApiError(422, "endpoint-refused", "Endpoint refused", f"{error}.") from None


def _require_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise ApiError(409, "webhook-disabled", "Webhook disabled", "Enable it first.")
