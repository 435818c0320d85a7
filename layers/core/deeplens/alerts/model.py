"""Alerts to operators: recorded with their cause, and sent together, at most one message per minute."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, Protocol

from deeplens.common.event import Event
from deeplens.common.groups import grouped
from deeplens.common.ports import Clock

type AlertKind = Literal["dead-letter", "maintenance"]
MAX_GROUPS = 50
"""Maximum of groups in one message; further groups are counted."""
KIND_NAMES = {"dead-letter": "dead letters", "maintenance": "broken maintenance runs"}
LEASE = timedelta(minutes=5)
"""Longer than the function may run: an alert that is claimed and not sent by then is claimed again."""
RETENTION = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Alert:
    """A dead letter or a broken run that an operator should look at.

    Attributes
    ----------
    id : of the dead letter or the run.
    stage : the stage that failed, or the run's type.
    """

    id: str
    kind: AlertKind
    code: str
    stage: str | None
    tenant_id: str | None
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class Digest:
    """A message for people (``subject``, ASCII, at most 100 characters) and for programs (``body``, JSON)."""

    subject: str
    body: str


class Alerts(Protocol):
    """Platform database. Raises ``DatabaseUnavailable``.

    The transaction that stores a dead letter or a run with an error records its only alert: none is lost, and none is
    recorded twice.
    """

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Alert]:
        """Lease alerts that have not been sent, oldest first, until ``until``."""

    def mark_notified(self, ids: Sequence[str], now: datetime) -> None: ...

    def forget(self, before: datetime, limit: int) -> int:
        """Delete alerts that were raised before then, sent or not; returns how many."""


class AlertChannel(Protocol):
    """Sends messages to operators. Raises ``AlertsUnavailable``."""

    def send(self, digest: Digest) -> None: ...


def digest_of(alerts: Sequence[Alert]) -> Digest:
    """Compose one message about all alerts, by kind, error code and stage, the most frequent first."""
    groups = grouped(alerts, lambda alert: (alert.kind, alert.code, alert.stage)).values()
    ordered = sorted(groups, key=lambda group: (-len(group), group[0].kind, group[0].code))
    kinds = {kind: sum(alert.kind == kind for alert in alerts) for kind in KIND_NAMES}
    summary = ", ".join(f"{count} {KIND_NAMES[kind]}" for kind, count in kinds.items() if count)
    listed = [_group(group) for group in ordered[:MAX_GROUPS]]
    body = {"alerts": len(alerts), "groups": listed, "furtherGroups": len(ordered) - len(listed)}
    return Digest(f"DeepLens: {summary}", json.dumps(body, indent=1, ensure_ascii=False))


def _group(group: Sequence[Alert]) -> dict[str, Any]:
    first, last = group[0], group[-1]
    return {
        "kind": first.kind,
        "code": first.code,
        "stage": first.stage,
        "count": len(group),
        "tenants": len({alert.tenant_id for alert in group}),
        "example": first.id,
        "first": min(first.raised_at, last.raised_at).isoformat(),
        "last": max(first.raised_at, last.raised_at).isoformat(),
    }


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
