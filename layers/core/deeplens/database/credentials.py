"""The credentials of databases: those of the platform's roles, of the tenants' roles, and of tenants' own servers.

A tenant's role has the name of its database, and a password derived from the platform's key. No row holds a secret.
After a change of the key, run ``deeplens tenants migrate``.
"""

import hashlib
import hmac
import json
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic_core import from_json

from deeplens.errors import DatabaseUnavailable, SecretStoreUnavailable

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


def url_of_secret(secret: str, address: str = "") -> str:
    """The URL in a secret: itself, JSON with ``url`` and ``password``, or JSON with ``username`` and ``password``.

    Parameters
    ----------
    secret : the last form is the one of secrets that Amazon RDS manages; some of them have ``host``, ``port`` and
        ``dbname`` as well.
    address : ``host:port/name?options``, which comes before these fields.

    Raises
    ------
    SecretStoreUnavailable
        It is none of the three. The message holds nothing of the secret.
    """
    if not secret.startswith("{"):
        return secret
    try:
        fields = from_json(secret)
        if url := fields.get("url"):
            return with_credentials(url, unquote(urlsplit(url).username or ""), fields["password"])
        place = address or f"{fields['host']}:{fields.get('port', 5432)}/{fields['dbname']}"
        return with_credentials(f"postgresql://{place}", fields["username"], fields["password"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SecretStoreUnavailable(
            "the database's secret is neither a URL nor JSON with url and password, or with username and password; "
            "without host and dbname, the latter needs DATABASE_ADDRESS"
        ) from None


def split_credentials(url: str) -> tuple[str, str]:
    """The URL without user and password, and these as JSON, as rotation in AWS Secrets Manager writes them.

    Raises ``ValueError``, which has no part of the URL, if it cannot be parsed.
    """
    try:
        options = conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError("this is no URL of a PostgreSQL server: use postgresql://user:password@host:5432/") from None
    split = urlsplit(with_credentials(url, "", ""))
    address = urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2]))
    return address, json.dumps({"username": options.get("user") or "", "password": options.get("password") or ""})


def with_json_credentials(address: str, credentials: str) -> str:
    """The reverse of ``split_credentials``. Raises ``SecretStoreUnavailable`` if ``credentials`` are not its JSON."""
    try:
        fields = from_json(credentials)
        return with_credentials(address, fields["username"], fields["password"])
    except (ValueError, KeyError, TypeError):
        raise SecretStoreUnavailable("the credentials of a server are no JSON with username and password") from None


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
