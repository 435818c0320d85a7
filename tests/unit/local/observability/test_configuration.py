"""The monitoring services in containers: pinned, private, provisioned, and wired to each other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.stack.config import LocalConfig

ROOT = Path(__file__).resolve().parents[4]
LOCAL = ROOT / "local"
FOLDER = LOCAL / "observability"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((LOCAL / "compose.yaml").read_text())["services"]
OBSERVED = {name: service for name, service in SERVICES.items() if "profiles" in service}
PINNED = re.compile(r".+:v?\d+(\.\d+)+")
LISTENERS = {
    "collector": "4320",
    "prometheus": "9090",
    "alertmanager": "9093",
    "loki": "3100",
    "jaeger": "4319 16686",
    "grafana": "3000",
}


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


def texts(value: Any) -> Iterator[str]:
    """Every text in a document."""
    match value:
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)
        case str():
            yield value


def test_only_the_monitoring_services_need_the_profile() -> None:
    assert OBSERVED.keys() == LISTENERS.keys()
    assert SERVICES.keys() - OBSERVED.keys() == {"redpanda", "postgres", "qdrant", "localstack"}


def test_grafana_brings_every_other_service_along() -> None:
    started, found = {"grafana"}, {"grafana"}
    while found:
        found = {name for service in found for name in OBSERVED[service].get("depends_on", [])} - started
        started |= found

    assert started == OBSERVED.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


@pytest.mark.parametrize("name", OBSERVED)
def test_a_service_reads_files_that_exist_and_cannot_change_them(name: str) -> None:
    mounts = [volume for volume in OBSERVED[name].get("volumes", []) if volume.startswith("./")]

    assert mounts
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (LOCAL / source).exists(), source
        assert mode == "ro"


def test_every_service_listens_on_this_machine_only() -> None:
    """They have no passwords."""
    documents = [OBSERVED, *map(read, ("collector.yaml", "loki.yaml", "jaeger.yaml", "prometheus.yaml"))]
    addresses = {text for document in documents for text in texts(document) if re.search(r"\d:\d{4}|^\d+\.\d+\.", text)}

    assert {address for address in addresses if "127.0.0.1" not in address} == set()
    assert {service["network_mode"] for service in OBSERVED.values()} == {"host"}
    assert all("ports" not in service for service in OBSERVED.values())


def test_a_service_sends_only_to_ports_on_which_another_listens() -> None:
    ports = {str(LocalConfig().telemetry_port), *(port for found in LISTENERS.values() for port in found.split())}
    targets = [
        *texts(read("collector.yaml")["exporters"]),
        *texts(read("prometheus.yaml")["alerting"]),
        *texts(read("prometheus.yaml")["scrape_configs"][0]["static_configs"]),
        *(source["url"] for source in read("grafana/datasources.yaml")["datasources"]),
    ]

    asked = [match[1] for target in targets if (match := re.search(r"127\.0\.0\.1:(\d+)", target))]
    assert len(asked) == 8
    assert set(asked) <= ports


@pytest.mark.parametrize("name", ["collector.yaml", "jaeger.yaml"])
def test_a_pipeline_is_made_of_what_is_configured(name: str) -> None:
    document = read(name)

    for pipeline in document["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= document[kind].keys()
    assert set(document["service"]["extensions"]) == document["extensions"].keys()


def test_traces_with_errors_and_slow_ones_are_always_kept() -> None:
    policies = {policy["name"]: policy for policy in read("collector.yaml")["processors"]["tail_sampling"]["policies"]}

    assert policies["errors"]["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["slow"]["latency"] == {"threshold_ms": 5000}
