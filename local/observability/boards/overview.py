"""Objectives, traffic, backlog."""

from local.observability.boards.queries import quantile, quantiles, rate
from local.observability.panels import Board, Panel
from local.observability.slos import OBJECTIVES

OBJECTIVE_PANELS = [
    Panel(
        objective.promise.capitalize(),
        {"good, of a day": f'1 - deeplens:slo_errors:ratio_1d{{slo="{objective.name}"}}'},
        "percentunit",
        help=f"The part of good events of the last day; the objective is {objective.target:.2%}.",
        kind="number",
        limits=(objective.target, 1 - 3 * (1 - objective.target)),
        width=4,
    )
    for objective in OBJECTIVES
]
BURN_RATES = {
    objective.name: f'deeplens:slo_errors:ratio_1h{{slo="{objective.name}"}} / {round(1 - objective.target, 6)}'
    for objective in OBJECTIVES
}

BOARD = Board(
    "overview",
    "overview",
    {
        "Objectives": [
            *OBJECTIVE_PANELS,
            Panel(
                "Firing alerts",
                {
                    "{{alertname}} {{severity}}": 'count by (alertname, severity) (ALERTS{alertstate="firing"})'
                    " or vector(0)"
                },
                kind="number",
                limits=(1, 2),
                width=4,
            ),
            Panel(
                "Burn rate of an hour",
                BURN_RATES,
                help="1 uses the error budget of 30 days up in 30 days; above 14.4 an alert is critical.",
                width=12,
            ),
            Panel(
                "Prober",
                {
                    "{{deeplens_step}}": quantile(0.95, "deeplens_probe_duration_seconds", "deeplens_step"),
                    "failed {{deeplens_step}}": rate(
                        "deeplens_probe_runs_total", "deeplens_step", 'deeplens_outcome="failed"'
                    ),
                },
                "s",
                width=12,
            ),
        ],
        "Traffic": [
            Panel(
                "Requests",
                {
                    "{{deeplens_operation}} {{deeplens_outcome}}": rate(
                        "deeplens_api_requests_total", "deeplens_operation, deeplens_outcome"
                    )
                },
                "reqps",
            ),
            Panel(
                "Duration of searches",
                quantiles("deeplens_api_duration_seconds", 'deeplens_operation="search"'),
                "s",
            ),
            Panel("From accepted to searchable", quantiles("deeplens_image_processing_duration_seconds"), "s"),
        ],
        "Backlog": [
            Panel("Oldest image that has not ended", {"age": "deeplens_images_pending_age_seconds"}, "s"),
            Panel("Records that wait", {"{{group}}": "sum by (group) (kafka_consumer_group_lag)"}),
            Panel(
                "Open dead letters", {"all tenants": "sum(deeplens_dead_letters_open)"}, kind="number", limits=(1, 100)
            ),
        ],
    },
)
