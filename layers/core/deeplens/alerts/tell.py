"""every minute → dead letters and broken runs that nobody was told of → one message to the operators"""

from datetime import timedelta
from typing import ClassVar

from deeplens.alerts.model import AlertChannel, Alerts, digest_of
from deeplens.common.event import Event
from deeplens.common.ports import Clock

LEASE = timedelta(minutes=5)
"""Longer than the function may run: what it claimed and did not tell by then was lost with it."""
KEPT = timedelta(days=30)


class TellOperators:
    """Send what has happened since the last minute, together. Emits nothing.

    A message that cannot be sent is sent later; no record of any topic waits for it. A process that dies between
    sending and noting so sends once more.
    """

    name: ClassVar = "alerts"
    batch_size: ClassVar = 5000

    def __init__(self, alerts: Alerts, alert_channel: AlertChannel, clock: Clock) -> None:
        self._alerts, self._channel, self._clock = alerts, alert_channel, clock

    def __call__(self) -> list[Event]:
        now = self._clock.now()
        self._alerts.forget(now - KEPT, self.batch_size)
        claimed = self._alerts.claim(now, now + LEASE, self.batch_size)
        if claimed:
            self._channel.send(digest_of(claimed))
            self._alerts.told([alert.id for alert in claimed], self._clock.now())
        return []
