"""What operators are told of: recorded with what it is about, and sent together, a message a minute at the most."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

type AlertKind = Literal["dead-letter", "maintenance"]
GROUPS = 50
"""Most groups of one message; the others are counted."""
NAMED = {"dead-letter": "dead letters", "maintenance": "broken maintenance runs"}


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should look at.

    Attributes
    ----------
    id : of the dead letter or the run.
    stage : that failed, or the run's type.
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

    There is one alert per dead letter and per run that ended with an error, recorded in the transaction that keeps
    them: nothing that is kept goes untold, and nothing that is kept twice is told twice.
    """

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Alert]:
        """Alerts that nobody was told of yet, oldest first. Nobody else is given them before ``until``."""

    def told(self, ids: Sequence[str], now: datetime) -> None: ...

    def forget(self, before: datetime, limit: int) -> int:
        """Drop alerts that were raised before then, told or not; returns how many."""


class AlertChannel(Protocol):
    """Where operators listen. Raises ``AlertsUnavailable``."""

    def send(self, digest: Digest) -> None: ...


def digest_of(alerts: Sequence[Alert]) -> Digest:
    """One message about all of them, by kind, error code and stage, the most frequent first."""
    groups: dict[tuple[str, str, str | None], list[Alert]] = {}
    for alert in alerts:
        groups.setdefault((alert.kind, alert.code, alert.stage), []).append(alert)
    ordered = sorted(groups.values(), key=lambda group: (-len(group), group[0].kind, group[0].code))
    kinds = {kind: sum(alert.kind == kind for alert in alerts) for kind in NAMED}
    told = ", ".join(f"{count} {NAMED[kind]}" for kind, count in kinds.items() if count)
    shown = [_group(group) for group in ordered[:GROUPS]]
    body = {"alerts": len(alerts), "groups": shown, "furtherGroups": len(ordered) - len(shown)}
    return Digest(f"DeepLens: {told}", json.dumps(body, indent=1, ensure_ascii=False))


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
