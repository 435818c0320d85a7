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
LOOK_AGAIN_SECONDS = 1.0

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
    """Models by name and version; lives on one event loop.

    The default model is loaded first and stays; others are loaded when asked for, and the least recently used one that
    nobody uses makes room. A folder that appears later is found when its name is asked for.

    Parameters
    ----------
    load : makes a model of its folder; called outside the event loop.
    max_loaded : models in memory, the default one included.

    Raises
    ------
    ModelRefused
        A manifest is broken, there is none, or the default model cannot be loaded.
    """

    def __init__(
        self, folders: Sequence[Path], load: Load, max_loaded: int = 4, evicted: Callable[[], None] = lambda: None
    ) -> None:
        self._folders, self._load, self._max_loaded, self._evicted = folders, load, max_loaded, evicted
        self._entries: dict[Key, Entry] = {}
        self._uses, self._looked_at = itertools.count(1), 0.0
        for folder in self._new_folders():
            self._add(folder)
        if not self._entries:
            raise ModelRefused(f"{', '.join(map(str, folders))} holds no NAME/VERSION/manifest.json")
        first = self.find(self.default)
        first.model = load(first.folder)
        self._load_others()

    def find(self, name: str, version: str | None = None) -> Entry:
        """A model's entry; that of the highest version when none is named. Raises ``UnknownModel``."""
        if not self._known(name, version):
            self._look_again()
        if not self._known(name, version):
            raise UnknownModel(f"no model {name}{f' version {version}' if version else ''}")
        return self._entries[name, self.versions(name)[-1] if version is None else version]

    @asynccontextmanager
    async def use(self, name: str, version: str | None = None) -> AsyncIterator[EmbeddingModel]:
        """A loaded model, which stays loaded meanwhile. Raises ``UnknownModel`` or ``ModelRefused``."""
        entry = self.find(name, version)
        entry.users += 1
        try:
            yield entry.model or await self._loaded(entry)
        finally:
            entry.users -= 1
            entry.last_use = next(self._uses)
            self._make_room(entry)

    def versions(self, name: str) -> list[str]:
        """Versions of a model, lowest first; numbers inside compare as numbers."""
        return sorted((version for known, version in self._entries if known == name), key=_version_key)

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

    async def _loaded(self, entry: Entry) -> EmbeddingModel:
        async with entry.loading:
            if entry.model is None:
                self._make_room(entry)
                entry.model = await asyncio.to_thread(self._load, entry.folder)
            return entry.model

    def _make_room(self, wanted: Entry) -> None:
        """Unload unused models, the least recently used first, until the limit holds."""
        over = sum(bool(one.model) or one.loading.locked() for one in self._entries.values()) - self._max_loaded
        if over <= 0:
            return
        kept = (id(self.find(self.default)), id(wanted))
        idle = [one for one in self._entries.values() if one.model and not one.users and id(one) not in kept]
        for entry in sorted(idle, key=lambda one: one.last_use)[:over]:
            if entry.model:
                entry.model.close()
            entry.model = None
            self._evicted()

    def _load_others(self) -> None:
        """Load as many models as fit; a broken one does not prevent the others, and its requests get the error."""
        for entry in self._entries.values():
            if entry.model is None and len(self.loaded) < self._max_loaded:
                try:
                    entry.model = self._load(entry.folder)
                except ModelRefused as error:
                    sys.stderr.write(f"inference_endpoint: {error}\n")

    def _new_folders(self) -> list[Path]:
        known = {entry.folder for entry in self._entries.values()}
        found = (path.parent for folder in self._folders for path in folder.glob("*/*/manifest.json"))
        return sorted(folder for folder in found if folder not in known)

    def _add(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        key = manifest.name, manifest.version
        if key != (folder.parent.name, folder.name):
            raise ModelRefused(f"{folder}: the manifest says {manifest.name}/{manifest.version}")
        self._entries.setdefault(key, Entry(folder, manifest))

    def _look_again(self) -> None:
        """Look for new folders, at a limited rate; broken ones are ignored."""
        now = time.monotonic()
        if now < self._looked_at + LOOK_AGAIN_SECONDS:
            return
        self._looked_at = now
        for folder in self._new_folders():
            try:
                self._add(folder)
            except ModelRefused as error:
                sys.stderr.write(f"inference_endpoint: {error}\n")


def _version_key(version: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", version)]
