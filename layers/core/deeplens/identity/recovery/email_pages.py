"""/account/email: a person's own address, and what the links of its mails lead to."""

import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.identity.account_pages import SignedIn, account_page
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.model import RECENT_SIGN_IN, Session
from deeplens.identity.recovery.email import ChangeEmail, ManagedDomain, RequestEmailChange
from deeplens.identity.recovery.model import EmailChange, LinkEnded, Throttled
from deeplens.identity.recovery.pages import (
    EXPIRED_FORM,
    LINK_ENDED,
    MAIL_THROTTLED,
    SIGN_IN,
    Token,
    field,
    host_of,
    outcome,
    throttled,
    with_token,
)
from deeplens.identity.requests import Form
from deeplens.identity.schemas import EMAIL_PATTERN, MAX_EMAIL_CHARS
from deeplens.identity.sign_in import to_sign_in
from deeplens.identity.throttle import network_of

PAGE = "/account/email"
CONFIRM, UNDO = f"{PAGE}/confirm", f"{PAGE}/undo"
router = APIRouter(prefix=PAGE, tags=["pages"], include_in_schema=False)
NO_ADDRESS = Message("Enter an email address.")
SAME_ADDRESS = Message("This is your address already.")
MANAGED = Message("An organisation manages the addresses of this domain. Ask your administrator.")
CONFIRMED = Message("Your address is changed. Sign in with it from now on.")
RESTORED = Message(
    "Your former address is back. All sessions have ended, and the password no longer works: a mail with a link for a "
    "new one is on its way."
)


class OwnEmail:
    """Shows and changes the reader's own address; whoever changes it has just signed in: a session may be old."""

    def __init__(self, browser: Browser, change: RequestEmailChange, clock: Clock) -> None:
        self._browser, self._change, self._clock = browser, change, clock

    def show(self, request: Request, session: Session, status: int = 200, **values: object) -> Response:
        shown = {"recent": self.is_recent(session), "email": "", "sent": False} | values
        return account_page(request, self._browser, session, "change_email", status, **shown)

    def request(self, request: Request, session: Session, email: str) -> Response:
        fault = _fault_of(session, email)
        if fault is not None:
            return self.show(request, session, 422, email=email, fault=fault)
        try:
            network = network_of(host_of(request))
            self._change.of_oneself(session.user, email, network, self._browser.language(request))
        except ManagedDomain:
            return self.show(request, session, 403, email=email, fault=MANAGED)
        except Throttled:
            return throttled(self.show(request, session, 429, email=email, fault=MAIL_THROTTLED))
        return self.show(request, session, email=email, sent=True)

    def is_recent(self, session: Session) -> bool:
        return self._clock.now() - session.authenticated_at <= RECENT_SIGN_IN


def _fault_of(session: Session, email: str) -> Message | None:
    if len(email) > MAX_EMAIL_CHARS or not re.fullmatch(EMAIL_PATTERN, email):
        return NO_ADDRESS
    return SAME_ADDRESS if email == session.user.email else None


@router.get("", response_model=None)
def show_email(request: Request, session: SignedIn, own: Injected[OwnEmail]) -> Response:
    return own.show(request, session)


@router.post("", response_model=None)
def request_change(
    request: Request, browser: Injected[Browser], session: SignedIn, own: Injected[OwnEmail], form: Form
) -> Response:
    """Send a link to the new address; every address gets the same answer."""
    email = field(form, "email").strip().lower()
    if not own.is_recent(session):
        return to_sign_in(PAGE)
    if not browser.sent_form(request, form):
        return own.show(request, session, 400, email=email, fault=EXPIRED_FORM)
    return own.request(request, session, email)


@router.get("/confirm", response_model=None)
def show_confirmation(
    request: Request, browser: Injected[Browser], change: Injected[ChangeEmail], token: Token = ""
) -> Response:
    """Looks only: programs that check mail open its links."""
    return _page(request, browser, CONFIRM, token, change.of_link)


@router.get("/undo", response_model=None)
def show_undo(
    request: Request, browser: Injected[Browser], change: Injected[ChangeEmail], token: Token = ""
) -> Response:
    """Looks only, as ``show_confirmation``."""
    return _page(request, browser, UNDO, token, change.of_undo_link)


@router.post("/confirm", response_model=None)
def confirm(request: Request, browser: Injected[Browser], change: Injected[ChangeEmail], form: Form) -> Response:
    token = field(form, "token", 200)
    if not browser.sent_form(request, form):
        return _page(request, browser, CONFIRM, token, change.of_link, 400, EXPIRED_FORM)
    try:
        change.confirm(token, browser.language(request))
    except LinkEnded:
        return outcome(request, browser, with_token(CONFIRM, token), LINK_ENDED, status=410)
    return outcome(request, browser, SIGN_IN, CONFIRMED)


@router.post("/undo", response_model=None)
def undo(request: Request, browser: Injected[Browser], change: Injected[ChangeEmail], form: Form) -> Response:
    token = field(form, "token", 200)
    if not browser.sent_form(request, form):
        return _page(request, browser, UNDO, token, change.of_undo_link, 400, EXPIRED_FORM)
    try:
        change.undo(token, browser.language(request))
    except LinkEnded:
        return outcome(request, browser, with_token(UNDO, token), LINK_ENDED, status=410)
    return outcome(request, browser, SIGN_IN, RESTORED)


def _page(
    request: Request,
    browser: Browser,
    path: str,
    token: str,
    find: Callable[[str], EmailChange],
    status: int = 200,
    fault: Message | str = "",
) -> Response:
    address = with_token(path, token)
    try:
        change = find(token)
    except LinkEnded:
        return outcome(request, browser, address, LINK_ENDED, status=410)
    values: dict[str, Any] = {"token": token, "action": path, "undo": path == UNDO, "fault": fault}
    values |= {"present": change.user.email, "email": change.email}
    return browser.page(request, "confirm_email", status, address=address, **values)
