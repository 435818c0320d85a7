"""The principal of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of an API, authenticated by an API key or a bearer token.

    Attributes
    ----------
    subject : ``key:<prefix>`` of a key; of a token the user's id, or the client's when it acts for itself.
    client_id : the OAuth client that holds the token.
    """

    tenant_id: str | None
    subject: str
    scopes: frozenset[str]
    roles: frozenset[str] = frozenset()
    client_id: str | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes
