"""Prometheus itself, with the configuration that the containers have, on a running stack."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from local.observability.boards import BOARDS
from local.services.process import free_port
from local.stack.stack import Stack
from tests.e2e.conftest import TenantClient, eventually, picture

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "local" / "observability"
UNPACKED = ROOT / ".tools" / "prometheus" / "usr" / "bin" / "prometheus"
VARIABLES = {"$__rate_interval": "1m", "$tenant": "tenant_other", "$function": "search_api"}
AFTER_AN_UPLOAD = (
    'messaging_client_consumed_messages_total{deeplens_stage="complete",deeplens_outcome="done"} >= 1',
    "deeplens_image_processing_duration_seconds_count >= 1",
    'deeplens_image_processing_duration_seconds_bucket{le=~"60(\\\\.0)?"} >= 0',
    'deeplens_api_requests_total{deeplens_operation="upload",deeplens_outcome="ok"} >= 1',
    'deeplens_api_duration_seconds_bucket{deeplens_operation="search",le=~"0\\\\.3"} >= 0',
    "sum by (group, topic) (kafka_consumer_group_lag) >= 0",
    "kafka_broker_disk_used_bytes / kafka_broker_disk_capacity_bytes < 1",
)
"""What alerts and dashboards stand on has values."""


class Prometheus:
    def __init__(self, port: int) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)

    def ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, query: str) -> list[dict[str, Any]]:
        answer = self._http.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def rules(self) -> list[dict[str, Any]]:
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program = str(UNPACKED) if UNPACKED.exists() else shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is missing: run `make prometheus`, or install it")
    assert stack.metrics_url is not None
    document = yaml.safe_load((CONFIGURATION / "prometheus.yaml").read_text())
    # A scrape may take as long as its interval.
    document["global"] = {"scrape_interval": "4s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(CONFIGURATION / name) for name in document["rule_files"]]
    document["scrape_configs"] = document["scrape_configs"][:1]
    document["scrape_configs"][0]["static_configs"] = [{"targets": [urlsplit(stack.metrics_url).netloc]}]
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(document))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        running = Prometheus(port)
        try:
            eventually(running.ready)
            yield running
        finally:
            process.terminate()


def test_prometheus_scrapes_the_stack_and_evaluates_every_rule(prometheus: Prometheus, other: TenantClient) -> None:
    other.completed(picture(8800))
    other.search(picture(8801))

    for query in AFTER_AN_UPLOAD:
        eventually(lambda query=query: prometheus.query(query))
    rules = prometheus.rules()
    assert len(rules) > 60
    for rule in rules:
        prometheus.query(rule["query"])
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing & {"ConsumerLag", "RecordErrors", "StackUnreachable"} == set()


def test_prometheus_answers_every_query_of_the_dashboards(prometheus: Prometheus) -> None:
    queries = [
        query
        for board in BOARDS
        for panels in board.rows.values()
        for panel in panels
        if panel.kind != "logs"
        for query in panel.queries.values()
    ]

    def answered() -> int:
        found = 0
        for query in queries:
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            found += bool(prometheus.query(query))
        return found

    assert len(queries) > 70
    # Idle features have nothing to show, and what objectives count is there after a minute.
    eventually(answered, lambda found: found > len(queries) / 3)
