"""Pages without script, and forms that only our own pages can send.

A form repeats a random value that a cookie holds as well (double submit); the cookie is host-only, so that no other
site and no sibling domain can choose it.
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

FIELD = "form_secret"
POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'{more}"
)
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*:(//[A-Za-z0-9._:\[\]-]+)?")
"""Nothing that could end its place in a policy."""


@cache
def templates() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "pages")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


class Cookies:
    """Names and attributes of our cookies; with HTTPS they carry the ``__Host-`` prefix, which browsers enforce."""

    def __init__(self, issuer: str) -> None:
        self.secure = urlsplit(issuer).scheme == "https"

    def name(self, of: str) -> str:
        return f"__Host-{of}" if self.secure else f"deeplens-{of}"

    def read(self, request: Request, of: str) -> str | None:
        return request.cookies.get(self.name(of))

    def write(self, response: Response, of: str, value: str, seconds: int | None = None) -> None:
        response.set_cookie(
            self.name(of), value, max_age=seconds, path="/", secure=self.secure, httponly=True, samesite="lax"
        )

    def remove(self, response: Response, of: str) -> None:
        response.delete_cookie(self.name(of), path="/", secure=self.secure, httponly=True, samesite="lax")


def page(
    request: Request, cookies: Cookies, name: str, status: int = 200, form_action: str = "", **values: Any
) -> Response:
    """A page from its template, with its form's secret.

    Parameters
    ----------
    form_action : origin that the form's answer may redirect to, beside our own.
    """
    secret = cookies.read(request, "form") or secrets.token_urlsafe(24)
    body = templates().get_template(f"{name}.html").render(secret_name=FIELD, secret=secret, **values)
    headers = {
        "Content-Security-Policy": POLICY.format(more=f" {form_action}" if form_action else ""),
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    response = HTMLResponse(body, status, headers=headers)
    cookies.write(response, "form", secret)
    return response


def is_ours(request: Request, cookies: Cookies, form: FormData, issuer: str) -> bool:
    """Whether a form was sent by a page of ours in this browser."""
    origin = request.headers.get("origin")
    if origin not in (None, "null", origin_of(issuer)):
        return False
    sent, kept = str(form.get(FIELD, "")), cookies.read(request, "form") or ""
    return bool(kept) and hmac.compare_digest(sent.encode(), kept.encode())


def origin_of(url: str) -> str:
    """Scheme and authority of a URL; of a private scheme, as apps have, the scheme alone; empty where there is none."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"
    return origin if ORIGIN.fullmatch(origin) else ""
