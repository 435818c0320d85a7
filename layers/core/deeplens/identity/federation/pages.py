"""/account/federation: from the sign-in page to an organisation's provider, and back."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deeplens.http.dependencies import Injected
from deeplens.identity.account import EXPIRED_FORM, Return, sign_in_page
from deeplens.identity.federation.model import CALLBACK_PATH, domain_of
from deeplens.identity.federation.ports import IdentityProviders
from deeplens.identity.federation.sign_in import Federation
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.ports import Clients
from deeplens.identity.requests import Form

router = APIRouter(tags=["pages"], include_in_schema=False)
UNKNOWN = Message(
    "No organisation is known for this address. Type your address at work, or sign in with your password."
)
Parameter = Annotated[str | None, Query(max_length=4096)]


@router.post("/account/federation", response_model=None)
def to_provider(
    request: Request,
    browser: Injected[Browser],
    clients: Injected[Clients],
    providers: Injected[IdentityProviders],
    federation: Injected[Federation],
    form: Form,
    goal: Return = "",
) -> Response:
    """The provider of the address's domain; without an address that of the tenant whose client asks."""
    email = str(form.get("email", ""))[:320]
    if not browser.sent_form(request, form):
        return sign_in_page(request, browser, clients, goal, 400, email=email, fault=EXPIRED_FORM)
    client = clients.find(dict(parse_qsl(goal.partition("?")[2])).get("client_id", ""))
    tenant_id = client.tenant_id if client else None
    provider = providers.of_domain(domain_of(email)) if email else None
    if provider is None and not email and tenant_id and providers.organisation(tenant_id):
        provider = providers.of_tenant(tenant_id)
    if provider is None:
        return sign_in_page(request, browser, clients, goal, 404, email=email, fault=UNKNOWN)
    return federation.begin(request, provider, goal, email)


@router.get(CALLBACK_PATH, response_model=None)
def from_provider(
    request: Request,
    federation: Injected[Federation],
    state: Parameter = None,
    code: Parameter = None,
    iss: Parameter = None,
) -> Response:
    answer = {"state": state, "code": code, "iss": iss}
    return federation.finish(request, {name: value for name, value in answer.items() if value is not None})
