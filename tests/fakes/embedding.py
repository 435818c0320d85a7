"""An embedder without a model: the same promises as the endpoint's adapters, held to them by the same suite."""

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from deeplens.embedding.model import ModelProfile, ModelRef, Thresholds
from deeplens.embedding.ports import Vectors
from deeplens.errors import InvalidImage, ModelNotFound, TextUnsupported
from PIL import Image

GRID = 4
THRESHOLDS = Thresholds(0.999, 0.95, 0.8)
BUILT_IN = ModelRef("deeplens-visual", "1", 512)


class FakeEmbedder:
    """``Embedder`` by colour layout: equal pictures are equal vectors, copies are near, others further away.

    Attributes
    ----------
    models : what is served; any other is ``ModelNotFound``.
    texts : models that embed texts: a colour's name as a picture of that colour.
    failure : raised by every call while it is set, e.g. ``InferenceBusy()``.
    batches : sizes of the calls so far.
    """

    def __init__(self, *models: ModelRef) -> None:
        self.models = models or (BUILT_IN,)
        self.failure: Exception | None = None
        self.batches: list[int] = []
        self.texts: set[ModelRef] = set()

    def embed_text(self, text: str, model: ModelRef) -> Vectors:
        if self.failure:
            raise self.failure
        if not self.describe(model.name, model.version).text:
            raise TextUnsupported(f"{model.name} {model.version} embeds images only")
        out = BytesIO()
        Image.new("RGB", (8, 8), text).save(out, "PNG")
        return _layout(out.getvalue(), model.dimensions)

    def embed(self, images: Sequence[bytes], model: ModelRef) -> Vectors:
        if self.failure:
            raise self.failure
        self.describe(model.name, model.version)
        self.batches.append(len(images))
        rows = [_layout(image, model.dimensions) for image in images]
        return np.stack(rows) if rows else np.empty((0, model.dimensions), np.float32)

    def describe(self, name: str, version: str) -> ModelProfile:
        if self.failure:
            raise self.failure
        for model in self.models:
            if (model.name, model.version) == (name, version):
                return ModelProfile(model, THRESHOLDS, text=model in self.texts)
        raise ModelNotFound(f"no model {name} version {version}")


@lru_cache(1024)
def _layout(image: bytes, dimensions: int) -> Vectors:
    """Colours of a grid of cells, cut or padded to ``dimensions``, L2-normalised."""
    try:
        with Image.open(BytesIO(image)) as opened:
            cells = opened.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
    except Exception as error:
        raise InvalidImage("the image cannot be decoded") from error
    values = np.asarray(cells, np.float32).reshape(-1)[: dimensions - 1] - np.float32(127)
    # A constant keeps a plain grey picture, whose colours are all zero, from having no direction.
    row = np.pad(values, (0, dimensions - len(values)), constant_values=5)
    row = np.asarray(row / np.linalg.norm(row), np.float32)
    row.flags.writeable = False
    return row
