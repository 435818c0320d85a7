"""The Identity API in this process, over the database of these tests."""

from collections.abc import Iterator

import pytest
from deeplens.database.connections import Connections

from tests.harness.identity import IdentityApi, fast_passwords


@pytest.fixture
def identity(connections: Connections) -> Iterator[IdentityApi]:
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.sign_in_attempts")
    with fast_passwords():
        yield IdentityApi(connections)
