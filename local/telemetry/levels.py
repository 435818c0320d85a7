"""What the runner knows and Prometheus asks for: lag, topics, functions, processes."""

import shutil
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from deeplens.telemetry import instruments as of
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from local.runner.platform import Runner
from local.services.process import ChildService
from local.telemetry.metrics import Sample, sample

INFERENCE_PREFIX = "deeplens_inference_"
SCRAPE_SECONDS = 1.0


def samples_of(runner: Runner, services: Sequence[ChildService], broker_data: Path | None) -> Iterator[Sample]:
    """The runner's instruments.

    Parameters
    ----------
    broker_data : folder of a broker that runs here; None for another one, whose disk is not visible.
    """
    for row in runner.status():
        yield sample(of.INVOCATIONS, row["invocations"], function=row["function"])
        yield sample(of.ERRORS, row["errors"], function=row["function"])
        yield sample(of.IN_FLIGHT, row["in_flight"], function=row["function"])
        yield sample(of.PROCESSES, row["processes"], function=row["function"])
    for group, topic, partition, lag, end in runner.positions():
        yield sample(of.LAG, lag, group=group, topic=topic, partition=str(partition))
        yield sample(of.CURRENT_OFFSET, end, topic=topic, partition=str(partition))
    if broker_data is not None:
        yield from _disk(broker_data)
    pids = {name: pool.pids for name, pool in runner.pools.items()}
    pids |= {service.name: [service.pid] for service in services if service.pid is not None}
    for name, own in {**pids, "runner": [psutil.Process().pid]}.items():
        cpu_seconds, resident = usage_of(own, descendants=name != "runner")
        yield sample(of.CPU_TIME, cpu_seconds, process=name)
        yield sample(of.MEMORY, resident, process=name)


def usage_of(pids: Iterable[int], *, descendants: bool) -> tuple[float, int]:
    """Processor seconds and resident bytes of processes, and of what they started; those that ended count nothing."""
    seconds, resident = 0.0, 0
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            for each in [process, *(process.children(recursive=True) if descendants else ())]:
                with suppress(psutil.Error):
                    times = each.cpu_times()
                    seconds, resident = seconds + times.user + times.system, resident + each.memory_info().rss
    return seconds, resident


def _disk(folder: Path) -> Iterator[Sample]:
    sizes: dict[str, int] = {}
    # Indexes are allocated beforehand, so only segments say how large a topic is.
    for segment in folder.glob("*-*/*.log"):
        topic = segment.parent.name.rpartition("-")[0]
        with suppress(OSError):
            sizes[topic] = sizes.get(topic, 0) + segment.stat().st_size
    for topic, size in sizes.items():
        yield sample(of.TOPIC_SIZE, size, topic=topic)
    disk = shutil.disk_usage(folder)
    yield sample(of.DISK_USED, disk.used)
    yield sample(of.DISK_CAPACITY, disk.used + disk.free)


def inference_metrics(url: str) -> list[Metric]:
    """The metrics of the inference endpoint, as far as it answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError, ValueError), opener.open(f"{url.rstrip('/')}/metrics", timeout=SCRAPE_SECONDS) as answer:
        text = answer.read().decode()
        return [family for family in text_string_to_metric_families(text) if family.name.startswith(INFERENCE_PREFIX)]
    return []
