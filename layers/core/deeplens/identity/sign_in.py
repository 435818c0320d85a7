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
from deeplens.identity.recovery.notify import NotifyCredentialChange
from deeplens.identity.second_factors.model import PENDING_LIFE, PendingSignIn
from deeplens.identity.second_factors.policy import SecondFactorPolicy
from deeplens.identity.second_factors.ports import PendingSignIns
from deeplens.identity.throttle import SignIn

GOAL = re.compile(r"/connect/authorize\?[\x21-\x7e]*|/account(/[a-z-]+)*")
HOME, SIGN_IN = "/account", "/account/sign-in"
VERIFY, ENROL = "/account/second-factor", "/account/security/new"
DEVICE_LIFE = timedelta(days=180)
PENDING_COOKIE = "sign-in"


def is_goal(path: str) -> bool:
    """Whether a sign-in may continue at this path; other sites and pages are ignored."""
    return GOAL.fullmatch(path) is not None


def sign_in_address(request: Request) -> str:
    """The sign-in page that leads back to the request, in the language that the request asks for."""
    locales = request.query_params.get(LOCALES)
    return f"{SIGN_IN}?{urlencode({'return': own_address(request)} | ({LOCALES: locales} if locales else {}))}"


def to_sign_in(goal: str) -> Response:
    """Lead to the page that signs in and continues at ``goal``."""
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'return': goal})}", 303)


def attempt_of(request: Request, browser: Browser) -> tuple[str, str]:
    """The network address that a request came from, and the mark of its device."""
    return request.client.host if request.client else "", browser.cookies.read(request, "device") or ""


class CompleteSignIn:
    """Signs a browser in after a password, another organisation's provider or a passkey proved who its user is."""

    def __init__(
        self,
        browser: Browser,
        users: Users,
        check: SignIn,
        policy: SecondFactorPolicy,
        pending: PendingSignIns,
        notify: NotifyCredentialChange,
        clock: Clock,
    ) -> None:
        self._browser, self._users, self._check, self._clock = browser, users, check, clock
        self._policy, self._pending, self._notify = policy, pending, notify

    def complete(self, request: Request, user: User, methods: Sequence[str], goal: str) -> Response:
        """Open a session and continue at ``goal``, or lead to the second factor that is missing.

        Parameters
        ----------
        methods : how the user authenticated (``amr``, RFC 8176); ``mfa`` among them says that no factor is missing.
        """
        step = self._policy.next_step(user, methods)
        if step is not None:
            path = VERIFY if step == "verify" else ENROL
            return self.suspend(request, PendingSignIn(user.id, tuple(methods), goal), path)
        response = RedirectResponse(goal if is_goal(goal) else HOME, 303)
        self.open_session(request, response, user, methods)
        return response

    def suspend(self, request: Request, sign_in: PendingSignIn, path: str) -> Response:
        """Continue at a page that asks for what is missing. Only this browser can, and it has no session by it."""
        if before := self._browser.cookies.read(request, PENDING_COOKIE):
            self._pending.end(before)
        response = RedirectResponse(path, 303)
        secret = self._pending.begin(sign_in, self._clock.now())
        self._browser.cookies.write(response, PENDING_COOKIE, secret, int(PENDING_LIFE.total_seconds()))
        return response

    def open_session(self, request: Request, response: Response, user: User, methods: Sequence[str]) -> None:
        """Open a new session for this browser and close the one that it had, so that a planted cookie gains nothing."""
        cookies = self._browser.cookies
        if before := cookies.read(request, "session"):
            self._users.close_session(before)
        secret = self._users.open_session(user, self._clock.now(), tuple(dict.fromkeys(methods)))
        if self._check.device_of(cookies.read(request, "device") or "", user.email) is None:
            self._notify(user, "new-device", self._browser.language(request))
        self._browser.record_visit(request, secret)
        cookies.write(response, "session", secret, int(SESSION_LIFE.total_seconds()))
        cookies.write(response, "device", self._check.mark_device(user), int(DEVICE_LIFE.total_seconds()))
        cookies.remove(response, "form")
        cookies.remove(response, PENDING_COOKIE)
