"""Which access tokens are believed: every way to make a false one that we could think of."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from deeplens.access.audiences import ADMIN_API, SEARCH_API, api_of
from deeplens.access.bearer import LEEWAY_SECONDS, MAX_TOKEN_CHARS, REQUIRED, BearerTokens, KeySet
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://id.deeplens.test"
HEADER = {"typ": "at+jwt", "kid": "ours"}


@cache
def private(name: str) -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def jwk(name: str, kid: str) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(private(name).public_key())), "kid": kid, "use": "sig", "alg": "RS256"}


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    known = {
        "iss": ISSUER,
        "aud": ["deeplens.api"],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "sub": "usr_1",
        "client_id": "app",
        "scope": "deeplens.api.read openid",
        "tenant_id": "tenant_a",
        "roles": ["viewer"],
    }
    return {name: value for name, value in {**known, **changed}.items() if value is not None}


def token(content: Mapping[str, Any] | None = None, header: Mapping[str, Any] = HEADER, key: str = "ours") -> str:
    """Signed as it is, also where a library for making tokens would not."""
    return jwt.PyJWS().encode(json.dumps(content or claims()).encode(), private(key), "RS256", dict(header))


def encoded(part: Mapping[str, Any] | bytes) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed_with_secret(header: Mapping[str, Any], secret: bytes) -> str:
    text = f"{encoded(header)}.{encoded(claims())}"
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


@pytest.fixture
def tokens() -> BearerTokens:
    return BearerTokens(KeySet(lambda: {"keys": [jwk("ours", "ours")]}), ISSUER, lambda _: True)


def test_a_good_token_tells_who_calls(tokens: BearerTokens) -> None:
    principal = tokens.authenticate(token(), SEARCH_API)
    assert principal is not None
    assert (principal.subject, principal.tenant_id, principal.client_id) == ("usr_1", "tenant_a", "app")
    assert (principal.scopes, principal.roles) == ({"deeplens.api.read", "openid"}, {"viewer"})


def test_a_clients_own_token_has_neither_roles_nor_necessarily_a_tenant(tokens: BearerTokens) -> None:
    principal = tokens.authenticate(token(claims(sub="app", roles=None, tenant_id=None, operator=True)), SEARCH_API)
    assert principal is not None
    assert (principal.tenant_id, principal.roles) == (None, frozenset())


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant_id": None},
        {"tenant_id": None, "operator": False},
        {"tenant_id": None, "operator": "true"},
        {"tenant_id": None, "operator": 1},
        {"operator": True},
    ],
    ids=str,
)
def test_only_a_token_that_says_so_is_an_operators(tokens: BearerTokens, changed: dict[str, Any]) -> None:
    assert tokens.authenticate(token(claims(**changed)), SEARCH_API) is None


def test_a_token_ends_with_its_client_within_ten_seconds() -> None:
    seconds, active, asked = [0.0], {"app"}, list[str]()

    def is_active(client_id: str) -> bool:
        asked.append(client_id)
        return client_id in active

    keys = KeySet(lambda: {"keys": [jwk("ours", "ours")]})
    tokens = BearerTokens(keys, ISSUER, is_active, monotonic=lambda: seconds[0])
    for seconds[0] in (0.0, 9.9):
        assert tokens.authenticate(token(), SEARCH_API) is not None
    assert asked == ["app"]
    active.clear()
    seconds[0] = 10.0
    assert tokens.authenticate(token(), SEARCH_API) is None
    assert tokens.claims_of(token()) is None
    active.add("app")
    assert tokens.authenticate(token(), SEARCH_API) is not None


@pytest.mark.parametrize(
    ("audience", "accepted"),
    [
        ("deeplens.api", {SEARCH_API, ADMIN_API}),
        (f"{ISSUER}/v1", {SEARCH_API}),
        (f"{ISSUER}/v1/admin", {ADMIN_API}),
        ([f"{ISSUER}/v1", f"{ISSUER}/v1/admin"], {SEARCH_API, ADMIN_API}),
        (ISSUER, set()),
        (f"{ISSUER}/v1/", set()),
        ("/v1", set()),
        ("https://evil.test/v1", set()),
    ],
)
def test_an_api_refuses_a_token_that_is_for_the_other_one(
    tokens: BearerTokens, audience: str | list[str], accepted: set[str]
) -> None:
    presented = token(claims(aud=audience))
    assert {api for api in (SEARCH_API, ADMIN_API) if tokens.authenticate(presented, api)} == accepted


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/images", SEARCH_API),
        ("/v1/administrators", SEARCH_API),
        ("/v1/admin", ADMIN_API),
        ("/v1/admin/tenants", ADMIN_API),
    ],
)
def test_a_path_belongs_to_one_api(path: str, api: str) -> None:
    assert api_of(path) == api


def test_a_token_may_be_meant_for_others_as_well(tokens: BearerTokens) -> None:
    assert tokens.claims_of(token(claims(aud=["other", "deeplens.api"]))) is not None
    assert tokens.claims_of(token(claims(aud="deeplens.api"))) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere.test"},
        {"iss": f"{ISSUER}/"},
        {"iss": [ISSUER]},
        {"aud": ["other"]},
        {"aud": []},
        {"aud": "deeplens.api.read"},
        {"exp": 1_700_000_000},
        {"exp": "tomorrow"},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
        {"sub": 7},
    ],
    ids=str,
)
def test_a_token_of_another_issuer_for_others_or_at_another_time_is_refused(
    tokens: BearerTokens, changed: dict[str, Any]
) -> None:
    assert tokens.claims_of(token(claims(**changed))) is None


@pytest.mark.parametrize("name", REQUIRED)
def test_no_claim_may_be_missing(tokens: BearerTokens, name: str) -> None:
    assert tokens.claims_of(token(claims(**{name: None}))) is None


def test_clocks_may_differ_a_little(tokens: BearerTokens) -> None:
    now = int(time.time())
    assert tokens.claims_of(token(claims(exp=now - LEEWAY_SECONDS + 10))) is not None
    assert tokens.claims_of(token(claims(nbf=now + LEEWAY_SECONDS - 10))) is not None


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "typ": "JWT"},  # an ID token
        {**HEADER, "typ": None},
        {**HEADER, "typ": "AT+JWT "},
        {**HEADER, "crit": ["b64"]},
        {**HEADER, "crit": []},
        {**HEADER, "kid": "unknown"},
        {**HEADER, "kid": ""},
        {"typ": "at+jwt"},
    ],
    ids=str,
)
def test_another_kind_of_token_is_refused(tokens: BearerTokens, header: dict[str, Any]) -> None:
    assert tokens.claims_of(token(header=header)) is None


def test_a_key_in_the_header_is_not_believed(tokens: BearerTokens) -> None:
    own = {"jwk": {name: value for name, value in jwk("theirs", "ours").items() if name in ("kty", "n", "e")}}
    forged = token(header={**HEADER, **own, "jku": "https://evil.test/keys", "x5u": "https://evil.test"}, key="theirs")
    assert tokens.claims_of(forged) is None


def test_another_key_under_our_key_id_is_refused(tokens: BearerTokens) -> None:
    assert tokens.claims_of(token(key="theirs")) is None


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "RS512", "PS256", "ES256", "HS256"])
def test_the_algorithm_is_ours_alone(tokens: BearerTokens, algorithm: str) -> None:
    good = token().split(".")
    for signature in ("", good[2]):
        assert tokens.claims_of(f"{encoded({**HEADER, 'alg': algorithm})}.{good[1]}.{signature}") is None


def test_the_public_key_is_no_secret_to_sign_with(tokens: BearerTokens) -> None:
    public = private("ours").public_key()
    formats = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        json.dumps(jwk("ours", "ours")).encode(),
    ]
    for secret in formats:
        for algorithm in ("HS256", "RS256"):
            assert tokens.claims_of(signed_with_secret({**HEADER, "alg": algorithm}, secret)) is None


def test_changed_content_is_refused(tokens: BearerTokens) -> None:
    header, _, signature = token().split(".")
    assert tokens.claims_of(f"{header}.{encoded(claims(scope='deeplens.api.admin'))}.{signature}") is None


def test_an_oversize_token_is_not_even_read() -> None:
    def fail() -> Mapping[str, Any]:
        raise AssertionError("read")

    long = token(claims(padding="x" * MAX_TOKEN_CHARS))
    assert BearerTokens(KeySet(fail), ISSUER, lambda _: True).claims_of(long) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",  # an encrypted token
        f"{encoded(b'[]')}.{encoded(b'{}')}.",
        f"{encoded(b'[' * 3000)}.e30.e30",
        f"{encoded({**HEADER, 'alg': 'RS256', 'kid': {'a': 1}})}.e30.e30",
        f"{encoded({**HEADER, 'alg': ['RS256']})}.e30.e30",
        "é.ü.ß",
        "\ud800.a.b",
        "\x00",
    ],
)
def test_what_is_no_token_is_refused_quietly(tokens: BearerTokens, text: str) -> None:
    assert tokens.claims_of(text) is None


@given(st.text(max_size=80) | st.binary(max_size=60).map(encoded))
def test_nothing_that_is_sent_breaks_the_check(text: str) -> None:
    tokens = BearerTokens(KeySet(lambda: {"keys": [jwk("ours", "ours")]}), ISSUER, lambda _: True)
    assert tokens.claims_of(text) is None
    assert tokens.claims_of(f"{encoded({**HEADER, 'alg': 'RS256'})}.{text}.{text}") is None


class Published:
    """A key set that counts how often it is read."""

    def __init__(self, *kids: str) -> None:
        self.kids, self.reads, self.clock = list(kids), 0, 0.0

    def read(self) -> dict[str, Any]:
        self.reads += 1
        return {"keys": [jwk("ours", kid) for kid in self.kids]}


def test_an_unknown_key_id_reads_the_set_again_but_not_at_an_attackers_pace() -> None:
    published = Published("first")
    keys = KeySet(published.read, monotonic=lambda: published.clock, pause_seconds=10)
    assert keys.get("first") is not None
    published.kids.append("second")
    for _ in range(1000):
        assert keys.get("second") is None
    assert published.reads == 1
    published.clock = 10
    assert keys.get("second") is not None
    assert keys.get("first") is not None
    assert published.reads == 2


def test_tokens_of_a_revoked_key_are_refused_within_ten_seconds_and_those_of_other_keys_are_not() -> None:
    published = Published("ours", "other")
    keys = KeySet(published.read, monotonic=lambda: published.clock)
    tokens = BearerTokens(keys, ISSUER, lambda _: True)
    by_other = token(header={**HEADER, "kid": "other"})
    assert tokens.authenticate(token(), SEARCH_API) is not None
    published.kids.remove("ours")
    published.clock = 10
    assert tokens.authenticate(token(), SEARCH_API) is None
    assert tokens.authenticate(by_other, SEARCH_API) is not None


def test_a_new_key_that_signs_at_once_is_known_after_a_second() -> None:
    published = Published("ours")
    tokens = BearerTokens(KeySet(published.read, monotonic=lambda: published.clock), ISSUER, lambda _: True)
    assert tokens.authenticate(token(), SEARCH_API) is not None
    published.kids.append("new")
    published.clock = 1
    assert tokens.authenticate(token(header={**HEADER, "kid": "new"}), SEARCH_API) is not None
