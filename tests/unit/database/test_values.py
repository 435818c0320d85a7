"""Pure parts of the databases: storable values, URLs, key formats."""

import json
from typing import Any

import pytest
from deeplens.access.api_keys import digest, new_key, split_key
from deeplens.database.credentials import database_url, password_of, tenant_url, url_of_secret
from deeplens.database.values import as_jsonb, as_text
from deeplens.errors import DatabaseUnavailable, SecretStoreUnavailable
from hypothesis import given
from hypothesis import strategies as st

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(categories=None)), inner),
)


def written(value: Any) -> str:
    jsonb = as_jsonb(value)
    assert jsonb.dumps is not None
    text = jsonb.dumps(value)
    return text.decode() if isinstance(text, bytes) else text


@pytest.mark.parametrize(
    ("given", "stored"),
    [("süß.jpg", "süß.jpg"), ("a\x00b", "a�b"), ("a\ud800b", "a�b"), ("\U0001f600", "\U0001f600"), ("", "")],
)
def test_text_keeps_every_character_that_can_be_stored(given: str, stored: str) -> None:
    assert as_text(given) == stored


@given(anything)
def test_json_never_holds_what_postgresql_refuses(value: Any) -> None:
    json.loads(written(value), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    unescaped = written(value).replace("\\\\", "")
    assert "\\u0000" not in unescaped
    assert "\\ud8" not in unescaped.lower()


@given(st.dictionaries(st.text("ab\\u0"), st.integers() | st.text("\\u0 ")))
def test_json_of_storable_values_is_unchanged(value: dict[str, Any]) -> None:
    assert json.loads(written(value)) == value


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("postgresql://u@h:5433/deeplens_platform", "postgresql://u@h:5433/deeplens_t"),
        ("postgresql://u:p%40@h/x?sslmode=require", "postgresql://u:p%40@h/deeplens_t?sslmode=require"),
    ],
)
def test_a_tenants_database_stands_on_the_server_of_its_url(server: str, expected: str) -> None:
    assert database_url(server, "deeplens_t") == expected


KEY = "k" * 32


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("postgresql://admin:secret@h:5433/deeplens_platform", "h:5433/deeplens_t"),
        ("postgresql://h/x", "h/deeplens_t"),
        ("postgresql://a:p%40@h1:1,h2:2/x?sslmode=require", "h1:1,h2:2/deeplens_t?sslmode=require"),
        ("postgresql://a@h/x?user=admin&password=secret&dbname=x&sslmode=require", "h/deeplens_t?sslmode=require"),
        ("postgresql://h/x?us%65r=admin&options=-c%20a%3Db", "h/deeplens_t?options=-c%20a%3Db"),
    ],
)
def test_a_tenants_url_keeps_nothing_of_the_administrators_credentials(server: str, place: str) -> None:
    assert tenant_url(server, "deeplens_t", KEY) == f"postgresql://deeplens_t:{password_of('deeplens_t', KEY)}@{place}"


@pytest.mark.parametrize(
    ("secret", "url"),
    [
        ("postgresql://admin:secret@h/x", "postgresql://admin:secret@h/x"),
        ("", ""),
        (
            '{"url": "postgresql://r@h:1/x?sslmode=verify-full", "password": "p"}',
            "postgresql://r:p@h:1/x?sslmode=verify-full",
        ),
        ('{"url": "postgresql://r@h/x?user=admin&password=a", "password": "a/b@c"}', "postgresql://r:a%2Fb%40c@h/x?"),
        (
            '{"username": "admin", "password": "a b", "host": "h", "port": 1, "dbname": "x"}',
            "postgresql://admin:a%20b@h:1/x",
        ),
        ('{"username": "admin", "password": "p", "host": "h", "dbname": "x"}', "postgresql://admin:p@h:5432/x"),
    ],
)
def test_a_secret_is_a_url_or_a_url_and_its_password(secret: str, url: str) -> None:
    assert url_of_secret(secret) == url.removesuffix("?")


def test_a_secret_that_amazon_rds_manages_has_its_address_from_the_deployment() -> None:
    secret = '{"username": "postgres", "password": "p/q"}'
    address = "db.example:5432/deeplens_platform?connect_timeout=3"
    assert url_of_secret(secret, address) == f"postgresql://postgres:p%2Fq@{address}"


@pytest.mark.parametrize(
    "secret",
    [
        '{"username": "postgres", "password": "hidden"}',
        '{"url": "postgresql://hidden@h/x"}',
        '{"password": "hidden", "host": "h", "dbname": "x"}',
        '{"username": "u", "password": ["hidden"], "host": "h", "dbname": "x"}',
        '{"hidden',
    ],
)
def test_a_secret_of_another_form_is_refused_without_its_content(secret: str) -> None:
    with pytest.raises(SecretStoreUnavailable, match="neither a URL nor JSON") as caught:
        url_of_secret(secret)
    assert "hidden" not in str(caught.value)


def test_every_role_and_every_key_has_a_password_of_its_own() -> None:
    passwords = {password_of(role, key) for role in ("deeplens_a", "deeplens_b") for key in (KEY, "l" * 32)}
    assert len(passwords) == 4
    assert password_of("deeplens_a", KEY) in passwords


@pytest.mark.parametrize("key", ["", "k" * 31])
def test_without_a_key_there_is_no_way_to_a_tenant(key: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="TENANT_DATABASE_KEY"):
        tenant_url("postgresql://admin@h/x", "deeplens_t", key)


def test_a_new_key_is_random_and_splits_into_what_is_stored() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.presented for key in keys}) == 100
    for key in keys:
        prefix, secret = split_key(key.presented) or ("", "")
        assert (prefix, digest(secret)) == (key.prefix, key.secret_sha256)
        assert len(secret) * 4 >= 128
