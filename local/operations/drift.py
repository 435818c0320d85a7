"""Where topics differ from the registry."""

from collections.abc import Mapping
from dataclasses import dataclass

from deeplens.events.topics import Cluster, Topic

from local.operations.topics import TopicState

PARTITIONS, REPLICATION = "partitions", "replication"
AT_LEAST = {PARTITIONS, REPLICATION, "min.insync.replicas"}
"""What an installation may have more of than the registry asks for."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. ``setting`` is ``partitions``, ``replication`` or a setting of the broker."""

    topic: str
    setting: str
    actual: str
    expected: str

    @property
    def mendable(self) -> bool:
        """Replicas move between brokers, which only Kafka's own tools do."""
        return self.setting != REPLICATION

    @property
    def destroys(self) -> bool:
        """Whether to mend it lets the broker delete records that it would keep."""
        return self.setting == "retention.ms" and not 0 <= int(self.actual) <= int(self.expected)

    def __str__(self) -> str:
        return f"{self.setting} {self.actual}, expected {self.expected}"


def drift_of(
    topic: Topic, state: TopicState, *, partitions: int | None = None, cluster: Cluster = "single"
) -> list[Drift]:
    """The differences of one topic. A setting that the broker does not report is none."""
    actual = {
        PARTITIONS: str(len(state.partitions)),
        REPLICATION: str(state.replication),
        **state.settings,
    }
    return [
        Drift(state.name, setting, actual[setting], value)
        for setting, value in expected(topic, partitions, cluster).items()
        if setting in actual and _differs(setting, actual[setting], value)
    ]


def expected(topic: Topic, partitions: int | None, cluster: Cluster) -> Mapping[str, str]:
    """What the registry asks for."""
    return {
        PARTITIONS: str(max(partitions or 0, topic.partitions)),
        REPLICATION: str(topic.replication(cluster)),
        **topic.settings(cluster),
    }


def _differs(setting: str, actual: str, wanted: str) -> bool:
    return int(actual) < int(wanted) if setting in AT_LEAST else actual != wanted
