"""Pages, which need no script except for passkeys, and forms that only these pages can send.

A form repeats the random value of a cookie (double submit). The cookie is host-only, so that no other site and no
sibling domain can set it.
"""

import hmac
import re
import secrets
from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response

from deeplens.common.ports import Clock
from deeplens.identity.languages import (
    DEFAULT_LANGUAGE,
    LANGUAGES,
    PAGES,
    Message,
    accepted_languages,
    negotiate,
    templates,
)
from deeplens.identity.model import Issuer, Session
from deeplens.identity.ports import Users
from deeplens.identity.second_factors.policy import SecondFactorPolicy
from deeplens.identity.sessions.model import SEEN_PRECISION, SessionLimits, Visit
from deeplens.identity.sessions.ports import Sessions

FIELD = "form_secret"
LOCALES = "ui_locales"
"""The parameter of OpenID Connect that names a user's languages; our own links to other languages use it too."""
LANGUAGE_COOKIE_SECONDS = 365 * 24 * 3600
POLICY = (
    "default-src 'none'; style-src '{style}'; img-src 'self' data:; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'{more}"
)
SCRIPTS = "; script-src 'self'; connect-src 'self'"
"""Of pages that include one of our scripts: whatever else stands in a page is escaped, so that it includes none."""
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*:(//[A-Za-z0-9._:\[\]-]+)?")
"""Excludes characters that could end a source in a policy."""


@cache
def style() -> tuple[str, str]:
    """The style of all pages, which they include, and its hash for the policy."""
    text = (PAGES / "style.css").read_text()
    return text, f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


class Cookies:
    """Reads and writes cookies; with HTTPS their names have the ``__Host-`` prefix, which browsers enforce."""

    def __init__(self, issuer: str) -> None:
        self.secure = urlsplit(issuer).scheme == "https"

    def name(self, cookie: str) -> str:
        return f"__Host-{cookie}" if self.secure else f"deeplens-{cookie}"

    def read(self, request: Request, cookie: str) -> str | None:
        return request.cookies.get(self.name(cookie))

    def write(self, response: Response, cookie: str, value: str, seconds: int | None = None) -> None:
        response.set_cookie(
            self.name(cookie), value, max_age=seconds, path="/", secure=self.secure, httponly=True, samesite="lax"
        )

    def remove(self, response: Response, cookie: str) -> None:
        response.delete_cookie(self.name(cookie), path="/", secure=self.secure, httponly=True, samesite="lax")


def origin_of(url: str) -> str:
    """Scheme and authority of a URL; the scheme alone for a private scheme of an app; empty for an invalid URL."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"
    return origin if ORIGIN.fullmatch(origin) else ""


def own_address(request: Request) -> str:
    """Path and query of a request, without its languages: the page's cookie keeps them."""
    query = [(name, value) for name, value in request.query_params.multi_items() if name != LOCALES]
    return f"{request.url.path}?{urlencode(query)}" if query else request.url.path


def _asked_locales(request: Request) -> list[str]:
    return request.query_params.get(LOCALES, "").split()


def _in_languages(request: Request, address: str) -> dict[str, str]:
    """For each language the address that shows this page in it."""
    path, _, query = (address or own_address(request)).partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    return {language: f"{path}?{urlencode([*pairs, (LOCALES, language)])}" for language in LANGUAGES}


class Browser:
    """What the pages know of a user's browser: its session, its cookies, and the forms that it sends."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        limits: SessionLimits,
        issuer: Issuer,
        policy: SecondFactorPolicy,
        clock: Clock,
    ) -> None:
        self._users, self._sessions, self._limits = users, sessions, limits
        self._issuer, self._policy, self._clock = issuer, policy, clock
        self.cookies = Cookies(issuer)

    def session(self, request: Request) -> Session | None:
        """The browser's session, whose use is recorded; a session beyond a limit is closed.

        One that began before its user had, or had to have, a second factor is none.
        """
        secret, now = self.cookies.read(request, "session"), self._clock.now()
        session = self._users.session(secret, now) if secret else None
        if secret is None or session is None or self._policy.next_step(session.user, session.methods) is not None:
            return None
        seen = session.last_seen_at or now
        if self._limits.ended(session.authenticated_at, seen, now):
            self._users.close_session(secret)
            return None
        if now - seen >= SEEN_PRECISION:
            self.record_visit(request, secret)
        return session

    def record_visit(self, request: Request, secret: str) -> None:
        """Record from where the session with this secret is used."""
        visit = Visit(request.headers.get("user-agent", ""), request.client.host if request.client else "")
        self._sessions.record(secret, visit, self._clock.now())

    def language(self, request: Request) -> str:
        """The reader's language: of the parameter ``ui_locales``, else of the last choice, else of the browser."""
        chosen = self.cookies.read(request, "language") or ""
        header = accepted_languages(request.headers.get("accept-language", ""))
        return negotiate([*_asked_locales(request), chosen, *header]) or DEFAULT_LANGUAGE

    def page(
        self,
        request: Request,
        name: str,
        status: int = 200,
        form_action: str = "",
        address: str = "",
        **values: Any,
    ) -> Response:
        """Render a page from its template, in the reader's language and with the secret for its form.

        Parameters
        ----------
        form_action : origin that the form's answer may redirect to, beside this one.
        address : path that shows the page again, for the links to other languages; by default the request's own.
        """
        secret = self.cookies.read(request, "form") or secrets.token_urlsafe(24)
        language, (css, css_hash) = self.language(request), style()
        shared = {"secret_name": FIELD, "secret": secret, "style": css, "in_language": _in_languages(request, address)}
        body = templates(language).get_template(f"{name}.html").render(shared | values)
        headers = {
            "Content-Security-Policy": POLICY.format(style=css_hash, more=f" {form_action}" if form_action else "")
            + (SCRIPTS if "<script src=" in body else ""),
            "Cache-Control": "no-store",
            "Content-Language": language,
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
        response = HTMLResponse(body, status, headers=headers)
        self.cookies.write(response, "form", secret)
        if negotiate(_asked_locales(request)):
            self.cookies.write(response, "language", language, LANGUAGE_COOKIE_SECONDS)
        return response

    def refusal(self, request: Request, reason: str | Message) -> Response:
        """A page for requests without a client that could be trusted with the error.

        ``reason`` is a message, or the protocol's own English text.
        """
        return self.page(request, "refusal", 400, reason=reason, technical=isinstance(reason, str))

    def sent_form(self, request: Request, form: FormData) -> bool:
        """Whether a form was sent by one of these pages in this browser."""
        origin = request.headers.get("origin")
        if origin not in (None, "null", origin_of(self._issuer)):
            return False
        sent, expected = str(form.get(FIELD, "")), self.cookies.read(request, "form") or ""
        return bool(expected) and hmac.compare_digest(sent.encode(), expected.encode())
