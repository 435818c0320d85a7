"""One model in memory: images or tensors in, L2-normalised embeddings out."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image, ImageOps

from .manifest import Manifest, ModelRefused, read_manifest

type Floats = npt.NDArray[np.float32]

# Only what the pipeline sends and people try: Pillow's other readers are attack surface.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_IMAGE_PIXELS = 100_000_000
DECODED_AT_ONCE = 32
"""Images of a request that are in memory as pixels; bounds what a large request costs."""
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
    workers : decode images and run calls, side by side.
    threads : of one call.
    """

    def __init__(self, folder: Path, workers: Executor, threads: int = 1) -> None:
        self.manifest = read_manifest(folder)
        self._workers = workers
        try:
            self._session = _session(folder / "model.onnx", threads)
            # A GPU wants few large calls; on a CPU small ones stay in its cache and spread over the cores.
            on_gpu = self.providers[0] == PROVIDERS[0]
            self._call_images, self._calls = (DECODED_AT_ONCE, 1) if on_gpu else (4, os.process_cpu_count() or 1)
            self._probe()
        except Exception as error:
            raise ModelRefused(f"{folder}: {error}") from error

    @property
    def providers(self) -> list[str]:
        return list(self._session.get_providers())

    def embed_images(self, images: Sequence[bytes]) -> Floats:
        """Embed encoded images; float32, shape (n, dimensions), rows L2-normalised. Raises ``BadImage``."""
        rows = []
        for start in range(0, len(images), DECODED_AT_ONCE):
            part = images[start : start + DECODED_AT_ONCE]
            pixels = self._workers.map(self._decode, range(start, start + len(part)), part)
            rows.append(self.embed_pixels(np.stack(list(pixels))))
        return np.concatenate(rows)

    def embed_pixels(self, pixels: Floats) -> Floats:
        """Embed prepared inputs, float32, shape (n, 3, size, size)."""
        size = min(self._call_images, math.ceil(len(pixels) / self._calls))
        parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate(list(self._workers.map(self._run, parts)))

    def _run(self, pixels: Floats) -> Floats:
        output = self._session.run([self.manifest.output], {self.manifest.input.name: pixels})[0]
        values = np.asarray(output, np.float32)
        return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)

    def _decode(self, position: int, body: bytes) -> Floats:
        try:
            return pixels_of(body, self.manifest)
        except Exception as error:
            raise BadImage(position) from error

    def _probe(self) -> None:
        """Embed an image alone and among others: shape, finite values, a free batch size; and warm-up."""
        size = self.manifest.input.size
        out = BytesIO()
        Image.linear_gradient("L").resize((size, size)).save(out, "PNG")
        pixels = pixels_of(out.getvalue(), self.manifest)[None]
        for count in (1, self._call_images):
            found = self._run(np.repeat(pixels, count, axis=0))
            if found.shape != (count, self.manifest.dimensions):
                expected = (count, self.manifest.dimensions)
                raise ValueError(f"a probe of {count} images gave shape {found.shape}, not {expected}")
            if not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
                raise ValueError(f"a probe image has no embedding of length 1: {found[0][:4]}…")


def pixels_of(body: bytes, manifest: Manifest) -> Floats:
    """An encoded image as the model's input, float32, shape (3, size, size)."""
    rule = manifest.input
    with Image.open(BytesIO(body), formats=FORMATS) as image:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (rule.size, rule.size))
        fitted = _fitted(ImageOps.exif_transpose(image).convert("RGB"), rule.size, rule.resize)
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
    if PROVIDERS[0] in available:
        # CUDA and cuDNN from wheels are not where the loader looks.
        onnxruntime.preload_dlls()
    return onnxruntime.InferenceSession(
        str(path), options, providers=[provider for provider in PROVIDERS if provider in available]
    )
