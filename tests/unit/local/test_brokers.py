"""Tests on Redpanda run the container that ``local/compose.yaml`` describes, and topics that both brokers take."""

from pathlib import Path

import pytest
import yaml
from deeplens.events.topics import TOPICS, Cluster, Topic

from tests.harness.brokers import BROKERS, IMAGE, PORT, chosen, command

CLUSTERS: dict[str, tuple[Cluster, ...]] = {"serverless": ("serverless",)}
COMPOSE = Path(__file__).resolve().parents[3] / "local" / "compose.yaml"


def test_the_container_of_the_tests_is_that_of_compose() -> None:
    redpanda = yaml.safe_load(COMPOSE.read_text())["services"]["redpanda"]
    assert (redpanda["image"], redpanda["command"]) == (IMAGE, command(9092))
    assert redpanda["ports"] == [f"127.0.0.1:9092:{PORT}"]


@pytest.mark.parametrize("name", BROKERS)
@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_no_broker_refuses_the_settings_of_a_topic(name: str, topic: Topic) -> None:
    broker, clusters = BROKERS[name], CLUSTERS.get(name, ("single", "replicated"))
    assert {setting for cluster in clusters for setting in topic.settings(cluster)} <= broker.applies | broker.ignores
    # What a broker does not even take would fail each creation of a topic.
    assert "retention.ms" in broker.applies


def test_kafka_is_the_broker_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROKER", raising=False)
    assert chosen() is BROKERS["kafka"]
    monkeypatch.setenv("BROKER", "redpanda")
    assert chosen() is BROKERS["redpanda"]
