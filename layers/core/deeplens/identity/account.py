"""/account/sign-in and /connect/endsession: pages for people."""

import re
from contextlib import suppress
from typing import Annotated
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import OAuth2Error
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from deeplens.identity.authorize import session_of
from deeplens.identity.forms import FIELD, Cookies, is_ours, origin_of, page
from deeplens.identity.model import SESSION_LIFE
from deeplens.identity.parts import IdentityParts, Parts
from deeplens.identity.protocol import Server
from deeplens.identity.requests import Form, ProtocolRequest, check_parameters, protocol_request

router = APIRouter(tags=["pages"], include_in_schema=False)
OWN_PATH = re.compile(r"/connect/authorize\?[\x21-\x7e]*")
HOME = "/account/sign-in"
WRONG = "The address or the password is not right. After several wrong passwords an account waits for a while."
OLD = "This page was open for too long. Try again."

Return = Annotated[str, Query(alias="return", max_length=8192)]


@router.get("/account/sign-in", response_model=None)
def show_sign_in(request: Request, parts: Parts, goal: Return = "") -> Response:
    session = session_of(request, parts)
    return _page(request, parts, goal, signed_in=session.user.email if session else "")


@router.post("/account/sign-in", response_model=None)
def sign_in(request: Request, parts: Parts, form: Form, goal: Return = "") -> Response:
    """Open a session of its own for this browser, never the one that was there: a planted cookie gains nothing."""
    cookies = _cookies(parts)
    email, password = str(form.get("email", "")), str(form.get("password", ""))
    if not is_ours(request, cookies, form, parts.settings.identity_url):
        return _page(request, parts, goal, email, OLD, status=400)
    user = parts.users.sign_in(email[:320], password[:1024], parts.clock.now())
    if user is None:
        return _page(request, parts, goal, email[:320], WRONG, status=401)
    if before := cookies.read(request, "session"):
        parts.users.close_session(before)
    response = RedirectResponse(_own(goal), 303)
    secret = parts.users.open_session(user, parts.clock.now())
    cookies.write(response, "session", secret, int(SESSION_LIFE.total_seconds()))
    cookies.remove(response, "form")
    return response


@router.get("/connect/endsession", response_model=None)
def end_session(request: Request, parts: Parts, server: Server) -> Response:
    return _sign_out(request, parts, server, protocol_request(request), confirmed=False)


@router.post("/connect/endsession", response_model=None)
def end_session_by_form(request: Request, parts: Parts, server: Server, form: Form) -> Response:
    """From our own page, or from a client that posts its request."""
    confirmed = is_ours(request, _cookies(parts), form, parts.settings.identity_url)
    return _sign_out(request, parts, server, protocol_request(request, form), confirmed=confirmed)


def _sign_out(
    request: Request, parts: IdentityParts, server: Server, wanted: ProtocolRequest, *, confirmed: bool
) -> Response:
    """Sign out at once when the client proves that it signed the user in; else ask, since anybody can link here."""
    cookies = _cookies(parts)
    try:
        check_parameters(wanted)
        asked = server.validate_endpoint_request("end_session", wanted)
    except OAuth2Error as error:
        return page(request, cookies, "refusal", 400, reason=error.description or error.error)
    session = session_of(request, parts)
    hint = asked.id_token_claims
    if session is not None and not confirmed and (hint is None or hint.get("sub") != session.user.id):
        kept = [(name, value) for name, value in texts_of(wanted) if name != FIELD]
        return page(
            request, cookies, "sign_out", form_action=origin_of(asked.redirect_uri or ""), user=session.user, kept=kept
        )
    if secret := cookies.read(request, "session"):
        parts.users.close_session(secret)
    response = RedirectResponse(asked.redirect_uri, 303) if asked.redirect_uri else page(request, cookies, "signed_out")
    cookies.remove(response, "session")
    return response


def texts_of(wanted: ProtocolRequest) -> list[tuple[str, str]]:
    return [(name, values[0]) for name, values in wanted.payload.datalist.items()]


def _page(
    request: Request,
    parts: IdentityParts,
    goal: str,
    email: str = "",
    fault: str = "",
    status: int = 200,
    signed_in: str = "",
) -> Response:
    values = {"goal": goal if OWN_PATH.fullmatch(goal) else "", "email": email, "fault": fault, "signed_in": signed_in}
    return page(request, _cookies(parts), "sign_in", status, _origin_after(parts, goal), **values)


def _origin_after(parts: IdentityParts, goal: str) -> str:
    """Of the application that signing in may lead to at once: browsers hold the form's redirects to the policy too."""
    wanted = ProtocolRequest("GET", "https://localhost/", {}, parse_qsl(goal.partition("?")[2]))
    with suppress(OAuth2Error):
        check_parameters(wanted)
        client, uri = parts.clients.find(wanted.payload.client_id or ""), wanted.payload.redirect_uri
        return origin_of(uri) if client and uri and client.check_redirect_uri(uri) else ""
    return ""


def _own(goal: str) -> str:
    """Where to go on; never to another site."""
    return goal if OWN_PATH.fullmatch(goal) else HOME


def _cookies(parts: IdentityParts) -> Cookies:
    return Cookies(parts.settings.identity_url)
