"""/connect/authorize: a client's request leads to sign-in, consent and a code."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import OAuth2Error
from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from deeplens.access.scopes import allowed
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.identity.forms import FIELD, Browser, origin_of, own_address
from deeplens.identity.languages import Message
from deeplens.identity.model import ONE_FACTOR_ACR, TWO_FACTOR_ACR, Issuer, Session
from deeplens.identity.model import RECENT_SIGN_IN as RECENT_ENOUGH_TO_ENROL
from deeplens.identity.ports import Clients
from deeplens.identity.requests import Form, ProtocolRequest, check_parameters, protocol_request, texts
from deeplens.identity.resources import InvalidTargetError, requested_resources
from deeplens.identity.second_factors.model import PendingSignIn
from deeplens.identity.server import IdentityServer
from deeplens.identity.sign_in import ENROL, CompleteSignIn, sign_in_address, to_sign_in
from deeplens.telemetry.security import security_event

router = APIRouter(prefix="/connect", tags=["pages"])
SCOPE_TEXTS = {
    "openid": Message("know who you are"),
    "profile": Message("see your name, address and roles"),
    "offline_access": Message("stay connected while you are away"),
    "deeplens.api.read": Message("see and search your organisation's images"),
    "deeplens.api.write": Message("add, change and delete images"),
    "deeplens.api.admin": Message("look after your organisation's settings and users"),
}
RECENT_SIGN_IN = timedelta(seconds=10)
"""A sign-in this recent satisfies ``prompt=login``: the prompt led to it."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
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
        return self.session is not None and bool(self.request.client.admits(self.session.user))

    @property
    def scopes(self) -> list[str]:
        """The requested scopes that the user's roles allow."""
        assert self.session is not None
        return allowed(self.session.user.roles, self.request.scope.split())


