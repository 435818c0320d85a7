"""One model in memory: images or tensors in, L2-normalised embeddings out."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from .manifest import Manifest, ModelRefused, read_manifest

type Floats = npt.NDArray[np.float32]

MAX_SIDE_PIXELS = 50_000_000
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class BadImage(Exception):
    """An encoded image that cannot be decoded; ``position`` is its place in the request."""

    def __init__(self, position: int) -> None:
        super().__init__(f"image {position} cannot be decoded")
        self.position = position


class EmbeddingModel:
    """A model folder, loaded, checked and warmed up.

    Parameters
    ----------
    threads : of the session; 0 means one per core.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.manifest = read_manifest(folder)
        self._session = _session(folder / "model.onnx", threads)
        self._workers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        self._check(folder)

    @property
    def providers(self) -> list[str]:
        return list(self._session.get_providers())

    def embed_images(self, images: Sequence[bytes]) -> Floats:
        """Embed encoded images; float32, shape (n, dimensions), rows L2-normalised. Raises ``BadImage``."""
        return self.embed_pixels(np.stack(list(self._workers.map(self._decode, range(len(images)), images))))

    def embed_pixels(self, pixels: Floats) -> Floats:
        """Embed prepared inputs, float32, shape (n, 3, size, size)."""
        output = self._session.run([self.manifest.output], {self.manifest.input.name: pixels})[0]
        values = np.asarray(output, np.float32)
        return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)

    def _decode(self, position: int, body: bytes) -> Floats:
        try:
            return pixels_of(body, self.manifest)
        except Exception as error:
            raise BadImage(position) from error

    def _check(self, folder: Path) -> None:
        """Run a probe of two images: shapes, finite values, and warm-up at once."""
        size = self.manifest.input.size
        probe = np.linspace(0, 1, 2 * 3 * size * size, dtype=np.float32).reshape(2, 3, size, size)
        try:
            found = self.embed_pixels(probe)
        except Exception as error:
            raise ModelRefused(f"{folder}: the probe failed: {error}") from error
        if found.shape != (2, self.manifest.dimensions) or not np.isfinite(found).all():
            raise ModelRefused(
                f"{folder}: the probe gave shape {found.shape}, the manifest says {self.manifest.dimensions} dimensions"
            )


def pixels_of(body: bytes, manifest: Manifest) -> Floats:
    """An encoded image as the model's input, float32, shape (3, size, size)."""
    rule = manifest.input
    with Image.open(BytesIO(body)) as image:
        if image.width * image.height > MAX_SIDE_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (rule.size, rule.size))
        fitted = _fitted(image.convert("RGB"), rule.size, rule.resize)
    values = np.asarray(fitted, np.float32) / np.float32(255)
    normalised = (values - np.asarray(manifest.mean, np.float32)) / np.asarray(manifest.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _fitted(image: Image.Image, size: int, resize: str) -> Image.Image:
    box = None
    if resize == "crop":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin for work take the cores from decoding and from neighbours.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    return onnxruntime.InferenceSession(
        str(path), options, providers=[provider for provider in PROVIDERS if provider in available]
    )
