"""What follows an authentication that succeeded: the one place that opens a session."""

import re
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from deeplens.common.ports import Clock
from deeplens.identity.forms import LOCALES, Browser, own_address
from deeplens.identity.model import SESSION_LIFE, User
from deeplens.identity.ports import Users
from deeplens.identity.throttle import SignIn

GOAL = re.compile(r"/connect/authorize\?[\x21-\x7e]*|/account(/[a-z-]+)*")
HOME = "/account"
DEVICE_LIFE = timedelta(days=180)


def is_goal(path: str) -> bool:
    """Whether a sign-in may continue at this path; other sites and pages are ignored."""
    return GOAL.fullmatch(path) is not None


def sign_in_address(request: Request) -> str:
    """The sign-in page that leads back to the request, in the language that the request asks for."""
    locales = request.query_params.get(LOCALES)
    return f"/account/sign-in?{urlencode({'return': own_address(request)} | ({LOCALES: locales} if locales else {}))}"


class CompleteSignIn:
    """Signs a browser in after a password, another organisation's provider or a passkey proved who its user is."""

    def __init__(self, browser: Browser, users: Users, check: SignIn, clock: Clock) -> None:
        self._browser, self._users, self._check, self._clock = browser, users, check, clock

    def complete(self, request: Request, user: User, methods: Sequence[str], goal: str) -> Response:
        """Open a new session for this browser and close the one that it had, so that a planted cookie gains nothing.

        Parameters
        ----------
        methods : how the user authenticated (``amr``, RFC 8176); ``mfa`` among them says that no factor is missing.
        goal : the path to continue at.
        """
        cookies = self._browser.cookies
        if before := cookies.read(request, "session"):
            self._users.close_session(before)
        response = RedirectResponse(goal if is_goal(goal) else HOME, 303)
        secret = self._users.open_session(user, self._clock.now(), methods)
        cookies.write(response, "session", secret, int(SESSION_LIFE.total_seconds()))
        cookies.write(response, "device", self._check.mark_device(user), int(DEVICE_LIFE.total_seconds()))
        cookies.remove(response, "form")
        return response
