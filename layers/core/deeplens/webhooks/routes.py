"""/v1/admin/tenants/{id}/webhooks: a tenant's endpoints and their deliveries."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from deeplens.access.caller import Administrator
from deeplens.common.ids import new_id
from deeplens.common.ports import Clock
from deeplens.egress.rules import EgressRules, check_endpoint
from deeplens.errors import ApiError, EndpointRefused
from deeplens.events.ids import with_follow_up_id
from deeplens.events.notifications import TenantNotification
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.webhooks.model import ROTATION_OVERLAP, Delivery, Webhook, Webhooks, WebhookSigner, body_of, delivery_id
from deeplens.webhooks.notify import delivery_request
from deeplens.webhooks.schemas import (
    DeliveryList,
    DeliveryView,
    NewWebhookView,
    WebhookChange,
    WebhookList,
    WebhookRequest,
    WebhookView,
)

MAX_WEBHOOKS = 10
PING = "webhook.ping"

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/webhooks", tags=["webhooks"])
Hooks = Injected[Webhooks]
Egress = Injected[EgressRules]
Signer = Injected[WebhookSigner]


def webhook_in_path(tenant: Administrator, webhooks: Hooks, webhook_id: str) -> Webhook:
    webhook = webhooks.find(tenant.id, webhook_id)
    if webhook is None:
        detail = f"{tenant.id} has no webhook {webhook_id[:64]}."
        raise ApiError(404, "webhook-not-found", "Webhook not found", detail)
    return webhook


InPath = Annotated[Webhook, Depends(webhook_in_path)]


def enabled_in_path(webhook: InPath) -> Webhook:
    if not webhook.enabled:
        raise ApiError(409, "webhook-disabled", "Webhook disabled", "Enable it first.")
    return webhook


EnabledInPath = Annotated[Webhook, Depends(enabled_in_path)]


@router.get("", summary="Webhooks of a tenant", responses=responses(404))
def list_webhooks(tenant: Administrator, webhooks: Hooks) -> WebhookList:
    return WebhookList(webhooks=[_webhook_view(webhook) for webhook in webhooks.of_tenant(tenant.id)])


@router.post("", status_code=201, summary="Add a webhook", responses=responses(404, 409))
def add_webhook(
    tenant: Administrator,
    webhooks: Hooks,
    signer: Signer,
    egress: Egress,
    clock: Injected[Clock],
    request: WebhookRequest,
) -> NewWebhookView:
    """The response is the only one with the secret. The webhook is in effect everywhere within ten seconds."""
    if len(webhooks.of_tenant(tenant.id)) >= MAX_WEBHOOKS:
        detail = f"A tenant has at most {MAX_WEBHOOKS}; remove one."
        raise ApiError(409, "too-many-webhooks", "Too many webhooks", detail)
    _check_url(request.url, egress)
    now = clock.now()
    webhook = Webhook(new_id("whk", now), tenant.id, request.url, tuple(sorted(set(request.events))), now)
    webhooks.save(webhook)
    return _new_webhook_view(webhook, signer)


@router.get("/{webhook_id}", summary="One webhook", responses=responses(404))
def webhook_detail(webhook: InPath) -> WebhookView:
    return _webhook_view(webhook)


@router.patch("/{webhook_id}", summary="Change, disable or enable a webhook", responses=responses(404))
def change_webhook(webhook: InPath, webhooks: Hooks, egress: Egress, request: WebhookChange) -> WebhookView:
    if request.url is not None:
        _check_url(request.url, egress)
    changed = replace(
        webhook,
        url=request.url or webhook.url,
        events=tuple(sorted(set(request.events))) if request.events else webhook.events,
        enabled=webhook.enabled if request.enabled is None else request.enabled,
    )
    if request.enabled:
        changed = replace(changed, disabled_reason=None, failing_since=None, failures=0, paused_until=None)
    webhooks.save(changed)
    return _webhook_view(changed)


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook", responses=responses(404))
def remove_webhook(webhook: InPath, webhooks: Hooks) -> None:
    """Removes its deliveries as well."""
    webhooks.remove(webhook.tenant_id, webhook.id)


@router.post("/{webhook_id}/rotate", status_code=201, summary="Replace the secret", responses=responses(404))
def rotate_secret(webhook: InPath, webhooks: Hooks, signer: Signer, clock: Injected[Clock]) -> NewWebhookView:
    """For a day messages carry the signatures of both secrets, so that the endpoint can change over in its own time."""
    until = clock.now() + ROTATION_OVERLAP
    rotated = replace(webhook, secret_version=webhook.secret_version + 1, previous_until=until)
    webhooks.save(rotated)
    return _new_webhook_view(rotated, signer)


@router.post("/{webhook_id}/ping", status_code=202, summary="Send a test message", responses=responses(404, 409))
def ping_webhook(webhook: EnabledInPath, webhooks: Hooks, clock: Injected[Clock], publish: Publishing) -> DeliveryView:
    """The message has the type ``webhook.ping``; follow it among the deliveries."""
    now = clock.now()
    event_id = new_id("ping", now)
    message = TenantNotification(tenant_id=webhook.tenant_id, type=PING, occurred_at=now, details={})
    id_ = delivery_id(webhook.id, event_id)
    delivery = Delivery(id_, webhook.id, webhook.tenant_id, event_id, PING, body_of(message), now, next_at=now)
    webhooks.add(delivery)
    return _send_now(delivery, publish)


@router.get("/{webhook_id}/deliveries", summary="What was sent", responses=responses(404))
def list_deliveries(webhook: InPath, webhooks: Hooks, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> DeliveryList:
    deliveries = webhooks.deliveries(webhook.tenant_id, webhook.id, limit)
    return DeliveryList(deliveries=[_delivery_view(delivery) for delivery in deliveries])


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Send a message again",
    responses=responses(404, 409),
)
def redeliver(
    webhook: EnabledInPath, webhooks: Hooks, clock: Injected[Clock], publish: Publishing, delivery_id: str
) -> DeliveryView:
    """Sends the same bytes under the same ``webhook-id``, whatever became of them before."""
    delivery = webhooks.redeliver(webhook.tenant_id, webhook.id, delivery_id, clock.now())
    if delivery is None:
        detail = f"{webhook.id} has no delivery {delivery_id[:64]}."
        raise ApiError(404, "delivery-not-found", "Delivery not found", detail)
    return _send_now(delivery, publish)


def _webhook_view(webhook: Webhook) -> WebhookView:
    return view(WebhookView, webhook, webhook_id=webhook.id, previous_secret_until=webhook.previous_until)


def _new_webhook_view(webhook: Webhook, signer: WebhookSigner) -> NewWebhookView:
    return view(NewWebhookView, _webhook_view(webhook), secret=signer.secret(webhook))


def _delivery_view(delivery: Delivery) -> DeliveryView:
    next_at = delivery.next_at if delivery.state == "waiting" else None
    return view(DeliveryView, delivery, delivery_id=delivery.id, next_at=next_at)


def _send_now(delivery: Delivery, publish: Publishing) -> DeliveryView:
    """Request an attempt now; if that event is lost, the schedule requests one within a minute."""
    source = f"{delivery.id}/{delivery.next_at.isoformat()}"
    publish.best_effort([with_follow_up_id(delivery_request(delivery), "webhook", source)])
    return _delivery_view(delivery)


def _check_url(url: str, egress: EgressRules) -> None:
    try:
        check_endpoint(url, egress)
    except EndpointRefused as error:
        raise ApiError(422, "endpoint-refused", "Endpoint refused", f"{error}.") from None
