"""The models that a server offers: every ``NAME/VERSION`` folder below one directory."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .manifest import ModelRefused
from .model import EmbeddingModel

BUILT_IN = "deeplens-visual"


class UnknownModel(Exception):
    """No model of this name and version is served."""


class Repository:
    """Models by name and version, all loaded and warm.

    Parameters
    ----------
    threads : of one inference call. Calls run side by side on all cores, which is faster than sharing one call.

    Raises
    ------
    ModelRefused
        A folder is broken, or there is none.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        workers = ThreadPoolExecutor(os.process_cpu_count() or 1, thread_name_prefix="model")
        loaded = [_loaded(path.parent, workers, threads) for path in sorted(folder.glob("*/*/manifest.json"))]
        if not loaded:
            raise ModelRefused(f"{folder} holds no NAME/VERSION/manifest.json")
        self._models = {(model.manifest.name, model.manifest.version): model for model in loaded}

    def get(self, name: str, version: str | None = None) -> EmbeddingModel:
        """A model; the highest version when none is named."""
        versions = self.versions(name)
        if not versions or (version is not None and version not in versions):
            raise UnknownModel(f"no model {name}{f' version {version}' if version else ''}")
        return self._models[name, version or versions[-1]]

    def versions(self, name: str) -> list[str]:
        """Versions of a model, lowest first; numbers inside compare as numbers."""
        return sorted((version for known, version in self._models if known == name), key=_version_key)

    @property
    def names(self) -> list[str]:
        return sorted({name for name, _ in self._models})

    @property
    def default(self) -> str:
        """What SageMaker's ``/invocations`` uses when a request names no model."""
        return BUILT_IN if BUILT_IN in self.names else self.names[0]


def _loaded(folder: Path, workers: ThreadPoolExecutor, threads: int) -> EmbeddingModel:
    model = EmbeddingModel(folder, workers, threads)
    if (model.manifest.name, model.manifest.version) != (folder.parent.name, folder.name):
        raise ModelRefused(f"{folder}: the manifest says {model.manifest.name}/{model.manifest.version}")
    return model


def _version_key(version: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", version)]
