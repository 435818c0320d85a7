"""Vector indexes for tests: the fake, the local server, and a Qdrant at ``QDRANT_URL`` if that is set."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deeplens.embedding.model import ModelRef
from deeplens.images.model import ImageRecord, Step
from deeplens.images.payload import payload_of
from deeplens.tenants.model import Tenant
from deeplens.vectors.keys import IndexKeys
from deeplens.vectors.ports import Point, SearchFilter, VectorIndex
from deeplens.vectors.qdrant import QdrantIndex

from local.services.vectors import VectorService
from tests.fakes.vectors import FakeIndex

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DIMENSIONS = 8
GIVEN_QDRANT = os.environ.get("QDRANT_URL", "")
_numbers = itertools.count(1)

type NewTenant = Callable[..., Tenant]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorService]:
    folder = tmp_path_factory.mktemp("vectors")
    started = VectorService(0, folder, folder)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[VectorService]:
    """A server that a test may kill."""
    started = VectorService(0, tmp_path, tmp_path)
    started.start()
    yield started
    started.stop()


@pytest.fixture(params=["fake", "local"] + ["qdrant"] * bool(GIVEN_QDRANT))
def endpoint(request: pytest.FixtureRequest) -> str:
    """Where collections live; empty for the fake."""
    if request.param == "local":
        return str(request.getfixturevalue("service").environment["QDRANT_URL"])
    return GIVEN_QDRANT if request.param == "qdrant" else ""


@pytest.fixture
def index(endpoint: str) -> Iterator[VectorIndex]:
    if not endpoint:
        yield FakeIndex()
        return
    real = QdrantIndex(IndexKeys.of(os.environ.get("QDRANT_API_KEY", ""), GIVEN_QDRANT, required=False))
    yield real
    real.close()


@pytest.fixture
def new_tenant(index: VectorIndex, endpoint: str) -> Iterator[NewTenant]:
    made = []

    def make(dimensions: int = DIMENSIONS) -> Tenant:
        made.append(tenant_at(endpoint, dimensions))
        index.create_collection(made[-1])
        return made[-1]

    yield make
    for tenant in made:
        index.drop_collection(tenant)


@pytest.fixture
def tenant(new_tenant: NewTenant) -> Tenant:
    return new_tenant()


def tenant_at(endpoint: str, dimensions: int = DIMENSIONS) -> Tenant:
    name = f"tenant_v{os.getpid()}x{next(_numbers)}"
    return Tenant(name, name, "active", "", "", endpoint, ModelRef("deeplens-visual", "1", dimensions))


def point(tenant: Tenant, image_id: str, *direction: float, **changes: Any) -> Point:
    record = ImageRecord(
        id=image_id,
        file_name="photo.jpg",
        storage_path="",
        mime_type="image/jpeg",
        size_bytes=1,
        sha256="",
        uploaded_at=NOON,
        updated_at=NOON,
        generation=1,
        step=Step.EXTRACTED,
        revision=1,
        tags=(),
        metadata={},
    )
    return Point(
        image_id, vector(*direction, size=tenant.model.dimensions), payload_of(replace(record, **changes), tenant)
    )


def vector(*direction: float, size: int = DIMENSIONS) -> list[float]:
    return [*direction, *[0.0] * (size - len(direction))]


def ids(index: VectorIndex, tenant: Tenant, **filters: Any) -> set[str]:
    return {match.image_id for match in index.search(tenant, vector(1, 1), limit=50, where=SearchFilter(**filters))}
