"""/connect/authorize: from a client's request over signing in and consent to a code."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import OAuth2Error
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from deeplens.access.scopes import allowed
from deeplens.identity.forms import FIELD, Cookies, is_ours, origin_of, page
from deeplens.identity.model import Session
from deeplens.identity.parts import IdentityParts, Parts
from deeplens.identity.protocol import Server
from deeplens.identity.requests import Form, ProtocolRequest, check_parameters, protocol_request, texts
from deeplens.identity.server import IdentityServer

router = APIRouter(prefix="/connect", tags=["pages"])
SCOPE_TEXTS = {
    "openid": "know who you are",
    "profile": "see your name, address and roles",
    "offline_access": "stay connected while you are away",
    "deeplens.api.read": "see and search your organisation's images",
    "deeplens.api.write": "add, change and delete images",
    "deeplens.api.admin": "look after your organisation's settings and users",
}
REFRESHED = timedelta(seconds=10)
"""A sign-in this young satisfies ``prompt=login``: it is the one that the prompt led to."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked authorization request."""

    grant: Any
    request: ProtocolRequest
    session: Session | None

    @property
    def prompts(self) -> set[str]:
        return set(self.request.payload.data.get("prompt", "").split())

    @property
    def admitted(self) -> bool:
        """Whether the client may sign in the user of the session."""
        assert self.session is not None
        return bool(self.request.client.admits(self.session.user))

    @property
    def scopes(self) -> list[str]:
        """What would be granted: what was asked for, as far as the user's roles go."""
        assert self.session is not None
        return allowed(self.session.user.roles, self.request.scope.split())


@router.get("/authorize", summary="Sign in and let a client in", response_model=None, include_in_schema=False)
def authorize(request: Request, parts: Parts, server: Server) -> Response:
    """Redirects to the client with a code, or shows a page."""
    asked = _checked(request, parts, server)
    return asked if isinstance(asked, Response) else _next(request, parts, server, asked)


@router.post("/authorize", response_model=None, include_in_schema=False)
def decide(request: Request, parts: Parts, server: Server, form: Form) -> Response:
    """The consent page's answer, whose address holds the client's request; or such a request by POST."""
    if FIELD not in form:
        return RedirectResponse(f"/connect/authorize?{urlencode(texts(form))}", 303)
    asked = _checked(request, parts, server)
    if isinstance(asked, Response):
        return asked
    if not is_ours(request, Cookies(parts.settings.identity_url), form, parts.settings.identity_url):
        return _refusal(request, parts, "This page is too old. Go back to the application and start again.")
    # How old the sign-in may be was settled before the page was shown; people may take their time over it.
    if asked.session is None:
        return _to_sign_in(request)
    if not asked.admitted:
        return _other_account_page(request, parts, asked)
    if form.get("decision") != "allow":
        return _answer(parts, server, asked, None)
    parts.clients.consent(asked.session.user.id, asked.request.client.id, asked.scopes)
    return _answer(parts, server, asked, asked.session)


def session_of(request: Request, parts: IdentityParts) -> Session | None:
    secret = Cookies(parts.settings.identity_url).read(request, "session")
    return parts.users.session(secret, parts.clock.now()) if secret else None


def _checked(request: Request, parts: IdentityParts, server: IdentityServer) -> Asked | Response:
    """The request, or what its faults lead to: back to the client when it is known, else a page."""
    session = session_of(request, parts)
    wanted = protocol_request(request)
    try:
        check_parameters(wanted)
        grant = server.get_consent_grant(wanted, end_user=session)
    except OAuth2Error as error:
        return _fault(request, parts, wanted, error)
    asked = Asked(grant, wanted, session)
    unsupported = [name for name in ("request", "request_uri") if name in wanted.payload.data]
    return _error(parts, asked, f"{unsupported[0]}_not_supported") if unsupported else asked


