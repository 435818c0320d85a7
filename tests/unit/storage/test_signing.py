from datetime import timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from deeplens.storage import signing
from deeplens.storage.signing import signed_url, verify

NOW = 1_000_000.0
KEY = "images/a b%2Fö.jpg"


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing.time, "time", lambda: NOW)


def request(method: str = "GET", key: str = KEY, secret: str = "secret") -> tuple[str, dict[str, str]]:
    url = urlsplit(signed_url("https://api.example/", secret, method, "acme", key, timedelta(seconds=60)))
    assert (url.scheme, url.netloc) == ("https", "api.example")
    return url.path, dict(parse_qsl(url.query))


def test_a_signed_url_is_good_until_it_expires() -> None:
    path, query = request()
    assert path == "/_objects/acme/images/a%20b%252F%C3%B6.jpg"
    assert verify("secret", "GET", path, query, NOW)
    assert verify("secret", "GET", path, query, NOW + 60)
    assert not verify("secret", "GET", path, query, NOW + 60.5)


def test_how_a_client_encodes_the_path_does_not_matter() -> None:
    path, query = request(key="a~b")
    assert path == "/_objects/acme/a~b"
    assert verify("secret", "GET", path.replace("~", "%7e"), query, NOW)
    assert verify("secret", "GET", quote(path), query, NOW)


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("PUT", None, {}),
        ("DELETE", None, {}),
        ("GET", "/_objects/acme/images/other.jpg", {}),
        ("GET", "/_objects/other/images/a%20b%252F%C3%B6.jpg", {}),
        ("GET", "/_objects/acme/images/a%20b/%C3%B6.jpg", {}),
        ("GET", None, {"expires": "1000061"}),
        ("GET", None, {"expires": "9" * 5000}),
        ("GET", None, {"expires": "soon"}),
        ("GET", None, {"expires": ""}),
        ("GET", None, {"signature": ""}),
        ("GET", None, {"signature": "ünïcode"}),
        ("GET", None, {"signature": "0" * 64}),
    ],
)
def test_nothing_else_is_allowed_by_it(method: str, path: str | None, changes: dict[str, str]) -> None:
    signed, query = request()
    assert not verify("secret", method, path or signed, query | changes, NOW)


def test_a_request_without_a_signature_is_refused() -> None:
    assert not verify("secret", "GET", "/_objects/acme/a", {}, NOW)


def test_another_secret_signs_differently() -> None:
    path, query = request(secret="other")
    assert not verify("secret", "GET", path, query, NOW)


def test_nothing_is_signed_or_verified_without_a_secret() -> None:
    with pytest.raises(ValueError, match="URL_SIGNING_KEY"):
        request(secret="")
    forged = signing._signature("", "GET", "/_objects/acme/a", "1000060")
    assert not verify("", "GET", "/_objects/acme/a", {"expires": "1000060", "signature": forged}, NOW)
