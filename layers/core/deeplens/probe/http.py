"""``ProbedApi`` over HTTP."""

from typing import Any

from pydantic_core import from_json
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from deeplens.probe.model import ProbeFailed

TIMEOUT = Timeout(connect=3, read=30)
"""API Gateway answers after 30 s at the latest."""
TAG = "deeplens-probe"
MAX_RESULTS = 10


class HttpProbedApi:
    """Requests with an API key.

    Parameters
    ----------
    url : base URL of the API, without ``/v1``.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url.rstrip("/"), key
        # Without retries: a client sees an error, too.
        self._pool = PoolManager(timeout=TIMEOUT, retries=False)

    def upload(self, picture: bytes) -> str:
        return str(self._call("imageId", "POST", "/images", fields={**_file(picture), "tags": TAG}))

    def status(self, image_id: str) -> str:
        return str(self._call("status", "GET", f"/images/{image_id}"))

    def search(self, picture: bytes) -> list[str]:
        found = self._call("results", "POST", f"/search/image?limit={MAX_RESULTS}", fields=_file(picture))
        return [str(result.get("imageId")) for result in found]

    def delete(self, image_id: str) -> None:
        self._call("imageId", "DELETE", f"/images/{image_id}")

    def is_deleted(self, image_id: str) -> bool:
        return bool(self._call("status", "GET", f"/images/{image_id}/receipt") == "deleted")

    def _call(self, member: str, method: str, path: str, **request: Any) -> Any:
        """A member of the answer's JSON. Raises ``ProbeFailed``, whose message has no credentials."""
        if not self._key:
            raise ProbeFailed("the prober has no API key; see docs/observe.md, Synthetic prober")
        try:
            answer = self._pool.request(
                method, f"{self._url}/v1{path}", headers={"X-API-Key": self._key}, redirect=False, **request
            )
            document = from_json(answer.data) if answer.data else {}
        except (HTTPError, ValueError) as error:
            raise ProbeFailed(f"{method} /v1{path}: {type(error).__name__}") from error
        if not isinstance(document, dict):
            document = {}
        if not 200 <= answer.status < 300:
            code = str(document.get("type", "")).rpartition("/")[2]
            raise ProbeFailed(f"{method} /v1{path} was answered with {answer.status} {code}".rstrip())
        if member not in document:
            raise ProbeFailed(f"the answer to {method} /v1{path} has no {member}")
        return document[member]


def _file(picture: bytes) -> dict[str, Any]:
    return {"file": ("probe.png", picture, "image/png")}
