"""The credentials of databases: those of the platform's roles, and those of the tenants' roles.

A tenant's role has the name of its database, and a password derived from the platform's key. No row holds a secret.
After a change of the key, run ``deeplens tenants migrate``.
"""

import hashlib
import hmac
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic_core import from_json

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
    return with_credentials(database_url(server_url, name), name, password_of(name, key))


def with_credentials(url: str, role: str, password: str) -> str:
    """The URL of the same database with the credentials of a role, and without options that override them."""
    split = urlsplit(url)
    hosts = split.netloc.rpartition("@")[2]
    options = [option for option in split.query.split("&") if unquote(option.partition("=")[0]) not in OVERRIDES]
    authority = f"{quote(role, safe='')}:{quote(password, safe='')}@{hosts}"
    return urlunsplit(split._replace(netloc=authority, query="&".join(options)))


def url_of_secret(secret: str) -> str:
    """The URL in a secret: itself, or JSON with ``url``, which names the role, and ``password``."""
    if not secret.startswith("{"):
        return secret
    fields = from_json(secret)
    return with_credentials(fields["url"], unquote(urlsplit(fields["url"]).username or ""), fields["password"])


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
