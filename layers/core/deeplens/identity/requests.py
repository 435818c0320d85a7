"""Translation of HTTP requests for Authlib's core."""

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import unquote

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request
from fastapi import Depends, Request
from starlette.datastructures import FormData

MAX_VALUE_CHARS = 8192
# Parameters that Authlib repeats in its messages, and the characters that RFC 6749 allows there.
REPEATED = ("client_id", "redirect_uri", "response_type", "grant_type", "token_type_hint")
REPEATABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")
RESOURCE = "resource"
"""The one parameter that may be repeated (RFC 8707)."""
STORABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")


class Parameters(OAuth2Payload):  # type: ignore[misc]
    """The parameters of a request."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._lists[name].append(value)

    @property
    def data(self) -> dict[str, str]:
        return {name: values[-1] for name, values in self._lists.items()}

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._lists


class ProtocolRequest(OAuth2Request):  # type: ignore[misc]
    """A request to one of the protocol's endpoints."""

    def __init__(
        self,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        query: Sequence[tuple[str, str]] = (),
        form: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(method, uri, headers=headers)
        self._form = dict(form)
        self.payload = Parameters([*query, *form])

    @property
    def form(self) -> dict[str, str]:
        return self._form


def check_parameters(request: ProtocolRequest) -> None:
    """Raise ``InvalidRequestError`` for parameters that the protocol's grammar does not allow."""
    for name, values in request.payload.datalist.items():
        if len(values) > 1 and name != RESOURCE:
            raise InvalidRequestError("A parameter is given more than once.")
        if not all(map(_is_storable, (name, *values))):
            raise InvalidRequestError("A parameter is too long or holds control characters.")
        if name in REPEATED and not REPEATABLE.fullmatch(values[0]):
            raise InvalidRequestError(f"The parameter {name} holds characters that it may not.")
    _check_basic(request.headers.get("Authorization") or "")


def _is_storable(text: str) -> bool:
    return len(text) <= MAX_VALUE_CHARS and STORABLE.fullmatch(text) is not None


def _check_basic(header: str) -> None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        credentials = base64.b64decode(encoded.strip()).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequestError("The Authorization header is not Basic.") from None
    # RFC 6749 has both halves percent-encoded, and Authlib decodes them.
    if not STORABLE.fullmatch(unquote(credentials)):
        raise InvalidRequestError("The Authorization header holds control characters.")


async def read_form(request: Request) -> FormData:
    return await request.form() if request.method == "POST" else FormData()


Form = Annotated[FormData, Depends(read_form)]


def texts(form: FormData) -> list[tuple[str, str]]:
    """The fields of a form without files, which are no parameters of the protocol."""
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


def protocol_request(request: Request, form: FormData | None = None) -> ProtocolRequest:
    """Translate a request for Authlib. Authlib requires HTTPS, which ends at the gateway."""
    query = list(request.query_params.multi_items())
    uri = f"https://localhost{request.url.path}"
    return ProtocolRequest(request.method, uri, request.headers, query, texts(form) if form else [])
