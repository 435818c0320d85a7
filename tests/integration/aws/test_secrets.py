"""The secret store on a real Secrets Manager API."""

import boto3
import pytest
from botocore.config import Config
from deeplens.aws.secrets import SecretsManager
from deeplens.errors import SecretNotFound, SecretStoreUnavailable

from local.services.localstack import LocalStackService
from local.services.process import free_port

PRIVATE = "-----BEGIN PRIVATE KEY-----"


def store_at(endpoint: str, prefix: str = "") -> SecretsManager:
    quick = Config(connect_timeout=2, retries={"total_max_attempts": 1})
    made = boto3.client(
        "secretsmanager",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=quick,
    )
    return SecretsManager(lambda: made, prefix)


@pytest.fixture(scope="module")
def secrets(localstack: LocalStackService) -> SecretsManager:
    return store_at(localstack.environment["AWS_ENDPOINT_URL"])


def test_a_secret_is_read_as_it_was_put(secrets: SecretsManager) -> None:
    secrets.put("deeplens/tests/kept", PRIVATE)
    assert secrets.get("deeplens/tests/kept") == PRIVATE


def test_a_deleted_secret_is_gone_at_once_and_deleting_it_again_is_fine(secrets: SecretsManager) -> None:
    secrets.put("deeplens/tests/gone", PRIVATE)
    for _ in range(2):
        secrets.delete("deeplens/tests/gone")
    with pytest.raises(SecretNotFound):
        secrets.get("deeplens/tests/gone")


def test_an_unknown_secret_is_told_from_a_store_that_is_away(secrets: SecretsManager) -> None:
    with pytest.raises(SecretNotFound):
        secrets.get("deeplens/tests/unknown")
    away = store_at(f"http://127.0.0.1:{free_port('127.0.0.1')}")
    for use in (lambda: away.get("a"), lambda: away.put("a", PRIVATE), lambda: away.delete("a")):
        with pytest.raises(SecretStoreUnavailable) as caught:
            use()
        assert PRIVATE not in str(caught.value)


def test_a_name_that_is_taken_is_not_overwritten(secrets: SecretsManager) -> None:
    secrets.put("deeplens/tests/taken", "first")
    with pytest.raises(SecretStoreUnavailable):
        secrets.put("deeplens/tests/taken", "second")
    assert secrets.get("deeplens/tests/taken") == "first"


def test_installations_of_one_account_neither_read_nor_delete_each_others_secrets(
    secrets: SecretsManager, localstack: LocalStackService
) -> None:
    other = store_at(localstack.environment["AWS_ENDPOINT_URL"], "dev-")
    secrets.put("deeplens/tests/same", "of the first")
    with pytest.raises(SecretNotFound):
        other.get("deeplens/tests/same")
    other.put("deeplens/tests/same", "of the second")
    assert (secrets.get("deeplens/tests/same"), other.get("deeplens/tests/same")) == ("of the first", "of the second")
    other.delete("deeplens/tests/same")
    assert secrets.get("deeplens/tests/same") == "of the first"
