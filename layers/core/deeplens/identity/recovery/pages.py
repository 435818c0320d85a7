"""/account/forgot, /account/reset, /account/password and /account/invitation: pages for people."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from deeplens.access.api_keys import digest
from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.identity.account_pages import SignedIn, account_page
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.model import ATTEMPT_WINDOW
from deeplens.identity.passwords import MAX_LENGTH, MIN_LENGTH, WeakPassword
from deeplens.identity.recovery.model import Invitation, LinkEnded, Throttled
from deeplens.identity.recovery.passwords import (
    ChangePassword,
    RequestPasswordReset,
    ResetPassword,
    WrongPassword,
)
from deeplens.identity.recovery.ports import Invitations
from deeplens.identity.requests import Form

router = APIRouter(tags=["pages"], include_in_schema=False)
SIGN_IN = "/account/sign-in"
EXPIRED_FORM = Message("This page was open for too long. Try again.")
WEAK = Message(
    "The password is too short or easy to guess. Take %(least)s to %(most)s characters, for example several words "
    "that do not belong together.",
    {"least": MIN_LENGTH, "most": MAX_LENGTH},
)
THROTTLED = Message("There were too many attempts. Wait 15 minutes and try again.")
MAIL_THROTTLED = Message(
    "Too many mails were requested for this address, or from this network. Look into your mailbox, or wait 15 minutes "
    "and try again."
)
WRONG = Message("The present password is not right.")
NO_NAME = Message("Enter your name, at most %(most)s characters.", {"most": 200})
PASSWORD_IS_CHANGED = Message("Your password is changed. All your other sessions have ended.")
LINK_ENDED = Message("This link was used, replaced by a newer one, or is too old.")
ADDRESS_TAKEN = Message("This address has an account already. Sign in with it.")
PASSWORD_IS_NEW = Message("Your new password is valid. Sign in with it.")
ACCOUNT_IS_NEW = Message("Your account is ready. Sign in with your address and your password.")

Token = Annotated[str, Query(max_length=200)]


def field(form: FormData, name: str, most: int = 1024) -> str:
    return str(form.get(name, ""))[:most]


def host_of(request: Request) -> str:
    return request.client.host if request.client else ""


def with_token(path: str, token: str) -> str:
    return f"{path}?{urlencode({'token': token})}"


def throttled(page: Response) -> Response:
    page.headers["Retry-After"] = str(int(ATTEMPT_WINDOW.total_seconds()))
    return page


def outcome(request: Request, browser: Browser, address: str, said: Message, *, status: int = 200) -> Response:
    """A page that says how it ended, with the ways on."""
    return browser.page(request, "recovery_outcome", status, address=address, said=said, failed=status >= 400)


@router.get("/account/forgot", response_model=None)
def show_forgotten(request: Request, browser: Injected[Browser]) -> Response:
    return browser.page(request, "forgotten", sent=False, email="", fault="")


@router.post("/account/forgot", response_model=None)
def request_reset(
    request: Request, browser: Injected[Browser], ask: Injected[RequestPasswordReset], form: Form
) -> Response:
    """Every address gets the same answer."""
    email = field(form, "email", 320)
    if not browser.sent_form(request, form):
        return browser.page(request, "forgotten", 400, sent=False, email=email, fault=EXPIRED_FORM)
    try:
        ask(email, host_of(request), browser.language(request))
    except Throttled:
        return throttled(browser.page(request, "forgotten", 429, sent=False, email=email, fault=MAIL_THROTTLED))
    return browser.page(request, "forgotten", sent=True, email=email, fault="")


@router.get("/account/reset", response_model=None)
def show_reset(
    request: Request, browser: Injected[Browser], reset: Injected[ResetPassword], token: Token = ""
) -> Response:
    """Looks only: programs that check mail open its links."""
    try:
        user = reset.user_of(token)
    except LinkEnded:
        return outcome(request, browser, with_token("/account/reset", token), LINK_ENDED, status=410)
    return browser.page(request, "reset_password", email=user.email, token=token, fault="")


@router.post("/account/reset", response_model=None)
def reset_password(
    request: Request, browser: Injected[Browser], reset: Injected[ResetPassword], form: Form
) -> Response:
    token = field(form, "token", 200)
    address = with_token("/account/reset", token)
    try:
        user = reset.user_of(token)
        if not browser.sent_form(request, form):
            return _reset_page(request, browser, address, 400, email=user.email, token=token, fault=EXPIRED_FORM)
        reset(token, field(form, "password"), host_of(request), browser.language(request))
    except LinkEnded:
        return outcome(request, browser, address, LINK_ENDED, status=410)
    except WeakPassword:
        return _reset_page(request, browser, address, 422, email=user.email, token=token, fault=WEAK)
    return outcome(request, browser, SIGN_IN, PASSWORD_IS_NEW)


def _reset_page(request: Request, browser: Browser, address: str, status: int, **values: Any) -> Response:
    return browser.page(request, "reset_password", status, address=address, **values)


@router.get("/account/password", response_model=None)
def show_password(request: Request, browser: Injected[Browser], session: SignedIn) -> Response:
    return account_page(request, browser, session, "change_password")


@router.post("/account/password", response_model=None)
def change_password(
    request: Request, browser: Injected[Browser], change: Injected[ChangePassword], session: SignedIn, form: Form
) -> Response:
    if not browser.sent_form(request, form):
        return account_page(request, browser, session, "change_password", 400, fault=EXPIRED_FORM)
    try:
        change(session, field(form, "present"), field(form, "password"), browser.language(request))
    except Throttled:
        return throttled(account_page(request, browser, session, "change_password", 429, fault=THROTTLED))
    except WrongPassword:
        return account_page(request, browser, session, "change_password", 401, fault=WRONG)
    except WeakPassword:
        return account_page(request, browser, session, "change_password", 422, fault=WEAK)
    return account_page(request, browser, session, "change_password", done=PASSWORD_IS_CHANGED)


@router.get("/account/invitation", response_model=None)
def show_invitation(
    request: Request,
    browser: Injected[Browser],
    invitations: Injected[Invitations],
    clock: Injected[Clock],
    token: Token = "",
) -> Response:
    """Looks only, as ``show_reset``."""
    invitation = invitations.of_token(digest(token), clock.now())
    if invitation is None:
        return outcome(request, browser, with_token("/account/invitation", token), LINK_ENDED, status=410)
    return _invitation_page(request, browser, invitations, invitation, token, name=invitation.name)


@router.post("/account/invitation", response_model=None)
def accept_invitation(
    request: Request, browser: Injected[Browser], invitations: Injected[Invitations], clock: Injected[Clock], form: Form
) -> Response:
    """Create the account; it signs nobody in."""
    token, name = field(form, "token", 200), field(form, "name", 201).strip()
    invitation = invitations.of_token(digest(token), clock.now())
    if invitation is None:
        return outcome(request, browser, with_token("/account/invitation", token), LINK_ENDED, status=410)
    status, fault, user = 200, None, None
    if not browser.sent_form(request, form):
        status, fault = 400, EXPIRED_FORM
    elif not 0 < len(name) <= 200 or not name.isprintable():
        status, fault = 422, NO_NAME
    else:
        try:
            user = invitations.accept(digest(token), name, field(form, "password"), clock.now())
        except WeakPassword:
            status, fault = 422, WEAK
    if fault is not None:
        return _invitation_page(request, browser, invitations, invitation, token, status, name=name, fault=fault)
    return outcome(request, browser, SIGN_IN, ACCOUNT_IS_NEW if user else ADDRESS_TAKEN)


def _invitation_page(
    request: Request,
    browser: Browser,
    invitations: Invitations,
    invitation: Invitation,
    token: str,
    status: int = 200,
    *,
    name: str,
    fault: Message | str = "",
) -> Response:
    values: dict[str, Any] = {"email": invitation.email, "person": name, "token": token, "fault": fault}
    organisation = invitations.organisation(invitation.id)
    address = with_token("/account/invitation", token)
    return browser.page(request, "invitation", status, address=address, organisation=organisation, **values)