class Authorization:
    """Answers an authorization request with a page, or with a redirection to sign-in or to the client."""

    def __init__(
        self,
        browser: Browser,
        server: IdentityServer,
        clients: Clients,
        sign_in: CompleteSignIn,
        issuer: Issuer,
        clock: Clock,
    ) -> None:
        self._browser, self._server, self._clients = browser, server, clients
        self._sign_in, self._issuer, self._clock = sign_in, issuer, clock

    def begin(self, request: Request) -> Response:
        """Answer a client's request."""
        asked = self._check(request)
        return asked if isinstance(asked, Response) else self._next_step(request, asked)

    def decide(self, request: Request, form: FormData) -> Response:
        """Answer the consent page's form, whose address holds the client's request."""
        asked = self._check(request)
        if isinstance(asked, Response):
            return asked
        if not self._browser.sent_form(request, form):
            reason = Message("This page is too old. Go back to the application and start again.")
            return self._browser.refusal(request, reason)
        # The age of the sign-in was checked before the page was shown; people may take their time over it.
        if asked.session is None:
            return _to_sign_in(request)
        if not asked.admitted:
            return self._other_account_page(request, asked)
        if form.get("decision") != "allow":
            return self._answer(asked, None)
        user_id, client_id = asked.session.user.id, asked.request.client.id
        self._clients.grant_scopes(user_id, client_id, asked.scopes)
        security_event("consent_granted", user_id=user_id, client_id=client_id, scopes=asked.scopes)
        return self._answer(asked, asked.session)

    def _check(self, request: Request) -> AuthorizationRequest | Response:
        """The request if it is valid; else an error for the client if it is known, or a page."""
        session, protocol = self._browser.session(request), protocol_request(request)
        try:
            check_parameters(protocol)
            grant = self._server.get_consent_grant(protocol, end_user=session)
            requested_resources(protocol, self._issuer)
        except InvalidTargetError as error:
            return self._redirect(protocol.payload.data["redirect_uri"], protocol, error.error, error.description)
        except OAuth2Error as error:
            reason = error.description or error.error
            if not error.redirect_uri:
                return self._browser.refusal(request, reason)
            return self._redirect(error.redirect_uri, protocol, error.error, reason)
        asked = AuthorizationRequest(grant, protocol, session)
        unsupported = [name for name in ("request", "request_uri") if name in protocol.payload.data]
        return self._error(asked, f"{unsupported[0]}_not_supported") if unsupported else asked

    def _next_step(self, request: Request, asked: AuthorizationRequest) -> Response:
        silent = "none" in asked.prompts
        if self._must_sign_in(asked):
            return self._error(asked, "login_required") if silent else _to_sign_in(request)
        if not asked.admitted:
            # The client must not learn that another tenant's user is signed in: it gets the answer for no session.
            return self._error(asked, "login_required") if silent else self._other_account_page(request, asked)
        if self._lacks_second_factor(asked):
            return self._error(asked, "interaction_required") if silent else self._enrol(request, asked)
        if not asked.scopes:
            return self._error(asked, "invalid_scope")
        if self._must_consent(asked):
            return self._error(asked, "consent_required") if silent else self._consent_page(request, asked)
        return self._answer(asked, asked.session)

    def _must_sign_in(self, asked: AuthorizationRequest) -> bool:
        if asked.session is None:
            return True
        age = self._clock.now() - asked.session.authenticated_at
        limit = asked.request.payload.data.get("max_age", "")
        too_old = limit.isascii() and limit.isdecimal() and age > max(RECENT_SIGN_IN, timedelta(seconds=int(limit[:9])))
        return bool(too_old) or ("login" in asked.prompts and age > RECENT_SIGN_IN)

    def _lacks_second_factor(self, asked: AuthorizationRequest) -> bool:
        """Whether only a sign-in with two factors satisfies the client, and this one had one: its user has no other."""
        assert asked.session is not None
        wanted = asked.request.payload.data.get("acr_values", "").split()
        return TWO_FACTOR_ACR in wanted and ONE_FACTOR_ACR not in wanted and asked.session.acr != TWO_FACTOR_ACR

    def _enrol(self, request: Request, asked: AuthorizationRequest) -> Response:
        """Let the user set up a second factor, right after the password."""
        session, goal = asked.session, own_address(request)
        assert session is not None
        if self._clock.now() - session.authenticated_at > RECENT_ENOUGH_TO_ENROL:
            return to_sign_in(goal)
        return self._sign_in.suspend(request, PendingSignIn(session.user.id, session.methods, goal), ENROL)

    def _must_consent(self, asked: AuthorizationRequest) -> bool:
        assert asked.session is not None
        client = asked.request.client
        if not client.needs_consent and "consent" not in asked.prompts:
            return False
        granted = self._clients.granted_scopes(asked.session.user.id, client.id)
        return "consent" in asked.prompts or not set(asked.scopes) <= granted

    def _consent_page(self, request: Request, asked: AuthorizationRequest) -> Response:
        assert asked.session is not None
        redirect_uri, client = asked.request.payload.data["redirect_uri"], asked.request.client
        return self._browser.page(
            request,
            "consent",
            form_action=origin_of(redirect_uri),
            client=client.name,
            organisation=self._clients.organisation(client),
            destination=urlsplit(redirect_uri).netloc or origin_of(redirect_uri),
            user=asked.session.user,
            wishes=[SCOPE_TEXTS[scope] for scope in asked.scopes],
            action=own_address(request),
        )

    def _other_account_page(self, request: Request, asked: AuthorizationRequest) -> Response:
        """Refuse a user of another tenant than the client's, and offer to sign in with another account."""
        assert asked.session is not None
        values = {"client": asked.request.client.name, "user": asked.session.user}
        return self._browser.page(request, "other_account", 403, sign_in=sign_in_address(request), **values)

    def _answer(self, asked: AuthorizationRequest, granted: Session | None) -> Response:
        return self._server.create_authorization_response(  # type: ignore[no-any-return]
            asked.request, grant_user=granted, grant=asked.grant
        )

    def _error(self, asked: AuthorizationRequest, error: str) -> Response:
        """Redirect to the client with an error."""
        return self._redirect(asked.request.payload.data["redirect_uri"], asked.request, error)

    def _redirect(self, uri: str, protocol: ProtocolRequest, error: str, description: str = "") -> Response:
        params = [("error", error), *([("error_description", description)] if description else [])]
        params += [("state", state)] if (state := protocol.payload.data.get("state")) is not None else []
        return RedirectResponse(add_params_to_uri(uri, [*params, ("iss", self._issuer)]), 303)


@router.get("/authorize", summary="Sign in and let a client in", response_model=None, include_in_schema=False)
def authorize(request: Request, authorization: Injected[Authorization]) -> Response:
    """Redirects to the client with a code, or shows a page."""
    return authorization.begin(request)


@router.post("/authorize", response_model=None, include_in_schema=False)
def decide(request: Request, authorization: Injected[Authorization], form: Form) -> Response:
    """Take the consent page's answer, or a client's request by POST."""
    if FIELD not in form:
        return RedirectResponse(f"/connect/authorize?{urlencode(texts(form))}", 303)
    return authorization.decide(request, form)


def _to_sign_in(request: Request) -> Response:
    return RedirectResponse(sign_in_address(request), 303)
