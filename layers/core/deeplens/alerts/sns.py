"""The SNS topic of operators."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deeplens.alerts.model import Digest
from deeplens.errors import AlertsUnavailable
from deeplens.telemetry.logs import logger


class SnsAlertTopic:
    """``AlertChannel`` on SNS.

    Parameters
    ----------
    client : creates a client of SNS when the first message is sent.
    arn : if empty, the message is logged only.
    """

    def __init__(self, client: Callable[[], Any], arn: str) -> None:
        self._client, self._arn = client, arn

    def send(self, digest: Digest) -> None:
        if not self._arn:
            logger().error(digest.subject, digest=digest.body)
            return
        try:
            self._client().publish(TopicArn=self._arn, Subject=digest.subject, Message=digest.body)
        except (BotoCoreError, ClientError) as error:
            raise AlertsUnavailable(f"{type(error).__name__}: {error}"[:300]) from error
