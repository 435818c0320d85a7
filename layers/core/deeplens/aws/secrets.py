"""``SecretStore`` on AWS Secrets Manager."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import SecretNotFound, SecretStoreUnavailable

GONE = {"ResourceNotFoundException", "InvalidRequestException"}
"""The second is said of a secret that waits for its deletion."""


class SecretsManager:
    """Secrets by name.

    Parameters
    ----------
    new_client : makes the Secrets Manager client when it is first needed.
    """

    def __init__(self, new_client: Callable[[], Any]) -> None:
        self._new_client = new_client

    def get(self, name: str) -> str:
        with translated(name):
            return str(self._new_client().get_secret_value(SecretId=name)["SecretString"])

    def put(self, name: str, value: str) -> None:
        with translated(name):
            self._new_client().create_secret(Name=name, SecretString=value)

    def delete(self, name: str) -> None:
        try:
            with translated(name):
                self._new_client().delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        except SecretNotFound:
            return


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the vendor's errors into ours; no message holds a secret."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in GONE:
            raise SecretNotFound(name) from None
        raise SecretStoreUnavailable(code) from error
    except BotoCoreError as error:
        raise SecretStoreUnavailable(type(error).__name__) from error
