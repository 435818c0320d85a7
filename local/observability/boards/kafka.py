"""Consumers, topics, the broker."""

from local.observability.boards.queries import STAGE, quantile, quantiles, rate
from local.observability.panels import Board, Panel

BOARD = Board(
    "kafka",
    "Kafka",
    {
        "Consumers": [
            Panel("Records that wait, by group", {"{{group}}": "sum by (group) (kafka_consumer_group_lag)"}, width=12),
            Panel(
                "By partition",
                {"{{topic}} {{partition}}": "topk(10, sum by (topic, partition) (kafka_consumer_group_lag))"},
                width=12,
            ),
        ],
        "Topics": [
            Panel(
                "Sent",
                {
                    "{{messaging_destination_name}}": rate(
                        "messaging_client_sent_messages_total", "messaging_destination_name"
                    )
                },
                "cps",
            ),
            Panel(
                "Not delivered",
                {
                    "{{messaging_destination_name}}": rate(
                        "messaging_client_sent_messages_total", "messaging_destination_name", 'error_type!=""'
                    )
                },
                "cps",
            ),
            Panel(
                "Arrived, as the broker counts",
                {"{{topic}}": "sum by (topic) (deriv(kafka_partition_current_offset[$__rate_interval]))"},
                "cps",
            ),
            Panel("Size", {"{{topic}}": "sum by (topic) (kafka_topic_size_bytes)"}, "bytes", kind="stack"),
            Panel(
                "Delivery of a batch",
                quantiles("deeplens_dependency_duration_seconds", 'deeplens_dependency="kafka"'),
                "s",
            ),
            Panel(
                "Wait in the topic, p95", {STAGE: quantile(0.95, "deeplens_record_age_seconds", "deeplens_stage")}, "s"
            ),
        ],
        "Broker": [
            Panel(
                "Disk",
                {"used": "kafka_broker_disk_used_bytes / kafka_broker_disk_capacity_bytes"},
                "percentunit",
                kind="number",
                limits=(0.7, 0.8),
            ),
            Panel(
                "Processor",
                {"cores": 'sum(rate(process_cpu_time_seconds_total{deeplens_process="kafka"}[$__rate_interval]))'},
            ),
            Panel("Memory", {"resident": 'sum(process_memory_usage_bytes{deeplens_process="kafka"})'}, "bytes"),
        ],
    },
)
