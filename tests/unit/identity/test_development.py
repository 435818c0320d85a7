"""A deployment serves nothing while credentials from the documentation are in its database."""

from types import SimpleNamespace
from typing import Any

import pytest
from deeplens.access.api_keys import digest
from deeplens.errors import ApiError
from deeplens.identity.development import CLIENT, EMAIL, SECRET, DevelopmentCredentials
from deeplens.identity.model import Environment


class Database:
    """Counts how often it is asked."""

    def __init__(self, secret: str | None, emails: set[str]) -> None:
        self.secret, self.emails, self.asked = secret, emails, 0

    def find(self, client_id: str) -> Any:
        self.asked += 1
        assert client_id == CLIENT
        matches = self.secret and (lambda given: digest(given) == digest(self.secret or ""))
        return SimpleNamespace(check_client_secret=matches) if self.secret else None

    def exist(self, emails: list[str]) -> bool:
        return bool(self.emails & set(emails))


def credentials(environment: str, database: Any) -> DevelopmentCredentials:
    return DevelopmentCredentials(Environment(environment), lambda: database, lambda: database)


@pytest.mark.parametrize("database", [Database(SECRET, set()), Database(None, {EMAIL})], ids=["the client", "the user"])
def test_a_deployment_refuses_every_request(database: Database) -> None:
    guard = credentials("production", database)
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            guard.check()
        assert (refused.value.status, refused.value.code) == (503, "development-credentials")
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("database", [Database("another secret", set()), Database(None, {"ada@example.com"})])
def test_a_clean_deployment_is_asked_once(database: Database) -> None:
    guard = credentials("production", database)
    for _ in range(3):
        guard.check()
    assert database.asked == 1


def test_the_local_stack_has_them_on_purpose() -> None:
    database = Database(SECRET, {EMAIL})
    credentials("local", database).check()
    assert database.asked == 0
