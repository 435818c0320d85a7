"""/account/second-factor, which follows the password, and /account/passkey, which replaces it."""

import secrets
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from deeplens.http.dependencies import Injected
from deeplens.identity.account import EXPIRED_FORM, Return, client_origin
from deeplens.identity.federation.model import domain_of
from deeplens.identity.federation.ports import IdentityProviders
from deeplens.identity.federation.sign_in import Federation
from deeplens.identity.forms import Browser
from deeplens.identity.languages import PAGES, Message
from deeplens.identity.model import ATTEMPT_WINDOW
from deeplens.identity.ports import Clients, Users
from deeplens.identity.requests import Form
from deeplens.identity.second_factors.model import OTP, PASSKEY, PASSKEY_ALONE
from deeplens.identity.second_factors.passkeys import Passkeys
from deeplens.identity.second_factors.pending import WEBAUTHN_CHALLENGE_BYTES, Pending, PendingOfBrowser
from deeplens.identity.second_factors.verify import VerifyCode
from deeplens.identity.sign_in import HOME, CompleteSignIn, attempt_of, is_goal, to_sign_in
from deeplens.identity.throttle import SignInThrottled

router = APIRouter(tags=["pages"], include_in_schema=False)
WRONG_CODE = Message(
    "This code is not right, or was used before. After 5 wrong codes no more are heard for 15 minutes."
)
THROTTLED = Message("Too many wrong codes. Wait 15 minutes and try again.")
WRONG_PASSKEY = Message("This passkey was not accepted. Try again.")
MAX_CODE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class SecondFactorStep:
    """The page after the password, and what it accepts."""

    browser: Browser
    clients: Clients
    pending: PendingOfBrowser
    verify: VerifyCode
    passkeys: Passkeys
    sign_in: CompleteSignIn

    def show(self, request: Request, pending: Pending, status: int = 200, fault: Message | str = "") -> Response:
        factors = pending.factors
        options = ""
        if factors.passkeys:
            options = self.passkeys.assertion(self.pending.new_challenge(pending.secret), pending.user)
        origin = client_origin(self.clients, pending.sign_in.goal)
        return self.browser.page(
            request,
            "second_factor",
            status,
            origin,
            factors=factors,
            options=options,
            fault=fault,
        )

    def answer(self, request: Request, pending: Pending, form: FormData) -> Response:
        """Complete the sign-in by a code or a passkey, or show the page again."""
        if not self.browser.sent_form(request, form):
            return self.show(request, pending, 400, EXPIRED_FORM)
        if "credential" in form:
            challenge = self.pending.take_challenge(pending.secret)
            credential = str(form.get("credential", ""))
            if challenge is None or self.passkeys.check(credential, challenge, pending.user) is None:
                return self.show(request, pending, 401, WRONG_PASSKEY)
            return self._complete(request, pending, PASSKEY)
        try:
            code = str(form.get("code", ""))[:MAX_CODE_CHARACTERS]
            origin, language = attempt_of(request, self.browser), self.browser.language(request)
            right = self.verify(pending.user, code, *origin, language)
        except SignInThrottled:
            page = self.show(request, pending, 429, THROTTLED)
            page.headers["Retry-After"] = str(int(ATTEMPT_WINDOW.total_seconds()))
            return page
        return self._complete(request, pending, OTP) if right else self.show(request, pending, 401, WRONG_CODE)

    def _complete(self, request: Request, pending: Pending, methods: tuple[str, ...]) -> Response:
        sign_in = pending.sign_in
        # Of two requests that were right at the same time one signs in.
        if not self.pending.end(pending):
            return to_sign_in(sign_in.goal)
        return self.sign_in.complete(request, pending.user, (*sign_in.methods, *methods), sign_in.goal)


@router.get("/account/second-factor", response_model=None)
def show_second_factor(request: Request, step: Injected[SecondFactorStep]) -> Response:
    pending = step.pending.find(request)
    return step.show(request, pending) if pending and pending.factors.any else to_sign_in(HOME)


@router.post("/account/second-factor", response_model=None)
def check_second_factor(request: Request, step: Injected[SecondFactorStep], form: Form) -> Response:
    pending = step.pending.find(request)
    return step.answer(request, pending, form) if pending and pending.factors.any else to_sign_in(HOME)


def _passkey_page(
    request: Request,
    browser: Browser,
    clients: Clients,
    pending: PendingOfBrowser,
    passkeys: Passkeys,
    goal: str,
    status: int = 200,
    fault: Message | str = "",
) -> Response:
    goal, challenge = goal if is_goal(goal) else "", secrets.token_bytes(WEBAUTHN_CHALLENGE_BYTES)
    values: dict[str, Any] = {"goal": goal, "options": passkeys.assertion(challenge), "fault": fault}
    page = browser.page(request, "passkey", status, client_origin(clients, goal), **values)
    pending.begin_passkey(page, goal, challenge)
    return page


@router.get("/account/passkey", response_model=None)
def show_passkey(
    request: Request,
    browser: Injected[Browser],
    clients: Injected[Clients],
    pending: Injected[PendingOfBrowser],
    passkeys: Injected[Passkeys],
    goal: Return = "",
) -> Response:
    return _passkey_page(request, browser, clients, pending, passkeys, goal)


@router.post("/account/passkey", response_model=None)
def check_passkey(
    request: Request,
    browser: Injected[Browser],
    clients: Injected[Clients],
    pending: Injected[PendingOfBrowser],
    passkeys: Injected[Passkeys],
    users: Injected[Users],
    providers: Injected[IdentityProviders],
    federation: Injected[Federation],
    sign_in: Injected[CompleteSignIn],
    form: Form,
    goal: Return = "",
) -> Response:
    """Sign in by a passkey alone, which has verified its user, unless only the organisation's provider may."""
    if not browser.sent_form(request, form):
        return _passkey_page(request, browser, clients, pending, passkeys, goal, 400, EXPIRED_FORM)
    begun, credential = pending.end_passkey(request), str(form.get("credential", ""))
    user_id = passkeys.check(credential, begun[1]) if begun else None
    user = users.find(user_id) if user_id else None
    if user is None:
        return _passkey_page(request, browser, clients, pending, passkeys, goal, 401, WRONG_PASSKEY)
    provider = providers.of_domain(domain_of(user.email))
    if provider is not None and provider.federation_only:
        return federation.begin(request, provider, goal, user.email)
    return sign_in.complete(request, user, PASSKEY_ALONE, goal)


@router.get("/account/assets/{name}", response_model=None)
def script(name: Literal["passkey.js", "password.js"]) -> Response:
    body = (PAGES / name).read_bytes()
    return Response(body, media_type="text/javascript", headers={"Cache-Control": "public, max-age=86400"})
