"""The API keys of vector indexes: each endpoint gets its own, and in production none is reached without one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic_core import from_json

from deeplens.errors import EndpointRefused, IndexUnavailable

DEFAULT_PORT = 6333
"""What qdrant-client adds to a URL without a port."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class IndexKeys:
    """The API keys by scheme, host and port, so that no endpoint is sent the key of another one.

    Attributes
    ----------
    own : scheme, host and port of the platform's index.
    required : whether an endpoint beyond this machine needs https and a key.
    """

    by_endpoint: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: str = ""
    required: bool = False

    @classmethod
    def of(cls, secret: str, url: str, *, required: bool) -> "IndexKeys":
        """Parse a secret: the key of the platform's index at ``url``, or a JSON object with keys by URL."""
        try:
            keys = from_json(secret) if secret.startswith("{") else {url: secret}
        except ValueError:
            raise IndexUnavailable("QDRANT_API_KEY is neither a key nor a JSON object of keys by URL") from None
        return cls({_endpoint(address): key for address, key in keys.items()}, _endpoint(url), required)

    def key_of(self, url: str) -> str:
        """Return the key of an endpoint, empty for none.

        Raises
        ------
        EndpointRefused, IndexUnavailable
            A tenant's endpoint, or the platform's, has no key or no https, and needs both.
        """
        endpoint = _endpoint(url)
        key = self.by_endpoint.get(endpoint, "")
        if self.required and urlsplit(url).hostname not in LOOPBACK and not (key and endpoint.startswith("https://")):
            problem = f"{endpoint} needs https:// and an API key of its own in the secret QDRANT_API_KEY_SECRET_ARN"
            raise IndexUnavailable(problem) if endpoint == self.own else EndpointRefused(problem)
        return key


def _endpoint(url: str) -> str:
    """Return scheme, host and port. Raises ``EndpointRefused`` for what is no URL."""
    try:
        split = urlsplit(url)
        return f"{split.scheme}://{split.hostname}:{split.port or DEFAULT_PORT}"
    except ValueError as error:
        raise EndpointRefused("the address of the vector index is not a URL") from error
