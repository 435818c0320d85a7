"""/v1/admin/tenants/{id}/webhooks: a tenant's endpoints and their deliveries."""

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from deeplens.access.caller import Administrator
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.egress.rules import EgressRules, check_endpoint
from deeplens.errors import ApiError, BrokerUnavailable, EndpointRefused
from deeplens.events.ids import follow_up_id
from deeplens.events.notifications import TenantNotification
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.publish import Publishing
from deeplens.webhooks.model import OVERLAP, Delivery, Webhook, Webhooks, WebhookSigner, body_of, delivery_id
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

MAX_WEBHOOKS = 10
PING = "webhook.ping"

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/webhooks", tags=["webhooks"])


Hooks = Injected[Webhooks]
Egress = Injected[EgressRules]
Signer = Injected[WebhookSigner]


def webhook_in_path(tenant: Administrator, webhooks: Hooks, webhook_id: str) -> Webhook:
    found = webhooks.find(tenant.id, webhook_id)
    if found is None:
        detail = f"{tenant.id} has no webhook {webhook_id[:64]}."
        raise ApiError(404, "webhook-not-found", "Webhook not found", detail)
    return found


InPath = Annotated[Webhook, Depends(webhook_in_path)]


@router.get("", summary="Webhooks of a tenant", responses=responses(404))
def list_webhooks(tenant: Administrator, webhooks: Hooks) -> WebhookList:
    return WebhookList(webhooks=[WebhookView(**shown(one)) for one in webhooks.of_tenant(tenant.id)])


@router.post("", status_code=201, summary="Add a webhook", responses=responses(404, 409))
def add_webhook(
    tenant: Administrator,
    webhooks: Hooks,
    signer: Signer,
    egress: Egress,
    clock: Injected[Clock],
    wanted: WebhookRequest,
) -> NewWebhookView:
    """Its secret is shown this once. In effect everywhere within ten seconds."""
    if len(webhooks.of_tenant(tenant.id)) >= MAX_WEBHOOKS:
        raise ApiError(
            409, "too-many-webhooks", "Too many webhooks", f"A tenant has at most {MAX_WEBHOOKS}; remove one."
        )
    _check_url(wanted.url, egress)
    now = clock.now()
    webhook = Webhook(new_id("whk", now), tenant.id, wanted.url, tuple(sorted(set(wanted.events))), now)
    webhooks.save(webhook)
    return NewWebhookView(**shown(webhook), secret=signer.secret(webhook))


@router.get("/{webhook_id}", summary="One webhook", responses=responses(404))
def webhook_detail(webhook: InPath) -> WebhookView:
    return WebhookView(**shown(webhook))


@router.patch("/{webhook_id}", summary="Change, disable or enable a webhook", responses=responses(404))
def change_webhook(webhook: InPath, webhooks: Hooks, egress: Egress, wanted: WebhookChange) -> WebhookView:
    if wanted.url is not None:
        _check_url(wanted.url, egress)
    changed = replace(
        webhook,
        url=wanted.url or webhook.url,
        events=tuple(sorted(set(wanted.events))) if wanted.events else webhook.events,
        enabled=webhook.enabled if wanted.enabled is None else wanted.enabled,
    )
    if wanted.enabled:
        changed = replace(changed, disabled_reason=None, failing_since=None, failures=0, paused_until=None)
    webhooks.save(changed)
    return WebhookView(**shown(changed))


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook", responses=responses(404))
def remove_webhook(webhook: InPath, webhooks: Hooks) -> None:
    """With its deliveries."""
    webhooks.remove(webhook.tenant_id, webhook.id)


@router.post("/{webhook_id}/rotate", status_code=201, summary="Replace the secret", responses=responses(404))
def rotate_secret(webhook: InPath, webhooks: Hooks, signer: Signer, clock: Injected[Clock]) -> NewWebhookView:
    """For a day messages carry both signatures, so that the endpoint can change over in its own time."""
    until = clock.now() + OVERLAP
    rotated = replace(webhook, secret_version=webhook.secret_version + 1, previous_until=until)
    webhooks.save(rotated)
    return NewWebhookView(**shown(rotated), secret=signer.secret(rotated))


@router.post("/{webhook_id}/ping", status_code=202, summary="Send a test message", responses=responses(404, 409))
def ping_webhook(webhook: InPath, webhooks: Hooks, clock: Injected[Clock], publish: Publishing) -> DeliveryView:
    """Of type ``webhook.ping``; follow it among the deliveries."""
    _require_enabled(webhook)
    now = clock.now()
    event_id = new_id("ping", now)
    message = TenantNotification(tenant_id=webhook.tenant_id, type=PING, occurred_at=now, details={})
    id_ = delivery_id(webhook.id, event_id)
    delivery = Delivery(id_, webhook.id, webhook.tenant_id, event_id, PING, body_of(message), now, next_at=now)
    webhooks.add(delivery)
    return _try_now(delivery, publish)


@router.get("/{webhook_id}/deliveries", summary="What was sent", responses=responses(404))
def list_deliveries(webhook: InPath, webhooks: Hooks, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> DeliveryList:
    found = webhooks.deliveries(webhook.tenant_id, webhook.id, limit)
    return DeliveryList(deliveries=[delivered(one) for one in found])


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Send a message again",
    responses=responses(404, 409),
)
def redeliver(
    webhook: InPath, webhooks: Hooks, clock: Injected[Clock], publish: Publishing, delivery_id: str
) -> DeliveryView:
    """The same bytes under the same ``webhook-id``, whatever became of them before."""
    _require_enabled(webhook)
    delivery = webhooks.again(webhook.tenant_id, webhook.id, delivery_id, clock.now())
    if delivery is None:
        detail = f"{webhook.id} has no delivery {delivery_id[:64]}."
        raise ApiError(404, "delivery-not-found", "Delivery not found", detail)
    return _try_now(delivery, publish)


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


def _try_now(delivery: Delivery, publish: Publishing) -> DeliveryView:
    """Ask for a try now; should that event get lost, the schedule asks within a minute."""
    event_id = follow_up_id("webhook", f"{delivery.id}/{delivery.next_at.isoformat()}", 0)
    with suppress(BrokerUnavailable):
        publish([try_of(delivery).model_copy(update={"event_id": event_id})])
    return delivered(delivery)


def _check_url(url: str, egress: EgressRules) -> None:
    try:
        check_endpoint(url, egress)
    except EndpointRefused as error:
        raise ApiError(422, "endpoint-refused", "Endpoint refused", f"{error}.") from None


def _require_enabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise ApiError(409, "webhook-disabled", "Webhook disabled", "Enable it first.")
