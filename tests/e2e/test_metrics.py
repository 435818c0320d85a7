"""One photo shows in the metrics of every part that it passed, at the one page that Prometheus reads."""

import httpx
import pytest
from deeplens.bootstrap.container import Container
from prometheus_client.parser import text_string_to_metric_families

from local.stack.stack import Stack
from local.telemetry.rates import Rates, document_of, read
from tests.e2e.conftest import TenantClient, eventually, new_client, picture

TENANT = "tenant_measured"
type Page = dict[str, list[tuple[dict[str, str], float]]]
EXPECTED = {
    ("messaging_client_sent_messages_total", "messaging_destination_name", "deeplens.images.uploaded"),
    ("messaging_client_consumed_messages_total", "deeplens_stage", "preprocess"),
    ("messaging_client_consumed_messages_total", "deeplens_stage", "meter"),
    ("messaging_process_duration_seconds_bucket", "deeplens_stage", "extract"),
    ("deeplens_batch_size_bucket", "deeplens_stage", "index"),
    ("deeplens_record_age_seconds_bucket", "deeplens_stage", "complete"),
    ("deeplens_image_processing_duration_seconds_bucket", "le", "60.0"),
    *(
        ("deeplens_dependency_duration_seconds_bucket", "deeplens_dependency", dependency)
        for dependency in ("storage", "database", "index", "inference", "kafka")
    ),
    *(("deeplens_inference_phase_duration_seconds_bucket", "deeplens_phase", p) for p in ("queue", "decode", "run")),
    ("http_server_request_duration_seconds_bucket", "http_route", "/v1/images"),
    ("deeplens_api_requests_total", "deeplens_operation", "upload"),
    ("deeplens_api_duration_seconds_bucket", "le", "0.3"),
    ("deeplens_images_pending_age_seconds", "faas_name", "on_schedule"),
    ("deeplens_webhooks_waiting", "faas_name", "on_schedule"),
    ("deeplens_tenant_usage", "deeplens_tenant_id", TENANT),
    ("deeplens_database_connections", "deeplens_database", "platform"),
    ("kafka_consumer_group_lag", "topic", "deeplens.images.uploaded"),
    ("kafka_partition_current_offset", "topic", "deeplens.images.uploaded"),
    ("kafka_topic_size_bytes", "topic", "deeplens.images.uploaded"),
    ("faas_invocations_total", "faas_name", "on_image_uploaded"),
    ("process_cpu_time_seconds_total", "deeplens_process", "kafka"),
    ("process_memory_usage_bytes", "deeplens_process", "on_image_uploaded"),
    ("deeplens_inference_requests_total", "status", "200"),
}
"""Metrics with a label and its value."""


def scraped(stack: Stack) -> Page:
    text = httpx.get(str(stack.metrics_url), trust_env=False).text
    page: Page = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            page.setdefault(sample.name, []).append((sample.labels, sample.value))
    return page


def missing(page: Page) -> set[tuple[str, str, str]]:
    return {
        (name, label, value)
        for name, label, value in EXPECTED
        if not any(labels.get(label) == value for labels, _ in page.get(name, []))
    }


def total(page: Page, name: str, **labels: str) -> float:
    return sum(value for given, value in page.get(name, []) if labels.items() <= given.items())


@pytest.fixture(scope="module")
def measured(stack: Stack, parts: Container) -> TenantClient:
    return new_client(stack, parts, TENANT, "nfs")


def test_an_upload_shows_in_the_metrics_of_every_part_that_it_passed(stack: Stack, measured: TenantClient) -> None:
    before, reading = scraped(stack), read(str(stack.metrics_url))
    measured.completed(picture(7800))
    measured.search(picture(7801))
    # Usage of the day is metered after the image has ended, and the gauges are set every minute.
    eventually(lambda: measured.rows("SELECT 1 FROM usage_daily WHERE tenant_id = %s", [TENANT]))
    assert not stack.runner or not stack.runner.invoke("on_schedule", {"time": "2026-01-01T00:00:00Z"}).failed

    eventually(lambda: missing(scraped(stack)), lambda left: not left, seconds=60)
    page = scraped(stack)

    uploads = {"http_request_method": "POST", "http_route": "/v1/images", "http_response_status_code": "202"}
    count, limit = "http_server_request_duration_seconds_count", {"le": "60.0"}
    assert total(page, count, **uploads) >= total(before, count, **uploads) + 1
    ended = "deeplens_image_processing_duration_seconds"
    assert total(page, f"{ended}_count") >= total(before, f"{ended}_count") + 1
    assert total(page, f"{ended}_bucket", **limit) <= total(page, f"{ended}_count")
    assert total(page, "kafka_broker_disk_capacity_bytes") >= total(page, "kafka_broker_disk_used_bytes") > 0
    assert total(page, "deeplens_telemetry_dropped_total") == 0

    document = document_of(Rates(reading, read(str(stack.metrics_url))))
    topics = {row["topic"]: row for row in document["topics"]}
    assert {"deeplens.images.uploaded", "deeplens.vectors.indexing"} <= topics.keys()
    assert topics["deeplens.features.extraction"]["consumedPerSecond"] > 0
    functions = {row["function"]: row for row in document["functions"]}
    assert functions["on_extraction_requested"]["p95Ms"] > 0
    assert document["images"]["completedPerSecond"] > 0
    assert {row["operation"] for row in document["api"]} >= {"upload", "search"}
