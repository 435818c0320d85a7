"""Each function gets the secrets of its grant from the environment of the stack."""

import pytest

from local.checks.grants import ALL_SECRET_VARIABLES, GRANTS, secret_variables_of
from local.stack.environment import environment_of, role_urls

ADMIN = "postgresql://deeplens@h:5433/deeplens_platform?sslmode=disable"
STACK = {
    **{name: f"value of {name}" for name in ALL_SECRET_VARIABLES - {"DATABASE_ADMIN_URL"}},
    "DATABASE_URL": ADMIN,
    "DATABASE_ROLE_URLS": role_urls(ADMIN, "k" * 32),
    "KAFKA_BROKERS": "h:9092",
}


@pytest.mark.parametrize("function", GRANTS)
def test_a_function_gets_every_address_and_only_its_own_secrets(function: str) -> None:
    given, granted = environment_of(function, STACK), GRANTS[function]
    assert given["KAFKA_BROKERS"] == "h:9092"
    assert given.keys() & ALL_SECRET_VARIABLES == secret_variables_of(function)
    assert (given.get("DATABASE_ADMIN_URL") == ADMIN) == ("administrator" in granted.uses)
    url = given.get("DATABASE_URL", "")
    assert url.startswith(f"postgresql://{granted.database}:") if granted.database else not url


def test_each_role_has_a_password_of_its_own() -> None:
    urls = role_urls(ADMIN, "k" * 32).split()
    assert len({url.rpartition("@")[0].rpartition(":")[2] for url in urls}) == len(urls) == 5
    assert all(url.endswith("@h:5433/deeplens_platform?sslmode=disable") for url in urls)


def test_without_the_roles_urls_a_function_opens_no_database_rather_than_the_administrators() -> None:
    given = environment_of("on_image_uploaded", {**STACK, "DATABASE_ROLE_URLS": ""})
    assert given["DATABASE_URL"] == ""
