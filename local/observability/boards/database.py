"""Connections and their use."""

from local.observability.boards.queries import FUNCTION, quantile, quantiles, rate
from local.observability.panels import Board, Panel

BOARD = Board(
    "database",
    "database",
    {
        "Connections": [
            Panel(
                "Open",
                {
                    "{{deeplens_database}}": "deeplens_database_connections",
                    "limit": "deeplens_database_connections_limit",
                },
                width=12,
            ),
            Panel(
                "Use of the limit",
                {"used": "sum(deeplens_database_connections) / max(deeplens_database_connections_limit)"},
                "percentunit",
                kind="number",
                limits=(0.7, 0.9),
                width=12,
            ),
        ],
        "Use": [
            Panel(
                "Use of a connection",
                quantiles("deeplens_dependency_duration_seconds", 'deeplens_dependency="database"'),
                "s",
            ),
            Panel(
                "By function, p95",
                {
                    FUNCTION: quantile(
                        0.95, "deeplens_dependency_duration_seconds", "faas_name", 'deeplens_dependency="database"'
                    )
                },
                "s",
            ),
            Panel(
                "Uses",
                {
                    FUNCTION: rate(
                        "deeplens_dependency_duration_seconds_count", "faas_name", 'deeplens_dependency="database"'
                    )
                },
                "cps",
            ),
            Panel(
                "Failed",
                {
                    "{{error_type}}": rate(
                        "deeplens_dependency_duration_seconds_count",
                        "error_type",
                        'deeplens_dependency="database",error_type!=""',
                    )
                },
                "cps",
            ),
            Panel(
                "Processor",
                {"cores": 'sum(rate(process_cpu_time_seconds_total{deeplens_process="postgres"}[$__rate_interval]))'},
            ),
            Panel("Memory", {"resident": 'sum(process_memory_usage_bytes{deeplens_process="postgres"})'}, "bytes"),
        ],
    },
)
