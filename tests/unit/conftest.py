"""Unit tests have no network: a fake that reaches for a socket is not a fake."""

from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket

from tests.harness.api import World


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture
def world() -> World:
    return World()
