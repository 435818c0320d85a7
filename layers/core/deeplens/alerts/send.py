"""every minute → new dead letters and broken runs → one message to the operators"""

from datetime import timedelta
from typing import ClassVar

from deeplens.alerts.model import AlertChannel, Alerts, digest_of
from deeplens.common.event import Event
from deeplens.common.ports import Clock

LEASE = timedelta(minutes=5)
"""Longer than the function may run: an alert that is claimed and not sent by then is claimed again."""
RETENTION = timedelta(days=30)


class SendAlerts:
    """Send the new alerts in one message. Emits nothing.

    A message that cannot be sent is sent later; no record of any topic waits for it. A crash between sending and
    marking repeats the message.
    """

    name: ClassVar = "alerts"
    batch_size: ClassVar = 5000

    def __init__(self, alerts: Alerts, alert_channel: AlertChannel, clock: Clock) -> None:
        self._alerts, self._channel, self._clock = alerts, alert_channel, clock

    def __call__(self) -> list[Event]:
        now = self._clock.now()
        self._alerts.forget(now - RETENTION, self.batch_size)
        claimed = self._alerts.claim(now, now + LEASE, self.batch_size)
        if claimed:
            self._channel.send(digest_of(claimed))
            self._alerts.mark_notified([alert.id for alert in claimed], self._clock.now())
        return []
