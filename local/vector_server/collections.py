"""Collections on disk: one shard directory each, the most recently used ones open."""

import json
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qdrant_edge as edge

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
DISTANCES = {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid}
SCHEMAS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
    "uuid": edge.PayloadSchemaType.Uuid,
}
MAX_OPEN = 64


class UnknownCollection(Exception):
    """No such collection; Qdrant's 404."""


class BadRequest(Exception):
    """Qdrant's 400."""


class AlreadyExists(Exception):
    """Qdrant's 409."""


@dataclass(slots=True)
class Open:
    """A loaded shard. Writers take turns; readers do not wait for them."""

    shard: edge.EdgeShard
    writing: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Collections:
    """All collections below one folder. One process owns them: the write-ahead log is also the lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, Open] = OrderedDict()
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self._folder.glob("*/collection.json"))

    def exists(self, name: str) -> bool:
        return (self._path(name) / "collection.json").exists()

    def settings(self, name: str) -> dict[str, Any]:
        if not self.exists(name):
            raise UnknownCollection(name)
        return dict(json.loads((self._path(name) / "collection.json").read_text()))

    def create(self, name: str, vectors: dict[str, Any]) -> None:
        """Create a collection; ``collection.json`` is written last, so that half a collection does not exist."""
        path = self._path(name)
        with self._lock:
            if self.exists(name):
                raise AlreadyExists(name)
            if vectors.get("distance") not in DISTANCES or not isinstance(vectors.get("size"), int):
                raise BadRequest("vectors needs size and distance")
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            shard = edge.EdgeShard.create(str(path / "shard"), _config(vectors))
            self._open[name] = Open(shard)
            (path / "collection.json").write_text(json.dumps({"vectors": vectors, "indexes": {}}))

    def drop(self, name: str) -> bool:
        with self._lock:
            held = self._open.pop(name, None)
            if held is not None:
                held.shard.close()
            existed = self.exists(name)
            shutil.rmtree(self._path(name), ignore_errors=True)
        return existed

    def add_index(self, name: str, field_name: str, schema: str) -> None:
        if schema not in SCHEMAS:
            raise BadRequest(f"unknown field schema {schema}")
        with self.writing(name) as shard:
            shard.update(edge.UpdateOperation.create_field_index(field_name, SCHEMAS[schema]))
            settings = self.settings(name)
            settings["indexes"][field_name] = schema
            (self._path(name) / "collection.json").write_text(json.dumps(settings))

    @contextmanager
    def reading(self, name: str) -> Iterator[edge.EdgeShard]:
        held = self._take(name)
        try:
            yield held.shard
        finally:
            with self._lock:
                held.users -= 1

    @contextmanager
    def writing(self, name: str) -> Iterator[edge.EdgeShard]:
        held = self._take(name)
        try:
            with held.writing:
                yield held.shard
        finally:
            with self._lock:
                held.users -= 1

    def close(self) -> None:
        with self._lock:
            for held in self._open.values():
                held.shard.flush()
                held.shard.close()
            self._open.clear()

    def _take(self, name: str) -> Open:
        with self._lock:
            held = self._open.get(name)
            if held is None:
                settings = self.settings(name)
                held = Open(edge.EdgeShard.load(str(self._path(name) / "shard"), _config(settings["vectors"])))
                self._open[name] = held
            self._open.move_to_end(name)
            held.users += 1
            self._close_excess()
            return held

    def _close_excess(self) -> None:
        for name in [name for name, held in self._open.items() if held.users == 0]:
            if len(self._open) <= MAX_OPEN:
                return
            held = self._open.pop(name)
            held.shard.flush()
            held.shard.close()

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise BadRequest(f"not a collection name: {name!r}")
        return self._folder / name


def _config(vectors: dict[str, Any]) -> edge.EdgeConfig:
    """Exact search up to 40,000 vectors: below that a graph only costs recall under filters."""
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=vectors["size"], distance=DISTANCES[vectors["distance"]]),
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=40_000),
        max_search_threads=1,
        wal_enabled=True,
    )
