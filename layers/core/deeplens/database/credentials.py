"""The credentials of a tenant's database: a role of the database's name, its password derived from the platform's key.

No row holds a secret. After a change of the key, run ``deeplens tenants migrate``.
"""

import hashlib
import hmac
from urllib.parse import unquote, urlsplit, urlunsplit

from deeplens.errors import DatabaseUnavailable

KEY_CHARACTERS = 32
OVERRIDES = {"user", "password", "dbname", "passfile", "service"}
"""Options in the query of a URL that would override the tenant's credentials."""


def tenant_url(server_url: str, name: str, key: str) -> str:
    """The URL of a tenant's database on a server, with the credentials of its role.

    Parameters
    ----------
    server_url : of any database on that server, with any credentials.
    name : of database and role.

    Raises
    ------
    DatabaseUnavailable
        There is no key.
    """
    split = urlsplit(server_url)
    hosts = split.netloc.rpartition("@")[2]
    options = [option for option in split.query.split("&") if unquote(option.partition("=")[0]) not in OVERRIDES]
    authority = f"{name}:{password_of(name, key)}@{hosts}"
    return urlunsplit(split._replace(netloc=authority, path=f"/{name}", query="&".join(options)))


def password_of(role: str, key: str) -> str:
    """HMAC-SHA256 of the role's name. Raises ``DatabaseUnavailable`` when there is no key."""
    return derived(f"password/{role}", key)


def derived(text: str, key: str) -> str:
    """HMAC-SHA256, as hexadecimal digits. Raises ``DatabaseUnavailable`` when there is no key."""
    if len(key) < KEY_CHARACTERS:
        raise DatabaseUnavailable(f"TENANT_DATABASE_KEY is not set, or has less than {KEY_CHARACTERS} characters")
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def database_url(server_url: str, name: str) -> str:
    """The URL of another database on the same server, with the same credentials."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
