"""The webhook that Meta posts messages to, as one ASGI application: it checks the signature and queues them."""

import json
from hmac import compare_digest
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response

from deeplens.errors import ApiError
from deeplens.events.ids import with_follow_up_id
from deeplens.http.application import AppContainer, application
from deeplens.http.dependencies import Injected, Publishing
from deeplens.http.problems import responses
from deeplens.http.schemas import ApiModel, example
from deeplens.telemetry.logs import logger
from deeplens.whatsapp.incoming import WhatsAppSecrets, is_signed, messages_of

DESCRIPTION = """Where Meta posts the messages of a WhatsApp Business account.

Requests carry `X-Hub-Signature-256` instead of credentials. Errors are `application/problem+json` (RFC 9457)."""
TAGS = [
    {"name": "whatsapp", "description": "Webhook of the WhatsApp Cloud API."},
    {"name": "service", "description": "About the API itself."},
]

router = APIRouter(prefix="/v1/whatsapp/webhook", tags=["whatsapp"])


class Queued(ApiModel):
    """``skipped`` were not understood."""

    model_config = example({"queued": 1, "skipped": 0})

    queued: int
    skipped: int


def create_whatsapp_app(container: AppContainer) -> FastAPI:
    """The webhook; it uses only the secrets and the broker of the container."""
    app = application(container, "DeepLens WhatsApp", DESCRIPTION, TAGS, "/v1/whatsapp", "whatsapp")
    app.include_router(router)
    return app


@router.get(
    "",
    summary="Verification handshake",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses()},
)
def verify(
    secrets: Injected[WhatsAppSecrets],
    mode: Annotated[str, Query(alias="hub.mode", max_length=100)] = "",
    token: Annotated[str, Query(alias="hub.verify_token", max_length=500)] = "",
    challenge: Annotated[str, Query(alias="hub.challenge", max_length=500)] = "",
) -> Response:
    """Returns Meta's challenge if the verify token is right."""
    if not secrets.verify_token:
        raise _not_set_up()
    if mode != "subscribe" or not compare_digest(token.encode(errors="replace"), secrets.verify_token.encode()):
        detail = "hub.verify_token is not the token that is set here; compare both."
        raise ApiError(403, "wrong-verify-token", "Verify token not valid", detail)
    return PlainTextResponse(challenge)


@router.post("", summary="Messages", responses=responses(400, 401, 413))
async def receive(request: Request, secrets: Injected[WhatsAppSecrets], publish: Publishing) -> Queued:
    """Queue the messages. A message that is posted twice is queued twice, and has one effect."""
    body = await request.body()
    if not secrets.app_secret:
        raise _not_set_up()
    if not is_signed(body, request.headers.get("x-hub-signature-256"), secrets.app_secret):
        raise ApiError(401, "wrong-signature", "Signature not valid", "X-Hub-Signature-256 is not that of this body.")
    messages, skipped = messages_of(_payload(body))
    events = [with_follow_up_id(message, "whatsapp", message.message_id) for message in messages]
    # Meta repeats what is not answered with 200; messages that were queued already have one effect all the same.
    await run_in_threadpool(publish, events)
    if skipped:
        logger().warning("messages not understood", skipped=skipped)
    return Queued(queued=len(messages), skipped=skipped)


def _payload(body: bytes) -> Any:
    try:
        # Half a surrogate pair in one message must not refuse the others, as it would with from_json.
        return json.loads(body)  # noqa: TID251
    except (RecursionError, ValueError):
        raise ApiError(400, "malformed-request", "Malformed request", "The body is not valid JSON.") from None


def _not_set_up() -> ApiError:
    detail = "An operator has to set WhatsApp's secrets first."
    return ApiError(503, "whatsapp-not-set-up", "WhatsApp not set up", detail, {"Retry-After": "300"})
