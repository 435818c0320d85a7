"""Provide toy functions, a real broker, and a way to wait for their effects."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.runner.template import FunctionSpec, Template, load
from local.runner.worker import Pool
from local.services.process import ChildService
from tests.harness.brokers import chosen

HERE = Path(__file__).parent
ENVIRONMENT = {"AWS_REGION": "us-east-1"}

type StartPool = Callable[..., Pool]


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """The first true value of ``condition``; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return value


class Journal:
    """Return the entries that toy functions wrote to their journal."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def numbers(self) -> list[int]:
        return [record["n"] for record in self.records()]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def template(journal: Journal) -> Template:
    return load(HERE / "template.yaml", {"Journal": str(journal.path)}, {})


@pytest.fixture
def start_pool(template: Template, tmp_path: Path) -> Iterator[StartPool]:
    pools: list[Pool] = []

    def start(name: str = "toy", limit: int = 1, **environment: str) -> Pool:
        spec: FunctionSpec = template.function(name)
        pools.append(Pool(spec, ENVIRONMENT | environment, tmp_path / "logs", limit))
        return pools[-1]

    yield start
    for pool in pools:
        pool.stop()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ChildService]:
    folder = tmp_path_factory.mktemp("kafka")
    service = chosen().service(0, folder, pytestconfig.rootpath / ".tools", folder)
    service.start()
    yield service
    service.stop()
