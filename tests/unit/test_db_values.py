"""Pure parts of the databases: storable values, URLs, key formats."""

import json
from typing import Any

import pytest
from deeplens.auth.api_keys import digest, new_key, split_key
from deeplens.db.directory import database_url
from deeplens.db.values import as_jsonb, as_text
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


def test_a_new_key_is_random_and_splits_into_what_is_stored() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.presented for key in keys}) == 100
    for key in keys:
        prefix, secret = split_key(key.presented) or ("", "")
        assert (prefix, digest(secret)) == (key.prefix, key.secret_sha256)
        assert len(secret) * 4 >= 128
