"""The pages of a person's own account: a list that features add to, and who may see them."""

from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from deeplens.http.dependencies import Injected
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.model import Session
from deeplens.identity.sign_in import HOME, sign_in_address


class AccountPage(NamedTuple):
    """A page of one's own account, as the navigation and the home page show it."""

    path: str
    title: Message
    purpose: Message


ACCOUNT_PAGES: tuple[AccountPage, ...] = (
    AccountPage("/account/email", Message("Email address"), Message("Change the address that you sign in with.")),
    AccountPage("/account/password", Message("Password"), Message("Change the password that you sign in with.")),
    AccountPage(
        "/account/security",
        Message("Sign-in and security"),
        Message("Set up an authenticator app, passkeys and recovery codes."),
    ),
    AccountPage(
        "/account/sessions",
        Message("Sessions"),
        Message("Where you are signed in. Sign out elsewhere, for example on a device that you lost."),
    ),
    AccountPage(
        "/account/applications",
        Message("Applications"),
        Message("What you let into your account. Take access away from what you no longer use."),
    ),
)
"""In the order of the navigation. Their templates extend ``account_base.html``."""


class SignInRequired(Exception):
    """Nobody is signed in in this browser."""


def signed_in(request: Request, browser: Injected[Browser]) -> Session:
    session = browser.session(request)
    if session is None:
        raise SignInRequired
    return session


SignedIn = Annotated[Session, Depends(signed_in)]
"""The session of a page's reader; without one the answer leads to the sign-in page and back."""


async def lead_to_sign_in(request: Request, error: Exception) -> Response:  # noqa: ARG001 - an exception handler
    return RedirectResponse(sign_in_address(request), 303)


def account_page(
    request: Request, browser: Browser, session: Session, name: str, status: int = 200, **values: object
) -> Response:
    """Render a page of the reader's own account."""
    shown: dict[str, Any] = {"user": session.user, "account_home": HOME, "account_pages": ACCOUNT_PAGES}
    return browser.page(request, name, status, **shown | {"here": request.url.path, "fault": "", "done": ""} | values)
