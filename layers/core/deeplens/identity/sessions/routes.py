"""/account/sessions and /account/applications: pages that show and end one's own sessions and applications."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.identity.account import EXPIRED_FORM
from deeplens.identity.account_pages import SignedIn, account_page
from deeplens.identity.authorize import SCOPE_TEXTS
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.model import Session
from deeplens.identity.requests import Form
from deeplens.identity.sessions.ports import Sessions

router = APIRouter(prefix="/account", tags=["pages"], include_in_schema=False)
ENDED = Message("The session has ended. Applications that it let in have to ask you again.")
OTHERS_ENDED = Message("All other sessions have ended. Applications that they let in have to ask you again.")
WITHDRAWN = Message("The application no longer has access. What it received before may be valid for 15 minutes.")


class OwnAccess:
    """Shows the reader's own sessions and applications."""

    def __init__(self, browser: Browser, sessions: Sessions, clock: Clock) -> None:
        self._browser, self._sessions, self._clock = browser, sessions, clock

    def show_sessions(self, request: Request, session: Session, status: int = 200, **said: Message) -> Response:
        owner, now = session.user.tenant_id, self._clock.now()
        found = self._sessions.of_user(owner, session.user.id, now) or []
        values = {"sessions": found, "own_session": session.id}
        return account_page(request, self._browser, session, "sessions", status, **values, **said)

    def show_applications(self, request: Request, session: Session, status: int = 200, **said: Message) -> Response:
        owner, now = session.user.tenant_id, self._clock.now()
        found = self._sessions.applications(owner, session.user.id, now) or []
        values = {"applications": found, "scope_texts": SCOPE_TEXTS}
        return account_page(request, self._browser, session, "applications", status, **values, **said)


@router.get("/sessions", response_model=None)
def show_sessions(request: Request, session: SignedIn, own: Injected[OwnAccess]) -> Response:
    return own.show_sessions(request, session)


@router.post("/sessions", response_model=None)
def end_sessions(
    request: Request,
    session: SignedIn,
    own: Injected[OwnAccess],
    browser: Injected[Browser],
    sessions: Injected[Sessions],
    clock: Injected[Clock],
    form: Form,
) -> Response:
    """End the session that the form names, or all but the reader's own."""
    if not browser.sent_form(request, form):
        return own.show_sessions(request, session, 400, fault=EXPIRED_FORM)
    user, now = session.user, clock.now()
    if "others" in form:
        sessions.end_all(user.tenant_id, user.id, now, keep=session.id)
        return own.show_sessions(request, session, done=OTHERS_ENDED)
    named = str(form.get("session", ""))
    if named != session.id:
        sessions.end(user.tenant_id, user.id, named, now)
    return own.show_sessions(request, session, done=ENDED)


@router.get("/applications", response_model=None)
def show_applications(request: Request, session: SignedIn, own: Injected[OwnAccess]) -> Response:
    return own.show_applications(request, session)


@router.post("/applications", response_model=None)
def withdraw_access(
    request: Request,
    session: SignedIn,
    own: Injected[OwnAccess],
    browser: Injected[Browser],
    sessions: Injected[Sessions],
    clock: Injected[Clock],
    form: Form,
) -> Response:
    """Take away the access of the client that the form names."""
    if not browser.sent_form(request, form):
        return own.show_applications(request, session, 400, fault=EXPIRED_FORM)
    user = session.user
    sessions.withdraw(user.tenant_id, user.id, str(form.get("client", "")), clock.now())
    return own.show_applications(request, session, done=WITHDRAWN)
