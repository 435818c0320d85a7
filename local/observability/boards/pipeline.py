"""Records and time per stage; tenants and webhooks."""

from local.observability.boards.queries import CONSUMED, DEPENDENCY, STAGE, quantile, quantiles, rate
from local.observability.panels import Board, Panel

BOARD = Board(
    "pipeline",
    "pipeline",
    {
        "Records": [
            Panel(
                "Sent",
                {
                    "{{messaging_destination_name}}": rate(
                        "messaging_client_sent_messages_total", "messaging_destination_name"
                    )
                },
                "cps",
            ),
            Panel("Done", {STAGE: rate(CONSUMED, "deeplens_stage", 'deeplens_outcome="done"')}, "cps"),
            Panel(
                "Failed and waiting",
                {
                    f"{STAGE} {{{{deeplens_outcome}}}} {{{{error_type}}}}": rate(
                        CONSUMED,
                        "deeplens_stage, deeplens_outcome, error_type",
                        'deeplens_outcome=~"failed|waiting|invalid"',
                    )
                },
                "cps",
                help="invalid is the tenant's own fault: an unreadable file, a store that is closed to us.",
            ),
            Panel(
                "Retries",
                {f"{STAGE} {{{{error_type}}}}": rate("deeplens_retries_total", "deeplens_stage, error_type")},
                "cps",
            ),
            Panel(
                "Dead letters",
                {f"{STAGE} {{{{error_type}}}}": rate("deeplens_dead_letters_total", "deeplens_stage, error_type")},
                "cps",
            ),
            Panel("Records per invocation, p50", {STAGE: quantile(0.5, "deeplens_batch_size", "deeplens_stage")}),
        ],
        "Time": [
            Panel(
                "Wait in the topic, p95", {STAGE: quantile(0.95, "deeplens_record_age_seconds", "deeplens_stage")}, "s"
            ),
            Panel(
                "Invocation of a stage, p95",
                {STAGE: quantile(0.95, "messaging_process_duration_seconds", "deeplens_stage")},
                "s",
            ),
            Panel(
                "Call of a dependency, p95",
                {DEPENDENCY: quantile(0.95, "deeplens_dependency_duration_seconds", "deeplens_dependency")},
                "s",
            ),
            Panel(
                "Failed calls of dependencies",
                {
                    f"{DEPENDENCY} {{{{error_type}}}}": rate(
                        "deeplens_dependency_duration_seconds_count",
                        "deeplens_dependency, error_type",
                        'error_type!=""',
                    )
                },
                "cps",
            ),
            Panel("Deletions", quantiles("deeplens_deletion_duration_seconds"), "s"),
            Panel("From accepted to searchable", quantiles("deeplens_image_processing_duration_seconds"), "s"),
        ],
        "Tenants and webhooks": [
            Panel(
                "Use of the windows", {"{{deeplens_tenant_id}}": "topk(10, deeplens_window_use_ratio)"}, "percentunit"
            ),
            Panel(
                "Images that have not ended",
                {"{{deeplens_state}}": "sum by (deeplens_state) (deeplens_images_pending)"},
                kind="stack",
            ),
            Panel(
                "Deliveries to webhooks",
                {"{{deeplens_outcome}}": rate("deeplens_webhook_deliveries_total", "deeplens_outcome")},
                "cps",
            ),
            Panel("From event to delivery", quantiles("deeplens_webhook_delay_seconds"), "s"),
            Panel("Deliveries that are due", {"due": "deeplens_webhooks_waiting"}),
            Panel("Latest of them", {"late": "deeplens_webhooks_waiting_age_seconds"}, "s"),
        ],
    },
)
