"""APIs and events remain compatible with clients, tenants and older releases."""

import pytest

from tests.contract.compatibility.documents import APPS, events, openapi, without_prose
from tests.contract.compatibility.golden import differences, explain


@pytest.mark.parametrize("name", APPS)
def test_an_api_is_compatible_with_its_published_document(name: str) -> None:
    changes = differences(f"openapi-{name}", openapi(name))
    assert not changes, explain(changes)


def test_events_are_compatible_with_their_published_schemas() -> None:
    changes = differences("events", events())
    assert not changes, explain(changes)


def test_only_prose_is_left_out() -> None:
    schema = {
        "title": "A thing",
        "properties": {"title": {"type": "string", "description": "what it is called", "default": {"title": "x"}}},
        "required": ["title"],
    }
    assert without_prose(schema) == {
        "properties": {"title": {"type": "string", "default": {"title": "x"}}},
        "required": ["title"],
    }
