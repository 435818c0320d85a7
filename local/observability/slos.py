"""The service level objectives, and the rules that warn when one uses up its error budget.

The method is that of multiple windows and burn rates (https://sre.google/workbook/alerting-on-slos/): an alert fires
while a long window has used its budget too fast, and a short one says that it still does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
MIN_BAD_EVENTS = 3
"""In the long window: on an idle installation one failure is a large part of few requests."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A budget that is used ``factor`` times as fast as it may be, over a long and a short window."""

    factor: float
    long: str
    short: str


FAST = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
"""Two percent of the budget of 30 days within an hour, five within six hours: somebody has to look now."""
SLOW = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))
"""Ten percent within a day or three: this week."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A part of the events that has to be good.

    Attributes
    ----------
    alert : the name of the alert and of its runbook.
    target : the part of good events, of 30 days.
    promise : what users are promised.
    every, good, bad : sums of increases over ``WINDOW``; one of ``good`` and ``bad`` is given.
    cloudwatch, dimensions : the metric in CloudWatch, and its dimensions behind ``stack``.
    within_seconds : the limit of a good event; None where ``outcome`` says what is good.
    """

    name: str
    alert: str
    target: float
    promise: str
    cloudwatch: str
    every: str
    good: str = ""
    bad: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    within_seconds: float | None = None

    def bad_events(self, window: str) -> str:
        """PromQL for the number of bad events of a window."""
        return (self.bad or f"{self.every} - {self.good}").replace("WINDOW", window)

    def error_ratio(self, window: str) -> str:
        """PromQL for their part of all events; no number where there was none."""
        every = self.every.replace("WINDOW", window)
        return f"({self.bad_events(window)}) / {every}"


def _within(histogram: str, seconds: float, labels: str = "") -> dict[str, Any]:
    """Events of a histogram, and the good ones: those within a bound of its buckets.

    ``60`` is ``60.0`` in the text format of some clients and after Prometheus 3 has read it.
    """
    bound = f'le=~"{seconds:g}(\\\\.0)?"'
    selected = ",".join(filter(None, (labels, bound)))
    return {
        "within_seconds": seconds,
        "every": f"sum(increase({histogram}_count{{{labels}}}[WINDOW]))",
        "good": f"sum(increase({histogram}_bucket{{{selected}}}[WINDOW]))",
    }


UPLOADS = 'deeplens_api_requests_total{deeplens_operation="upload",deeplens_outcome'
OBJECTIVES = (
    Objective(
        "uploads-accepted",
        "UploadsErrorBudgetBurn",
        0.9995,
        "99.95 % of valid uploads are accepted",
        "ApiRequests",
        dimensions=(("operation", "upload"),),
        every=f'sum(increase({UPLOADS}!="refused"}}[WINDOW]))',
        bad=f'(sum(increase({UPLOADS}="failed"}}[WINDOW])) or vector(0))',
    ),
    Objective(
        "images-searchable",
        "SearchableErrorBudgetBurn",
        0.99,
        "99 % of images are searchable within 60 s",
        "ProcessingSeconds",
        **_within("deeplens_image_processing_duration_seconds", 60),
    ),
    Objective(
        "search-latency",
        "SearchLatencyErrorBudgetBurn",
        0.95,
        "95 % of searches are answered within 300 ms",
        "ApiSeconds",
        dimensions=(("operation", "search"),),
        **_within("deeplens_api_duration_seconds", 0.3, 'deeplens_operation="search"'),
    ),
    Objective(
        "deletions-complete",
        "DeletionErrorBudgetBurn",
        0.99,
        "99 % of deletions are complete within 60 s",
        "DeletionSeconds",
        **_within("deeplens_deletion_duration_seconds", 60),
    ),
    Objective(
        "webhooks-delivered",
        "WebhookErrorBudgetBurn",
        0.99,
        "99 % of webhook messages are delivered within 5 minutes",
        "WebhookDelaySeconds",
        **_within("deeplens_webhook_delay_seconds", 300),
    ),
)


def rules(objective: Objective) -> dict[str, Any]:
    """The rule file of an objective. Rules of one group are evaluated in their order."""
    ordered = [*_recorded(objective), *_alerts(objective)]
    return {"groups": [{"name": objective.name, "interval": "1m", "rules": ordered}]}


def _recorded(objective: Objective) -> Iterator[dict[str, Any]]:
    ratios = {f"ratio_{window}": objective.error_ratio(window) for window in WINDOWS}
    counts = {f"increase_{burn.long}": objective.bad_events(burn.long) for burn in (*FAST, *SLOW)}
    for name, expression in {**ratios, **counts}.items():
        yield {"record": f"deeplens:slo_errors:{name}", "labels": {"slo": objective.name}, "expr": expression}


def _alerts(objective: Objective) -> Iterator[dict[str, Any]]:
    for severity, burns in (("critical", FAST), ("warning", SLOW)):
        yield {
            "alert": objective.alert,
            "expr": " or ".join(f"({_burning(objective, burn)})" for burn in burns),
            "for": "2m",
            "labels": {"severity": severity},
            "annotations": {
                "summary": f"{objective.promise}, and now it is {{{{ $value | humanizePercentage }}}} that are not",
                "runbook": f"docs/runbooks/{objective.alert}.md",
            },
        }


def _burning(objective: Objective, burn: Burn) -> str:
    chosen = f'{{slo="{objective.name}"}}'
    limit = round(burn.factor * (1 - objective.target), 6)
    return (
        f"deeplens:slo_errors:ratio_{burn.long}{chosen} > {limit}"
        f" and deeplens:slo_errors:ratio_{burn.short}{chosen} > {limit}"
        f" and deeplens:slo_errors:increase_{burn.long}{chosen} >= {MIN_BAD_EVENTS}"
    )
