"""The models that a server offers: every ``NAME/VERSION`` folder below one directory."""

from pathlib import Path

from .manifest import ModelRefused
from .model import EmbeddingModel


class UnknownModel(Exception):
    """No model of this name and version is served."""


class Repository:
    """Models by name and version, all loaded and warm. Raises ``ModelRefused`` when one is broken, or none is there."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        loaded = [EmbeddingModel(path.parent, threads) for path in sorted(folder.glob("*/*/manifest.json"))]
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
        found = [version for known, version in self._models if known == name]
        return sorted(found, key=lambda version: (len(version), version))

    @property
    def names(self) -> list[str]:
        return sorted({name for name, _ in self._models})

    @property
    def default(self) -> str:
        """What SageMaker's ``/invocations`` uses when a request names no model."""
        return self.names[0]
