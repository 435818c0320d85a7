"""/account/security: a person's own second factors, added, listed and removed."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.identity.account import EXPIRED_FORM
from deeplens.identity.account_pages import SignedIn, account_page
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.model import RECENT_SIGN_IN, Session
from deeplens.identity.requests import Form
from deeplens.identity.second_factors.enrol import Enrol
from deeplens.identity.second_factors.model import OTP, PASSKEY, PendingSignIn, may_enrol
from deeplens.identity.second_factors.passkeys import Passkeys
from deeplens.identity.second_factors.pending import Pending, PendingOfBrowser
from deeplens.identity.second_factors.policy import SecondFactorPolicy
from deeplens.identity.second_factors.ports import SecondFactors
from deeplens.identity.sign_in import CompleteSignIn, to_sign_in

router = APIRouter(prefix="/account/security", tags=["pages"], include_in_schema=False)
AREA = "/account/security"
WRONG_CODE = Message("This code is not right. Look at the newest code of the app, and whether its clock is right.")
NOT_REGISTERED = Message("This passkey was not accepted, or is registered already. Try again.")
LAST_FACTOR = Message("A second factor is required. Add another one before you remove this one.")
NO_NAME = Message("Enter a name for the passkey.")
MAX_NAME_CHARACTERS, MAX_CODE_CHARACTERS = 60, 64


@dataclass(frozen=True, slots=True)
class SecurityArea:
    """What the pages need."""

    browser: Browser
    pending: PendingOfBrowser
    factors: SecondFactors
    policy: SecondFactorPolicy
    passkeys: Passkeys
    enrol: Enrol
    sign_in: CompleteSignIn
    clock: Clock

    def overview(self, request: Request, session: Session, status: int = 200, fault: Message | str = "") -> Response:
        factors = self.factors.of(session.user.id)
        passkeys = [{"id": passkey.id.hex(), "passkey": passkey} for passkey in self.factors.passkeys(session.user.id)]
        values = {"factors": factors, "passkeys": passkeys, "fault": fault}
        return account_page(request, self.browser, session, "security", status, address=AREA, **values)

    def act(self, request: Request, session: Session, form: FormData) -> Response:
        """Do what a button of the overview says."""
        action, user = str(form.get("action", "")), session.user
        if action in ("authenticator", "passkey"):
            return self.sign_in.suspend(request, PendingSignIn(user.id, session.methods, AREA), f"{AREA}/{action}")
        factors = self.factors.of(user.id)
        if action == "recovery-codes" and factors.any:
            return self.codes_page(request, self.enrol.new_codes(user, self.browser.language(request)), AREA)
        if action == "rename-passkey":
            if not (name := _name_in(form)):
                return self.overview(request, session, 422, NO_NAME)
            self.enrol.rename_passkey(user, str(form.get("passkey", "")), name)
        if action in ("remove-authenticator", "remove-passkey"):
            if factors.count == 1 and self.policy.required(user, factors):
                return self.overview(request, session, 409, LAST_FACTOR)
            passkey = str(form.get("passkey", "")) if action == "remove-passkey" else None
            self.enrol.remove(user, passkey, self.browser.language(request))
        return RedirectResponse(AREA, 303)

    def codes_page(self, request: Request, codes: list[str], goal: str) -> Response:
        return self.browser.page(request, "recovery_codes", address=AREA, codes=codes, goal=goal)

    def finish(self, request: Request, pending: Pending, methods: tuple[str, ...]) -> Response:
        """Sign in with the new factor; the first one comes with recovery codes, which are shown this once."""
        sign_in = pending.sign_in
        methods = (*sign_in.methods, *methods)
        if pending.factors.recovery_codes:
            return self.sign_in.complete(request, pending.user, methods, sign_in.goal)
        codes = self.enrol.new_codes(pending.user, self.browser.language(request))
        page = self.codes_page(request, codes, sign_in.goal or AREA)
        self.sign_in.open_session(request, page, pending.user, methods)
        return page

    def enrolling(self, request: Request) -> Pending | None:
        """The browser's sign-in if it may add a factor: whoever has one has proved it."""
        pending = self.pending.find(request)
        return pending if pending and may_enrol(pending.factors, pending.sign_in.methods) else None

    def authenticator_page(
        self, request: Request, pending: Pending, status: int = 200, fault: Message | str = ""
    ) -> Response:
        enrolment = self.pending.enrolment(pending.secret)
        secret, qr = self.enrol.secret_and_qr(pending.user, enrolment)
        groups = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
        values: dict[str, Any] = {"qr": Markup(qr), "groups": groups, "fault": fault}  # noqa: S704 - segno made it
        return self.browser.page(request, "authenticator", status, **values)

    def add_authenticator(self, request: Request, pending: Pending, form: FormData) -> Response:
        enrolment = self.pending.enrolment(pending.secret)
        step = self.enrol.step_of_code(pending.user, enrolment, str(form.get("code", ""))[:MAX_CODE_CHARACTERS])
        if step is None:
            return self.authenticator_page(request, pending, 401, WRONG_CODE)
        if not self.pending.end(pending):
            return to_sign_in(AREA)
        self.enrol.add_authenticator(pending.user, enrolment, step, self.browser.language(request))
        return self.finish(request, pending, OTP)

    def passkey_page(
        self, request: Request, pending: Pending, status: int = 200, fault: Message | str = ""
    ) -> Response:
        options = self.passkeys.registration(pending.user, self.pending.new_challenge(pending.secret))
        return self.browser.page(request, "new_passkey", status, options=options, fault=fault)

    def add_passkey(self, request: Request, pending: Pending, form: FormData) -> Response:
        name = _name_in(form) or "Passkey"
        challenge = self.pending.take_challenge(pending.secret)
        credential, language = str(form.get("credential", "")), self.browser.language(request)
        if challenge is None or not self.enrol.add_passkey(pending.user, name, credential, challenge, language):
            return self.passkey_page(request, pending, 400, NOT_REGISTERED)
        if not self.pending.end(pending):
            return to_sign_in(AREA)
        return self.finish(request, pending, PASSKEY)


def _name_in(form: FormData) -> str:
    return " ".join(str(form.get("name", "")).split())[:MAX_NAME_CHARACTERS]


@router.get("", response_model=None)
def show_security(request: Request, area: Injected[SecurityArea], session: SignedIn) -> Response:
    return area.overview(request, session)


@router.post("", response_model=None)
def change_security(request: Request, area: Injected[SecurityArea], session: SignedIn, form: Form) -> Response:
    """Whoever changes factors has just signed in, with a second factor if there is one: a session alone may be old."""
    if area.clock.now() - session.authenticated_at > RECENT_SIGN_IN:
        return to_sign_in(AREA)
    if not area.browser.sent_form(request, form):
        return area.overview(request, session, 400, EXPIRED_FORM)
    return area.act(request, session, form)


@router.get("/new", response_model=None)
def choose_factor(request: Request, area: Injected[SecurityArea]) -> Response:
    pending = area.enrolling(request)
    return area.browser.page(request, "new_factor", user=pending.user) if pending else to_sign_in(AREA)


@router.get("/authenticator", response_model=None)
def show_authenticator(request: Request, area: Injected[SecurityArea]) -> Response:
    pending = area.enrolling(request)
    return area.authenticator_page(request, pending) if pending else to_sign_in(AREA)


@router.post("/authenticator", response_model=None)
def add_authenticator(request: Request, area: Injected[SecurityArea], form: Form) -> Response:
    """Enable the app once it shows the right code."""
    pending = area.enrolling(request)
    if pending is None:
        return to_sign_in(AREA)
    if not area.browser.sent_form(request, form):
        return area.authenticator_page(request, pending, 400, EXPIRED_FORM)
    return area.add_authenticator(request, pending, form)


@router.get("/passkey", response_model=None)
def show_passkey(request: Request, area: Injected[SecurityArea]) -> Response:
    pending = area.enrolling(request)
    return area.passkey_page(request, pending) if pending else to_sign_in(AREA)


@router.post("/passkey", response_model=None)
def add_passkey(request: Request, area: Injected[SecurityArea], form: Form) -> Response:
    pending = area.enrolling(request)
    if pending is None:
        return to_sign_in(AREA)
    if not area.browser.sent_form(request, form):
        return area.passkey_page(request, pending, 400, EXPIRED_FORM)
    return area.add_passkey(request, pending, form)
