"""Credentials of PostgreSQL servers that belong to tenants: in the secret store, never in a row.

The row of such a tenant has the address of its server. The secret ``deeplens/databases/TENANT`` is JSON with
``username`` and ``password`` of a user that may create databases. It is read at each use, so that a new value counts
at once.
"""

from deeplens.common.ports import SecretStore
from deeplens.database.credentials import split_credentials
from deeplens.errors import SecretNotFound


def secret_name(tenant_id: str) -> str:
    return f"deeplens/databases/{tenant_id}"


def keep_credentials(secret_store: SecretStore, tenant_id: str, url: str) -> str:
    """Keep the credentials of a URL, in place of any that the tenant has; returns the server's address.

    Raises
    ------
    ValueError
        The URL cannot be parsed.
    SecretStoreUnavailable
    """
    address, credentials = split_credentials(url)
    secret_store.delete(secret_name(tenant_id))
    secret_store.put(secret_name(tenant_id), credentials)
    return address


def credentials_of(secret_store: SecretStore, tenant_id: str) -> str:
    """The credentials, or nothing where none are kept. Raises ``SecretStoreUnavailable``."""
    try:
        return secret_store.get(secret_name(tenant_id))
    except SecretNotFound:
        return ""