def _next(request: Request, parts: IdentityParts, server: IdentityServer, asked: Asked) -> Response:
    silent = "none" in asked.prompts
    if _must_sign_in(parts, asked):
        return _error(parts, asked, "login_required") if silent else _to_sign_in(request)
    assert asked.session is not None
    if not asked.admitted:
        # The client learns no more than of a browser without a session: not that another tenant's user is signed in.
        return _error(parts, asked, "login_required") if silent else _other_account_page(request, parts, asked)
    if not asked.scopes:
        return _error(parts, asked, "invalid_scope")
    if _must_consent(parts, asked):
        return _error(parts, asked, "consent_required") if silent else _consent_page(request, parts, asked)
    return _answer(parts, server, asked, asked.session)


def _must_sign_in(parts: IdentityParts, asked: Asked) -> bool:
    if asked.session is None:
        return True
    age = parts.clock.now() - asked.session.authenticated_at
    oldest = asked.request.payload.data.get("max_age", "")
    too_old = oldest.isascii() and oldest.isdecimal() and age > max(REFRESHED, timedelta(seconds=int(oldest[:9])))
    return bool(too_old) or ("login" in asked.prompts and age > REFRESHED)


def _must_consent(parts: IdentityParts, asked: Asked) -> bool:
    assert asked.session is not None
    client = asked.request.client
    if not client.needs_consent and "consent" not in asked.prompts:
        return False
    known = parts.clients.consented(asked.session.user.id, client.id)
    return "consent" in asked.prompts or not set(asked.scopes) <= known


def _consent_page(request: Request, parts: IdentityParts, asked: Asked) -> Response:
    assert asked.session is not None
    redirect_uri, client = asked.request.payload.data["redirect_uri"], asked.request.client
    return page(
        request,
        Cookies(parts.settings.identity_url),
        "consent",
        form_action=origin_of(redirect_uri),
        client=client.name,
        organisation=parts.clients.organisation(client),
        destination=urlsplit(redirect_uri).netloc or origin_of(redirect_uri),
        user=asked.session.user,
        wishes=[SCOPE_TEXTS[scope] for scope in asked.scopes],
        action=_address(request),
    )


def _other_account_page(request: Request, parts: IdentityParts, asked: Asked) -> Response:
    """Refuse a user of another tenant than the client's, and offer to sign in with another account."""
    assert asked.session is not None
    return page(
        request,
        Cookies(parts.settings.identity_url),
        "other_account",
        403,
        client=asked.request.client.name,
        user=asked.session.user,
        sign_in=_sign_in_address(request),
    )


def _answer(parts: IdentityParts, server: IdentityServer, asked: Asked, granted: Session | None) -> Response:
    response = server.create_authorization_response(asked.request, grant_user=granted, grant=asked.grant)
    return response.redirect(parts.settings.identity_url)  # type: ignore[no-any-return]


def _error(parts: IdentityParts, asked: Asked, error: str) -> Response:
    """An error that only the client can show."""
    data = asked.request.payload.data
    state = [("state", data["state"])] if "state" in data else []
    params = [("error", error), *state, ("iss", parts.settings.identity_url)]
    return RedirectResponse(add_params_to_uri(data["redirect_uri"], params), 303)


def _fault(request: Request, parts: IdentityParts, wanted: ProtocolRequest, error: OAuth2Error) -> Response:
    if not error.redirect_uri:
        return _refusal(request, parts, error.description or error.error)
    state = wanted.payload.data.get("state")
    params = [("error", error.error), ("error_description", error.description or error.error)]
    params += [("state", state)] if state is not None else []
    params.append(("iss", parts.settings.identity_url))
    return RedirectResponse(add_params_to_uri(error.redirect_uri, params), 303)


def _refusal(request: Request, parts: IdentityParts, reason: str) -> Response:
    """A page: there is no client that could be trusted with the answer."""
    return page(request, Cookies(parts.settings.identity_url), "refusal", 400, reason=reason)


def _to_sign_in(request: Request) -> Response:
    return RedirectResponse(_sign_in_address(request), 303)


def _sign_in_address(request: Request) -> str:
    return f"/account/sign-in?{urlencode({'return': _address(request)})}"


def _address(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}"
