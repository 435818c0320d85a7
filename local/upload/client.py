"""Call the API with retries: respect ``Retry-After``, retry transient errors, and raise the others."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

MAX_ATTEMPTS = 6
MAX_WAIT_SECONDS = 60.0
RETRIED_STATUSES = {429, 500, 502, 503, 504}
TOKEN_MARGIN_SECONDS = 60


class RequestRefused(Exception):
    """The server refused the request, with a code and a reason; a retry would not help."""

    def __init__(self, code: str, reason: str, status: int = 0) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason, self.status = code, reason, status


class Stopped(Exception):
    """The user interrupted the run."""


class ClientCredentials(httpx.Auth):
    """Add a client's access token to requests; fetch a new one before it expires."""

    requires_response_body = True

    def __init__(self, base_url: str, client_id: str, secret: str) -> None:
        self._url, self._id, self._secret = f"{base_url}/connect/token", client_id, secret
        self._lock, self._token, self._expires_at = threading.Lock(), "", 0.0

    def sync_auth_flow(self, request: httpx.Request) -> Any:
        with self._lock:
            if self._expires_at < time.monotonic():
                answer = yield self._token_request()
                self._keep(answer)
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _token_request(self) -> httpx.Request:
        fields = {"grant_type": "client_credentials", "scope": "deeplens.api.read deeplens.api.write"}
        return httpx.Request("POST", self._url, data=fields | {"client_id": self._id, "client_secret": self._secret})

    def _keep(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            raise RequestRefused("token-refused", answer.text[:200], answer.status_code)
        fields = answer.json()
        self._token = fields["access_token"]
        self._expires_at = time.monotonic() + fields.get("expires_in", 300) - TOKEN_MARGIN_SECONDS


class Api:
    """Send requests; several threads may share it.

    Parameters
    ----------
    stopping : set when the user wants to stop, which ends all waits.
    """

    def __init__(
        self,
        url: str,
        stopping: threading.Event,
        headers: Mapping[str, str],
        auth: httpx.Auth | None,
        connections: int,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._stopping = stopping
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._api = httpx.Client(
            base_url=f"{url.rstrip('/')}/v1", headers=headers, auth=auth, timeout=60, limits=limits, transport=transport
        )
        # Without credentials: signed URLs contain theirs, and the store must not see those of the API.
        self._store = httpx.Client(timeout=300, limits=limits, transport=transport)

    def close(self) -> None:
        self._api.close()
        self._store.close()

    def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Return the answer's JSON. Raises ``RequestRefused``, or ``Stopped`` while waiting for a retry."""
        return dict(self._retry(lambda: self._api.request(method, path, **request)).json())

    def send(self, request: Callable[[httpx.Client], httpx.Response]) -> None:
        """Send bytes to a signed URL. Raises the same errors as ``call``."""
        self._retry(lambda: request(self._store))

    def wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped

    def _retry(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                answer = request()
            except httpx.TransportError as error:
                failure, wait = RequestRefused("unreachable", f"{type(error).__name__}: {error}"), 2.0**attempt
            else:
                if answer.is_success:
                    return answer
                failure, wait = error_of(answer), retry_after(answer, attempt)
                if answer.status_code not in RETRIED_STATUSES:
                    raise failure
            if attempt < MAX_ATTEMPTS:
                self.wait(min(wait, MAX_WAIT_SECONDS))
        raise failure


def error_of(answer: httpx.Response) -> RequestRefused:
    """Return the error of an answer, with code and reason of its problem document if it has one."""
    try:
        problem = answer.json()
        code = str(problem["type"]).rpartition("/")[2]
        return RequestRefused(code, str(problem.get("detail") or problem.get("title")), answer.status_code)
    except (ValueError, KeyError, TypeError):
        return RequestRefused(
            f"http-{answer.status_code}", answer.text[:200] or answer.reason_phrase, answer.status_code
        )


def retry_after(answer: httpx.Response, attempt: int) -> float:
    header = answer.headers.get("retry-after", "")
    return float(header) if header.isdigit() else 2.0**attempt
