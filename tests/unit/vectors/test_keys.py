"""Which key of a vector index goes where, and which endpoints production refuses."""

import json

import pytest
from deeplens.errors import EndpointRefused, IndexUnavailable
from deeplens.vectors.keys import IndexKeys

OWN, ACME = "https://index.example", "https://acme.example:443"
ONE_KEY = IndexKeys.of("platform-key", OWN, required=True)
KEYS = IndexKeys.of(json.dumps({OWN: "platform-key", ACME: "acme-key"}), OWN, required=True)


@pytest.mark.parametrize(
    ("keys", "url", "expected"),
    [
        (ONE_KEY, OWN, "platform-key"),
        (ONE_KEY, "https://INDEX.example:6333/", "platform-key"),
        (KEYS, OWN, "platform-key"),
        (KEYS, ACME, "acme-key"),
        (KEYS, f"{ACME}/qdrant", "acme-key"),
        (KEYS, "http://127.0.0.1:6333", ""),
    ],
)
def test_an_endpoint_gets_its_own_key(keys: IndexKeys, url: str, expected: str) -> None:
    assert keys.key_of(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        ACME,
        "https://index.example:443",
        "https://index.example:6333@acme.example",
        "https://index.example.acme.example",
        "https://acme.example/index.example",
        "http://index.example:6333",
        "https://[",
    ],
)
def test_other_endpoints_are_refused_without_a_key_of_their_own(url: str) -> None:
    with pytest.raises(EndpointRefused):
        ONE_KEY.key_of(url)
    if "[" not in url:
        assert IndexKeys.of("platform-key", OWN, required=False).key_of(url) == ""


@pytest.mark.parametrize(("secret", "url"), [("", OWN), ("key", "http://index.example"), ("{}", OWN)])
def test_the_platforms_index_needs_https_and_a_key_and_nothing_is_lost_until_it_has_them(secret: str, url: str) -> None:
    with pytest.raises(IndexUnavailable, match="QDRANT_API_KEY_SECRET_ARN"):
        IndexKeys.of(secret, url, required=True).key_of(url)


def test_a_secret_that_is_half_a_json_object_is_not_taken_for_a_key() -> None:
    with pytest.raises(IndexUnavailable, match="neither"):
        IndexKeys.of('{"https://index.example": ', OWN, required=True)
    assert "platform-key" not in repr(KEYS)
