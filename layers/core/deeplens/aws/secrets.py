"""``SecretStore`` on AWS Secrets Manager."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.errors import SecretNotFound, SecretStoreUnavailable

NOT_FOUND_CODES = {"ResourceNotFoundException", "InvalidRequestException"}
"""The second is for secrets that are scheduled for deletion."""


class SecretsManager:
    """Reads and writes secrets by name.

    Parameters
    ----------
    new_client : returns the client of Secrets Manager.
    prefix : begins every name there, so that installations of one account never meet.
    """

    def __init__(self, new_client: Callable[[], Any], prefix: str = "") -> None:
        self._new_client, self._prefix = new_client, prefix

    def get(self, name: str) -> str:
        with translated(name):
            return str(self._new_client().get_secret_value(SecretId=self._prefix + name)["SecretString"])

    def put(self, name: str, value: str) -> None:
        with translated(name):
            self._new_client().create_secret(Name=self._prefix + name, SecretString=value)

    def delete(self, name: str) -> None:
        try:
            with translated(name):
                self._new_client().delete_secret(SecretId=self._prefix + name, ForceDeleteWithoutRecovery=True)
        except SecretNotFound:
            return


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Translate errors of Secrets Manager; no message contains a secret."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in NOT_FOUND_CODES:
            raise SecretNotFound(name) from None
        raise SecretStoreUnavailable(code) from error
    except BotoCoreError as error:
        raise SecretStoreUnavailable(type(error).__name__) from error
