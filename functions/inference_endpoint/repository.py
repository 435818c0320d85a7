"""Serve models from ``NAME/VERSION`` folders, and keep a limited number of them loaded."""

import asyncio
import itertools
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .manifest import Manifest, ModelRefused, read_manifest
from .model import EmbeddingModel

BUILT_IN = "deeplens-visual"
RESCAN_SECONDS = 1.0
"""Minimum time between two searches for new folders."""

type Key = tuple[str, str]
type Load = Callable[[Path], EmbeddingModel]


class UnknownModel(Exception):
    """No model of this name and version is served."""


@dataclass(slots=True)
class Entry:
    """A model folder, loaded or not."""

    folder: Path
    manifest: Manifest
    model: EmbeddingModel | None = None
    users: int = 0
    last_use: int = 0
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Repository:
    """Models by name and version; only one event loop may use it.

    The default model is loaded first and remains loaded. Others are loaded on request; above the limit, the least
    recently used idle model is unloaded. A folder that appears later is found when a request names it.

    Parameters
    ----------
    load : loads the model of a folder; called outside the event loop.
    max_loaded : maximum number of loaded models, with the default one.
    on_eviction : called when a model is unloaded because of the limit.

    Raises
    ------
    ModelRefused
        A manifest is invalid, there is none, or the default model cannot be loaded.
    """

    def __init__(
        self, folders: Sequence[Path], load: Load, max_loaded: int = 4, on_eviction: Callable[[], None] = lambda: None
    ) -> None:
        self._folders, self._load, self._max_loaded, self._on_eviction = folders, load, max_loaded, on_eviction
        self._entries: dict[Key, Entry] = {}
        self._uses, self._scanned_at = itertools.count(1), 0.0
        for folder in self._new_folders():
            self._add(folder)
        if not self._entries:
            raise ModelRefused(f"{', '.join(map(str, folders))} contains no NAME/VERSION/manifest.json")
        default = self.find(self.default)
        default.model = load(default.folder)
        self._load_others()

    def find(self, name: str, version: str | None = None) -> Entry:
        """Find a model; without a version, the highest one. Raises ``UnknownModel``."""
        if not self._known(name, version):
            self._rescan()
        if not self._known(name, version):
            raise UnknownModel(f"no model {name}{f' version {version}' if version else ''}")
        return self._entries[name, self.versions(name)[-1] if version is None else version]

    @asynccontextmanager
    async def use(self, name: str, version: str | None = None) -> AsyncIterator[EmbeddingModel]:
        """Yield a loaded model, which is not unloaded meanwhile. Raises ``UnknownModel`` or ``ModelRefused``."""
        entry = self.find(name, version)
        entry.users += 1
        try:
            yield entry.model or await self._load_model(entry)
        finally:
            entry.users -= 1
            entry.last_use = next(self._uses)
            self._evict(entry)

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, lowest first; numbers in them compare as numbers."""
        return sorted((version for other, version in self._entries if other == name), key=_version_key)

    @property
    def names(self) -> list[str]:
        return sorted({name for name, _ in self._entries})

    @property
    def default(self) -> str:
        """Return the model for ``/invocations`` requests that name none."""
        return BUILT_IN if BUILT_IN in self.names else self.names[0]

    @property
    def loaded(self) -> list[EmbeddingModel]:
        return [entry.model for entry in self._entries.values() if entry.model]

    def _known(self, name: str, version: str | None) -> bool:
        return bool(self.versions(name)) if version is None else (name, version) in self._entries

    async def _load_model(self, entry: Entry) -> EmbeddingModel:
        async with entry.loading:
            if entry.model is None:
                self._evict(entry)
                entry.model = await asyncio.to_thread(self._load, entry.folder)
            return entry.model

    def _evict(self, current: Entry) -> None:
        """Unload idle models, the least recently used first, down to the limit; keep the default and current ones."""
        entries = self._entries.values()
        excess = sum(bool(entry.model) or entry.loading.locked() for entry in entries) - self._max_loaded
        if excess <= 0:
            return
        kept = (id(self.find(self.default)), id(current))
        idle = [entry for entry in entries if entry.model and not entry.users and id(entry) not in kept]
        for entry in sorted(idle, key=lambda entry: entry.last_use)[:excess]:
            if entry.model:
                entry.model.close()
            entry.model = None
            self._on_eviction()

    def _load_others(self) -> None:
        """Load models up to the limit. A broken one does not prevent the others; requests for it get the error."""
        for entry in self._entries.values():
            if entry.model is None and len(self.loaded) < self._max_loaded:
                try:
                    entry.model = self._load(entry.folder)
                except ModelRefused as error:
                    sys.stderr.write(f"inference_endpoint: {error}\n")

    def _new_folders(self) -> list[Path]:
        known = {entry.folder for entry in self._entries.values()}
        folders = (path.parent for folder in self._folders for path in folder.glob("*/*/manifest.json"))
        return sorted(folder for folder in folders if folder not in known)

    def _add(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        key = manifest.name, manifest.version
        if key != (folder.parent.name, folder.name):
            raise ModelRefused(f"{folder}: the manifest says {manifest.name}/{manifest.version}")
        self._entries.setdefault(key, Entry(folder, manifest))

    def _rescan(self) -> None:
        """Search for new folders, at a limited rate; broken ones are logged and skipped."""
        now = time.monotonic()
        if now < self._scanned_at + RESCAN_SECONDS:
            return
        self._scanned_at = now
        for folder in self._new_folders():
            try:
                self._add(folder)
            except ModelRefused as error:
                sys.stderr.write(f"inference_endpoint: {error}\n")


def _version_key(version: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", version)]
