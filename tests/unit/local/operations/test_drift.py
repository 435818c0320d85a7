"""Which differences between a topic and the registry count, and what to mend them would do."""

import pytest
from deeplens.events.topics import IMAGES_UPLOADED, TENANT_USAGE, Cluster, Topic

from local.operations.drift import Drift, drift_of
from local.operations.topics import PartitionState, TopicState

WEEK, QUARTER = "604800000", "7776000000"


def state(partitions: int = 3, replicas: int = 1, **settings: str) -> TopicState:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    values = {"retention.ms": WEEK, "compression.type": "lz4", "cleanup.policy": "delete", "min.insync.replicas": "1"}
    parts = (PartitionState(number, 1, tuple(range(replicas)), (0,)) for number in range(partitions))
    return TopicState("a-topic", tuple(parts), values | named, {})


@pytest.mark.parametrize(
    ("topic", "found", "partitions", "cluster", "expected"),
    [
        (IMAGES_UPLOADED, state(), None, "single", []),
        (IMAGES_UPLOADED, state(12, 3, min_insync_replicas="2"), None, "single", []),
        (IMAGES_UPLOADED, state(12, 3, min_insync_replicas="2"), 12, "replicated", []),
        (IMAGES_UPLOADED, state(2), None, "single", ["partitions 2, expected 3"]),
        (IMAGES_UPLOADED, state(3), 12, "single", ["partitions 3, expected 12"]),
        (
            IMAGES_UPLOADED,
            state(3),
            None,
            "replicated",
            ["replication 1, expected 3", "min.insync.replicas 1, expected 2"],
        ),
        (IMAGES_UPLOADED, state(compression_type="gzip"), None, "single", ["compression.type gzip, expected lz4"]),
        (IMAGES_UPLOADED, state(cleanup_policy="compact"), None, "single", ["cleanup.policy compact, expected delete"]),
        # It has a setting of its own there, which nobody may change.
        (IMAGES_UPLOADED, state(12, 3, min_insync_replicas="1"), 12, "serverless", []),
        (TENANT_USAGE, state(6), None, "single", [f"retention.ms {WEEK}, expected {QUARTER}"]),
    ],
)
def test_only_what_the_registry_asks_for_is_missed(
    topic: Topic, found: TopicState, partitions: int | None, cluster: Cluster, expected: list[str]
) -> None:
    drifts = drift_of(topic, found, partitions=partitions, cluster=cluster)
    assert [str(drift) for drift in drifts] == expected


def test_what_a_broker_does_not_report_is_no_drift() -> None:
    bare = TopicState("a-topic", state().partitions, {}, {})
    assert drift_of(IMAGES_UPLOADED, bare) == []


@pytest.mark.parametrize(
    ("drift", "mendable", "destroys"),
    [
        (Drift("t", "partitions", "3", "12"), True, False),
        (Drift("t", "replication", "1", "3"), False, False),
        (Drift("t", "compression.type", "gzip", "lz4"), True, False),
        (Drift("t", "retention.ms", WEEK, QUARTER), True, False),
        (Drift("t", "retention.ms", QUARTER, WEEK), True, True),
        (Drift("t", "retention.ms", "-1", WEEK), True, True),
    ],
)
def test_a_shorter_retention_destroys_and_replicas_cannot_be_mended(
    drift: Drift, mendable: bool, destroys: bool
) -> None:
    assert (drift.mendable, drift.destroys) == (mendable, destroys)
