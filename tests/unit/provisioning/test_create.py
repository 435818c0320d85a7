"""What refuses a new tenant before anything of it is made."""

from typing import Any

import pytest
from deeplens.errors import ApiError
from deeplens.provisioning.create import CreateTenant, DefaultStorage
from deeplens.provisioning.schemas import TenantRequest
from deeplens.vectors.keys import IndexKeys

from tests.fakes.db import FakeDirectory, FakeTenantRecords

KEYS = IndexKeys.of("platform-key", "https://index.example", required=True)


@pytest.mark.parametrize("url", ["http://index.example", "https://thief.example", "https://index.example:6334"])
def test_an_index_without_https_and_a_key_of_its_own_is_refused(url: str) -> None:
    made: list[Any] = []
    records: Any = FakeTenantRecords(FakeDirectory())
    unused: Any = None
    create = CreateTenant(records, lambda: made.append, unused, unused, KEYS, unused, DefaultStorage("s3"))  # type: ignore[arg-type, return-value]

    with pytest.raises(ApiError) as refused:
        create(TenantRequest.model_validate({"tenantId": "tenant_a", "name": "A", "placement": {"qdrantUrl": url}}))

    assert (refused.value.status, refused.value.code) == (422, "endpoint-refused")
    assert made == []
