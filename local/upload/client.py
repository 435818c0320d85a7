"""Call the API with retries: wait as long as it asks, retry transient errors, and report refusals."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 60.0
RETRIED = {429, 500, 502, 503, 504}
TOKEN_MARGIN_SECONDS = 60


class Refused(Exception):
    """The server refused the request, with a reason; a retry would be refused as well."""

    def __init__(self, code: str, reason: str, status: int = 0) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason, self.status = code, reason, status


class Stopped(Exception):
    """The user interrupted the run."""


class ClientCredentials(httpx.Auth):
    """A token of a client, fetched when there is none or it is about to end."""

    requires_response_body = True

    def __init__(self, base_url: str, client_id: str, secret: str) -> None:
        self._url, self._id, self._secret = f"{base_url}/connect/token", client_id, secret
        self._lock, self._token, self._until = threading.Lock(), "", 0.0

    def sync_auth_flow(self, request: httpx.Request) -> Any:
        with self._lock:
            if self._until < time.monotonic():
                answer = yield self._token_request()
                self._keep(answer)
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _token_request(self) -> httpx.Request:
        fields = {"grant_type": "client_credentials", "scope": "deeplens.api.read deeplens.api.write"}
        return httpx.Request("POST", self._url, data=fields | {"client_id": self._id, "client_secret": self._secret})

    def _keep(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            raise Refused("token-refused", answer.text[:200], answer.status_code)
        given = answer.json()
        self._token = given["access_token"]
        self._until = time.monotonic() + given.get("expires_in", 300) - TOKEN_MARGIN_SECONDS


class Api:
    """Requests of several threads.

    Parameters
    ----------
    stopping : set when the user wants to stop; waits end then.
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
        # Without credentials: what is signed carries its own, and they are nobody else's business.
        self._store = httpx.Client(timeout=300, limits=limits, transport=transport)

    def close(self) -> None:
        self._api.close()
        self._store.close()

    def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer's JSON. Raises ``Refused``, or ``Stopped`` while waiting to try again."""
        return dict(self._tried(lambda: self._api.request(method, path, **request)).json())

    def send(self, request: Callable[[httpx.Client], httpx.Response]) -> None:
        """Send bytes to a signed URL. Raises as ``call`` does."""
        self._tried(lambda: request(self._store))

    def wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped

    def _tried(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = request()
            except httpx.TransportError as error:
                failure, wait = Refused("unreachable", f"{type(error).__name__}: {error}"), 2.0**attempt
            else:
                if answer.is_success:
                    return answer
                failure, wait = refusal_of(answer), retry_after(answer, attempt)
                if answer.status_code not in RETRIED:
                    raise failure
            if attempt < ATTEMPTS:
                self.wait(min(wait, LONGEST_WAIT_SECONDS))
        raise failure


def refusal_of(answer: httpx.Response) -> Refused:
    """Why the server refused, by its problem where it sent one."""
    try:
        problem = answer.json()
        code = str(problem["type"]).rpartition("/")[2]
        return Refused(code, str(problem.get("detail") or problem.get("title")), answer.status_code)
    except (ValueError, KeyError, TypeError):
        return Refused(f"http-{answer.status_code}", answer.text[:200] or answer.reason_phrase, answer.status_code)


def retry_after(answer: httpx.Response, attempt: int) -> float:
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isdigit() else 2.0**attempt
