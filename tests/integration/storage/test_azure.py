"""The object stores' suite on Azure Blob, and what only a real server shows: signatures, SAS, what is denied."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from deeplens.egress.rules import EgressRules
from deeplens.errors import EndpointRefused, NotServed, StoreUnavailable, TenantStoreDenied
from deeplens.settings import Settings
from deeplens.storage.azure import AzureStore, container_client
from deeplens.storage.ports import ObjectStore
from deeplens.stores.model import Credentials, TenantStore
from deeplens.stores.probe import probe
from deeplens.stores.resolver import OpenStores

from tests.harness.azurite import ACCOUNT, KEY, azurite
from tests.unit.storage.test_object_store import ObjectStoreSuite

HERE = EgressRules.of(["127.0.0.1/32"], http=True)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield url


def opened(endpoint: str, container: str, credential: Any = None, rules: EgressRules = HERE) -> AzureStore:
    both = credential or {"account_name": ACCOUNT, "account_key": KEY}
    key = both["account_key"] if isinstance(both, dict) else None
    return AzureStore(container_client(endpoint, container, both, rules), f"azure://{container}", key)


def sas(container: str, **allowed: bool) -> str:
    expiry = datetime.now(UTC) + timedelta(hours=1)
    permission = ContainerSasPermissions(**allowed)
    return generate_container_sas(ACCOUNT, container, account_key=KEY, permission=permission, expiry=expiry)


class TestAzureStore(ObjectStoreSuite):
    @pytest.fixture
    def new_store(self, endpoint: str) -> Callable[[str], ObjectStore]:
        number = next(_numbers)

        def new(bucket: str) -> ObjectStore:
            store = opened(endpoint, f"{bucket}-{number}")
            store.ensure()
            return store

        return new

    def test_a_signed_url_reads_one_blob_without_credentials(self, store: ObjectStore) -> None:
        store.put("a b/ö.jpg", b"body", "image/jpeg")
        answer = httpx.get(store.presign_get("a b/ö.jpg", timedelta(minutes=1)), trust_env=False)
        assert (answer.status_code, answer.content) == (200, b"body")

    def test_a_signed_url_is_good_for_nothing_else(self, store: ObjectStore) -> None:
        store.put("a", b"body", "text/plain")
        store.put("b", b"body", "text/plain")
        url = store.presign_get("a", timedelta(minutes=1))
        assert httpx.get(url.replace("/a?", "/b?"), trust_env=False).status_code == 403
        assert httpx.delete(url, trust_env=False).status_code == 403


def test_a_wrong_key_is_the_tenants_fault(endpoint: str) -> None:
    opened(endpoint, "photos").ensure()
    wrong = opened(endpoint, "photos", {"account_name": ACCOUNT, "account_key": "c3VuZmxvd2Vy"})
    with pytest.raises(TenantStoreDenied) as caught:
        list(wrong.list())
    assert caught.value.reason in ("AuthorizationFailure", "AuthenticationFailed")
    assert "c3VuZmxvd2Vy" not in str(caught.value)


def test_a_sas_is_never_part_of_an_address_that_is_given_away(endpoint: str) -> None:
    store = opened(endpoint, "photos", sas("photos", read=True))
    with pytest.raises(NotServed):
        store.presign_get("a", timedelta(minutes=1))


def test_an_account_inside_is_never_reached(endpoint: str) -> None:
    with pytest.raises(EndpointRefused):
        list(opened(endpoint, "photos", rules=EgressRules(http=True)).list())


def test_an_account_that_does_not_answer_is_away() -> None:
    with pytest.raises(StoreUnavailable):
        list(opened("http://127.0.0.1:9/nobody", "photos").list())


@pytest.mark.parametrize(
    ("allowed", "mode", "expected"),
    [
        ({"read": True, "list": True}, "reference", {"list": "passed", "read": "passed", "write": "skipped"}),
        ({"read": True}, "reference", {"list": "denied", "write": "skipped"}),
        ({"list": True}, "reference", {"list": "passed", "read": "denied", "write": "skipped"}),
        ({"read": True, "list": True}, "managed", {"list": "passed", "read": "passed", "write": "denied"}),
        (
            {"read": True, "list": True, "create": True, "write": True, "delete": True},
            "managed",
            {"list": "passed", "read": "passed", "write": "passed"},
        ),
    ],
)
def test_a_probe_finds_which_permission_a_sas_lacks(
    endpoint: str, allowed: dict[str, bool], mode: Any, expected: dict[str, str]
) -> None:
    store = opened(endpoint, "probed")
    store.ensure()
    store.put("a.jpg", b"body", "image/jpeg")
    row = TenantStore("sto_a", "tenant_a", "azure", mode, "probed", NOW, endpoint=endpoint)
    stores = OpenStores(Settings(), lambda: pytest.fail("asked"), lambda: pytest.fail("asked"), HERE)
    checks = probe(stores, row, Credentials({"sas": sas("probed", **allowed)}), "")
    assert {check.name: str(check.outcome) for check in checks}.items() >= expected.items()
    assert [entry.key for entry in store.list()] == ["a.jpg"]
