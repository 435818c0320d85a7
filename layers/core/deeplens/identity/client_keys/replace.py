"""Give a client public keys; its private keys never come here."""

import secrets

from deeplens.access.api_keys import digest
from deeplens.egress.rules import EgressRules, check_endpoint
from deeplens.errors import ApiError, EndpointRefused
from deeplens.identity.client_keys.model import ClientKeys, fault_of_keys
from deeplens.identity.client_keys.ports import ClientKeyStore
from deeplens.identity.model import PRIVATE_KEY_METHOD, SECRET_METHODS, Client
from deeplens.identity.ports import Clients


class SetClientKeys:
    """Check and store the keys of a client, whose secret ends with that."""

    def __init__(self, clients: Clients, keys: ClientKeyStore, egress: EgressRules) -> None:
        self._clients, self._keys, self._egress = clients, keys, egress

    def check(self, keys: ClientKeys, confidential: bool, method: str | None) -> bool:
        """Whether the client authenticates with a key. Raises ``ApiError`` 422 for what does not fit together."""
        given = [source for source in (keys.jwks, keys.jwks_uri) if source is not None]
        default = PRIVATE_KEY_METHOD if given else SECRET_METHODS[0] if confidential else "none"
        method = method or default
        if (method == "none") == confidential:
            raise _not_possible("A client without secret has the method none, and only it: send confidential to match.")
        if (method == PRIVATE_KEY_METHOD) != (len(given) == 1) or len(given) > 1:
            raise _not_possible("private_key_jwt needs either jwks or jwksUri, and only that method has one.")
        if keys.jwks is not None and (fault := fault_of_keys(keys.jwks)):
            raise _not_possible(fault)
        if keys.jwks_uri is not None:
            try:
                check_endpoint(keys.jwks_uri, self._egress)
            except EndpointRefused as error:
                raise _not_possible(f"jwksUri cannot be used: {error}.") from None
        return method == PRIVATE_KEY_METHOD

    def __call__(self, client: Client, keys: ClientKeys) -> None:
        """Store checked keys. From then on nobody knows the client's secret."""
        self._clients.replace_secret(client.tenant_id, client.id, digest(secrets.token_urlsafe(32)))
        self._keys.save(keys)


def _not_possible(detail: str) -> ApiError:
    return ApiError(422, "client-not-possible", "Client not possible", detail)
