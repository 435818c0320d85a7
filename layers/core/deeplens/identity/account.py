"""/account, /account/sign-in and /connect/endsession: pages for people."""

from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from authlib.oauth2.rfc6749 import OAuth2Error
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from deeplens.http.dependencies import Injected
from deeplens.identity.account_pages import SignedIn, account_page
from deeplens.identity.federation.model import domain_of
from deeplens.identity.federation.ports import IdentityProviders
from deeplens.identity.federation.sign_in import Federation
from deeplens.identity.forms import FIELD, Browser, origin_of
from deeplens.identity.languages import Message
from deeplens.identity.model import ATTEMPT_WINDOW, PASSWORD_ONLY
from deeplens.identity.ports import Clients, Users
from deeplens.identity.requests import Form, ProtocolRequest, check_parameters, protocol_request
from deeplens.identity.server import IdentityServer
from deeplens.identity.sign_in import HOME, CompleteSignIn, attempt_of, is_goal
from deeplens.identity.throttle import SignIn, SignInThrottled

router = APIRouter(tags=["pages"], include_in_schema=False)
REJECTED = Message(
    "The address or the password is not right. After 5 wrong passwords no more are heard for 15 minutes."
)
THROTTLED = Message(
    "Too many wrong passwords came from this network, or for this address. Wait 15 minutes and try again. "
    "A device that you signed in with before is not affected by what others try."
)
EXPIRED_FORM = Message("This page was open for too long. Try again.")

Return = Annotated[str, Query(alias="return", max_length=8192)]


def sign_in_page(
    request: Request, browser: Browser, clients: Clients, goal: str, status: int = 200, **values: str | Message
) -> Response:
    """The form to sign in with. ``goal`` is the path to continue at; other sites are ignored."""
    goal = goal if is_goal(goal) else ""
    federated = request.app.state.container.resolve(IdentityProviders).exist()
    shown: dict[str, Any] = {"goal": goal, "email": "", "fault": "", "federated": federated, **values}
    address = f"/account/sign-in?{urlencode({'return': goal})}" if goal else "/account/sign-in"
    return browser.page(request, "sign_in", status, client_origin(clients, goal), address, **shown)


def client_origin(clients: Clients, goal: str) -> str:
    """The origin that signing in may redirect to: browsers apply the policy to a form's redirects too."""
    asked = ProtocolRequest("GET", "https://localhost/", {}, parse_qsl(goal.partition("?")[2]))
    with suppress(OAuth2Error):
        check_parameters(asked)
        client, uri = clients.find(asked.payload.client_id or ""), asked.payload.redirect_uri
        return origin_of(uri) if client and uri and client.check_redirect_uri(uri) else ""
    return ""


@router.get("/account/sign-in", response_model=None)
def show_sign_in(
    request: Request, browser: Injected[Browser], clients: Injected[Clients], goal: Return = ""
) -> Response:
    if not goal and browser.session(request):
        return RedirectResponse(HOME, 303)
    return sign_in_page(request, browser, clients, goal)


@router.get(HOME, response_model=None)
def show_account(request: Request, browser: Injected[Browser], session: SignedIn) -> Response:
    return account_page(request, browser, session, "account")


@router.post("/account/sign-in", response_model=None)
def check_password(
    request: Request,
    browser: Injected[Browser],
    clients: Injected[Clients],
    check: Injected[SignIn],
    sign_in: Injected[CompleteSignIn],
    providers: Injected[IdentityProviders],
    federation: Injected[Federation],
    form: Form,
    goal: Return = "",
) -> Response:
    email, password = str(form.get("email", "")), str(form.get("password", ""))
    if not browser.sent_form(request, form):
        return sign_in_page(request, browser, clients, goal, 400, email=email, fault=EXPIRED_FORM)
    provider = providers.of_domain(domain_of(email))
    if provider is not None and provider.federation_only:
        return federation.begin(request, provider, goal, email[:320])
    try:
        user = check(email[:320], password[:1024], *attempt_of(request, browser))
    except SignInThrottled:
        page = sign_in_page(request, browser, clients, goal, 429, email=email[:320], fault=THROTTLED)
        page.headers["Retry-After"] = str(int(ATTEMPT_WINDOW.total_seconds()))
        return page
    if user is None:
        return sign_in_page(request, browser, clients, goal, 401, email=email[:320], fault=REJECTED)
    return sign_in.complete(request, user, PASSWORD_ONLY, goal)


@router.api_route("/connect/endsession", methods=["GET", "POST"], response_model=None)
def end_session(
    request: Request, browser: Injected[Browser], users: Injected[Users], server: Injected[IdentityServer], form: Form
) -> Response:
    """Sign out when the client proves that it signed the user in, or our page confirms it; else ask, as anybody can
    link here."""
    asked = protocol_request(request, form)
    try:
        check_parameters(asked)
        sign_out = server.validate_endpoint_request("end_session", asked)
    except OAuth2Error as error:
        return browser.refusal(request, error.description or error.error)
    session, target, hint = browser.session(request), sign_out.redirect_uri, sign_out.id_token_claims or {}
    if session is not None and not browser.sent_form(request, form) and hint.get("sub") != session.user.id:
        fields = [(name, values[0]) for name, values in asked.payload.datalist.items() if name != FIELD]
        again = f"/connect/endsession?{urlencode(fields)}"
        origin = origin_of(target or "")
        return browser.page(request, "sign_out", 200, origin, again, user=session.user, kept=fields)
    if secret := browser.cookies.read(request, "session"):
        users.close_session(secret)
    response = RedirectResponse(target, 303) if target else browser.page(request, "signed_out")
    browser.cookies.remove(response, "session")
    return response
