"""A URL is split into an address without any secret, and the credentials that open it."""

import pytest
from deeplens.database.credentials import split_credentials, with_json_credentials
from deeplens.errors import SecretStoreUnavailable


@pytest.mark.parametrize(
    ("url", "address", "user", "password"),
    [
        ("postgresql://u:p@h:5432/postgres", "postgresql://h:5432/postgres", "u", "p"),
        ("postgres://u:p%40%2F@a:1,b:2/?sslmode=require", "postgres://a:1,b:2/?sslmode=require", "u", "p@/"),
        ("postgresql://u@h/x", "postgresql://h/x", "u", ""),
        ("postgresql://h/x?user=u&password=p%26&sslmode=require", "postgresql://h/x?sslmode=require", "u", "p&"),
        ("postgresql://[::1]:5432/x", "postgresql://[::1]:5432/x", "", ""),
        ("postgresql://u:p@h/x?%70assword=q", "postgresql://h/x", "u", "q"),
    ],
)
def test_an_address_has_no_credentials(url: str, address: str, user: str, password: str) -> None:
    found, credentials = split_credentials(url)
    assert found == address
    assert split_credentials(with_json_credentials(address, credentials)) == (found, credentials)
    assert credentials == f'{{"username": "{user}", "password": "{password}"}}'


@pytest.mark.parametrize(
    "url", ["postgresql://u:hidden@h/%zz", "postgresql://u:hidden@h/x?nonsense=1", "http://hidden"]
)
def test_what_is_no_url_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user:password@host") as refused:
        split_credentials(url)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("secret", ["", "hidden", '["hidden"]', '{"username": "u"}', '{"username": 1, "password": 2}'])
def test_a_secret_that_has_no_credentials_is_named_without_its_text(secret: str) -> None:
    with pytest.raises(SecretStoreUnavailable) as refused:
        with_json_credentials("postgresql://h/x", secret)
    assert "hidden" not in str(refused.value)
