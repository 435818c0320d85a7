"""What a tenant's settings may hold."""

from typing import Any

import pytest
from deeplens.provisioning.schemas import MAX_SETTINGS_BYTES, TenantChange, TenantRequest
from pydantic import ValidationError


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ({}, True),
        ({"region": "emea", "nested": nested(100)}, True),
        ({"a": "x" * (MAX_SETTINGS_BYTES - 8)}, True),
        ({"a": "x" * (MAX_SETTINGS_BYTES - 7)}, False),
        ({"a": "\u00e4" * (MAX_SETTINGS_BYTES // 2)}, False),
        ({"a": nested(201)}, False),
        ({"a": nested(50_000)}, False),
        ({str(number): 1 for number in range(51)}, False),
    ],
    ids=["none", "usual", "full", "a byte more", "bytes, not characters", "deep", "very deep", "many keys"],
)
def test_settings_are_bounded_in_bytes_and_depth(settings: dict[str, Any], accepted: bool) -> None:
    for make in (
        lambda: TenantRequest(tenant_id="tenant_acme", name="Acme", settings=settings),
        lambda: TenantChange(settings=settings),
    ):
        if accepted:
            assert make().settings == settings
            continue
        with pytest.raises(ValidationError) as refused:
            make()
        assert refused.value.errors()[0]["loc"] == ("settings",)
