"""``WhatsApp`` on Meta's Graph API, over the checked connections of ``egress``."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from pydantic_core import from_json
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from deeplens.egress.http import EgressPool
from deeplens.egress.rules import EgressRules
from deeplens.errors import EndpointRefused, FileTooLarge, MediaExpired, WhatsAppUnavailable
from deeplens.whatsapp.chats import Sent

AGENT = "DeepLens-WhatsApp/1"
MAX_TEXT = 4096
MAX_ANSWER_BYTES = 256 * 1024
CHUNK_BYTES = 256 * 1024
MAX_FETCH_SECONDS = 60.0
"""For one file, however slowly it comes."""
GONE = {400, 401, 403, 404, 410}
"""Answers to a file's address, or to its id, that mean it is no longer there for us."""
TOKEN_CODES = {10, 190, 200}
"""Graph's codes for a token that is expired, revoked or lacks the permission: the file may still be there."""
BUSY_CODES = {1, 2, 4, 17, 341, 368, 80007, 130429, 131000, 131016, 131048, 131056, 131057, 133016}
"""Graph's codes for rate limits, maintenance and its own faults: they are transient."""


class GraphApi:
    """Files and messages of WhatsApp's Cloud API.

    Parameters
    ----------
    base_url : with the version, e.g. ``https://graph.facebook.com/v25.0``.
    read_token : the access token; read when it is first needed.
    """

    def __init__(self, rules: EgressRules, base_url: str, read_token: Callable[[], str]) -> None:
        self._pool, self._base_url, self._read_token = EgressPool(rules), base_url.rstrip("/"), read_token

    def fetch(self, media_id: str, max_bytes: int) -> bytes:
        # An address works for five minutes. One that was refused may have expired, so a new one is requested.
        try:
            return self._download(self._address(media_id, max_bytes), max_bytes)
        except MediaExpired:
            return self._download(self._address(media_id, max_bytes), max_bytes)

    def send(self, phone_number_id: str, chat_jid: str, text: str, reply_to: str) -> Sent:
        recipient, _, server = chat_jid.rpartition("@")
        message = {
            "messaging_product": "whatsapp",
            "recipient_type": "group" if server == "g.us" else "individual",
            "to": recipient,
            "context": {"message_id": reply_to},
            "type": "text",
            "text": {"preview_url": False, "body": text[:MAX_TEXT]},
        }
        try:
            url = f"{self._base_url}/{quote(phone_number_id, safe='')}/messages"
            status, answer = self._call("POST", url, json.dumps(message).encode())
        except WhatsAppUnavailable as error:
            return Sent(str(error), transient=True)
        if 200 <= status < 300:
            return Sent()
        transient = status >= 500 or status == 429 or _code(answer) in BUSY_CODES | TOKEN_CODES
        return Sent(_reason(status, answer), transient)

    def _address(self, media_id: str, max_bytes: int) -> str:
        """Where a file can be downloaded for some minutes."""
        status, answer = self._call("GET", f"{self._base_url}/{quote(media_id, safe='')}")
        size, url = str(answer.get("file_size")), answer.get("url")
        if status in GONE and _code(answer) not in TOKEN_CODES | BUSY_CODES:
            raise MediaExpired(f"WhatsApp no longer has the file ({_reason(status, answer)})")
        if status != 200 or not isinstance(url, str):
            raise WhatsAppUnavailable(_reason(status, answer))
        if size.isdigit() and int(size) > max_bytes:
            raise FileTooLarge(f"the file has {size} bytes; at most {max_bytes} are accepted")
        return url

    def _download(self, url: str, max_bytes: int) -> bytes:
        # Closed at the end, as it may not have been read to its end.
        with self._request("GET", url) as answer:
            if answer.status in GONE:
                raise MediaExpired(f"WhatsApp no longer has the file (HTTP {answer.status})")
            if answer.status != 200:
                raise WhatsAppUnavailable(f"HTTP {answer.status}")
            body = _read(answer, max_bytes)
        if len(body) > max_bytes:
            raise FileTooLarge(f"the file has more than {max_bytes} bytes, the most that are accepted")
        return body

    def _call(self, method: str, url: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object of an answer; an empty one for anything else."""
        with self._request(method, url, body) as answer:
            try:
                content = from_json(_read(answer, MAX_ANSWER_BYTES))
            except ValueError:
                content = {}
        return answer.status, content if isinstance(content, dict) else {}

    def _request(self, method: str, url: str, body: bytes | None = None) -> BaseHTTPResponse:
        token = self._read_token()
        if not token:
            raise WhatsAppUnavailable("no access token is set")
        headers = {"authorization": f"Bearer {token}", "user-agent": AGENT, "content-type": "application/json"}
        try:
            return self._pool.urlopen(method, url, body=body, headers=headers)
        except EndpointRefused as error:
            raise WhatsAppUnavailable(str(error)) from error
        except (HTTPError, OSError) as error:
            raise WhatsAppUnavailable(type(error).__name__) from error


def _read(answer: BaseHTTPResponse, max_bytes: int) -> bytes:
    """At most a chunk more than ``max_bytes``."""
    deadline, body = time.monotonic() + MAX_FETCH_SECONDS, bytearray()
    try:
        while len(body) <= max_bytes and (chunk := answer.read(CHUNK_BYTES)):
            body += chunk
            if time.monotonic() > deadline:
                raise WhatsAppUnavailable(f"the answer took more than {MAX_FETCH_SECONDS:.0f} s")
    except (HTTPError, OSError) as error:
        raise WhatsAppUnavailable(type(error).__name__) from error
    return bytes(body)


def _error(answer: dict[str, Any], name: str) -> Any:
    """A member of Graph's error; None where there is none."""
    error = answer.get("error")
    return error.get(name) if isinstance(error, dict) else None


def _code(answer: dict[str, Any]) -> int | None:
    code = _error(answer, "code")
    return code if isinstance(code, int) else None


def _reason(status: int, answer: dict[str, Any]) -> str:
    """The status and Graph's message."""
    message = _error(answer, "message")
    return f"HTTP {status}: {message[:300]}" if isinstance(message, str) else f"HTTP {status}"
