"""Pages without script, and forms that only these pages can send.

A form repeats the random value of a cookie (double submit). The cookie is host-only, so that no other site and no
sibling domain can set it.
"""

import hmac
import re
import secrets
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response

from deeplens.common.ports import Clock
from deeplens.identity.model import Issuer, Session
from deeplens.identity.ports import Users

FIELD = "form_secret"
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'{more}"
)
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*:(//[A-Za-z0-9._:\[\]-]+)?")
"""Excludes characters that could end a source in a policy."""


@cache
def templates() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "pages")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


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


class Browser:
    """What the pages know of a user's browser: its session, its cookies, and the forms that it sends."""

    def __init__(self, users: Users, issuer: Issuer, clock: Clock) -> None:
        self._users, self._issuer, self._clock = users, issuer, clock
        self.cookies = Cookies(issuer)

    def session(self, request: Request) -> Session | None:
        secret = self.cookies.read(request, "session")
        return self._users.session(secret, self._clock.now()) if secret else None

    def page(self, request: Request, name: str, status: int = 200, form_action: str = "", **values: Any) -> Response:
        """Render a page from its template, with the secret for its form.

        Parameters
        ----------
        form_action : origin that the form's answer may redirect to, beside this one.
        """
        secret = self.cookies.read(request, "form") or secrets.token_urlsafe(24)
        body = templates().get_template(f"{name}.html").render(secret_name=FIELD, secret=secret, **values)
        headers = {
            "Content-Security-Policy": POLICY.format(more=f" {form_action}" if form_action else ""),
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
        }
        response = HTMLResponse(body, status, headers=headers)
        self.cookies.write(response, "form", secret)
        return response

    def refusal(self, request: Request, reason: str) -> Response:
        """A page for requests without a client that could be trusted with the error."""
        return self.page(request, "refusal", 400, reason=reason)

    def sent_form(self, request: Request, form: FormData) -> bool:
        """Whether a form was sent by one of these pages in this browser."""
        origin = request.headers.get("origin")
        if origin not in (None, "null", origin_of(self._issuer)):
            return False
        sent, expected = str(form.get(FIELD, "")), self.cookies.read(request, "form") or ""
        return bool(expected) and hmac.compare_digest(sent.encode(), expected.encode())
