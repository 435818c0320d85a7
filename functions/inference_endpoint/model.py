"""One model in memory: images or tensors in, L2-normalised embeddings out."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .batching import Batcher, Floats, Ticket
from .manifest import InputRule, Manifest, ModelRefused, check_files, read_manifest
from .metrics import Metrics
from .session import Session
from .text import TextTower, TextUnsupported

# Only what the pipeline sends and people try: Pillow's other readers are attack surface.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_IMAGE_PIXELS = 100_000_000
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class BadImage(Exception):
    """An encoded image that cannot be decoded; ``position`` is its place in the request."""

    def __init__(self, position: int) -> None:
        super().__init__(f"image {position} cannot be decoded")
        self.position = position


class BadPixels(Exception):
    """A tensor with a value that is not finite."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Limits of batching: how waiting images are grouped into calls.

    Attributes
    ----------
    max_images : of a call; None: 4 on a CPU, whose cache small calls stay in, and 32 on a GPU.
    threads : of a call. On a CPU as many calls as cores run side by side, which is faster than sharing one call.
    max_delay_seconds : for which a call waits while more images are being decoded.
    """

    max_images: int | None = None
    threads: int = 1
    max_delay_seconds: float = 0.002


class EmbeddingModel:
    """A model folder, loaded, checked and warmed up.

    Parameters
    ----------
    workers : decode images and embed texts.

    Raises
    ------
    ModelRefused
        Files, shapes, or the embedding of a probe are not what the manifest says.
    """

    def __init__(
        self, folder: Path, workers: Executor, batching: Batching | None = None, metrics: Metrics | None = None
    ) -> None:
        self.manifest = read_manifest(folder)
        self._workers, self._metrics, how = workers, metrics or Metrics(), batching or Batching()
        check_files(folder, self.manifest)
        try:
            self._session = Session(folder / "model.onnx", self.manifest.input.name, self.manifest.output, how.threads)
            self._max_images = how.max_images or (32 if self._session.on_gpu else 4)
            self._probe()
            self._text = TextTower(folder, self.manifest.text, self.manifest.dimensions) if self.manifest.text else None
        except Exception as error:
            raise ModelRefused(f"{folder}: {error}") from error
        calls = 1 if self._session.on_gpu else max(1, (os.process_cpu_count() or 1) // how.threads)
        self._batcher = Batcher(self._run, self._max_images, calls, how.max_delay_seconds)

    def images(self, bodies: Sequence[bytes]) -> Future[Floats]:
        """Embed encoded images; float32, shape (n, dimensions), rows L2-normalised. Raises ``BadImage``."""
        ticket = self._batcher.expect(len(bodies))
        for position, body in enumerate(bodies):
            self._workers.submit(self._decode, ticket, position, body)
        return ticket.future

    def pixels(self, pixels: Floats) -> Future[Floats]:
        """Embed prepared inputs, float32, shape (n, 3, size, size). Raises ``BadPixels``."""
        # A sum is not finite if any of its values is not, and costs half of looking at each.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(pixels.reshape(len(pixels), -1).sum(axis=1))
        if not finite.all():
            raise BadPixels(f"pixels: image {int(finite.argmin())} has values that are not finite")
        ticket = self._batcher.expect(len(pixels))
        self._batcher.put(ticket, 0, pixels)
        return ticket.future

    def texts(self, texts: Sequence[str]) -> Future[Floats]:
        """Embed texts into the space of the images. Raises ``TextUnsupported``."""
        if self._text is None:
            raise TextUnsupported(f"{self.manifest.name} {self.manifest.version} embeds images only")
        return self._workers.submit(self._text.embed, texts)

    def embed_images(self, bodies: Sequence[bytes]) -> Floats:
        return self.images(bodies).result()

    def embed_pixels(self, pixels: Floats) -> Floats:
        return self.pixels(pixels).result()

    @property
    def providers(self) -> list[str]:
        return self._session.providers

    @property
    def depth(self) -> int:
        """Decoded images that wait for a call."""
        return self._batcher.depth

    def close(self) -> None:
        """Stop the threads; the session is freed when nothing refers to it."""
        self._batcher.close()

    def _run(self, pixels: Floats) -> Floats:
        started = time.perf_counter()
        values = self._session.run(pixels)
        self._metrics.called(self.manifest.name, len(pixels), time.perf_counter() - started)
        return of_length_one(values)

    def _decode(self, ticket: Ticket, position: int, body: bytes) -> None:
        if ticket.over:
            self._batcher.miss(ticket, 1, None)
            return
        try:
            with self._metrics.decoding():
                pixels = pixels_of(body, self.manifest)
        except Exception:
            self._batcher.miss(ticket, 1, BadImage(position))
        else:
            self._batcher.put(ticket, position, pixels[None])

    def _probe(self) -> None:
        """Embed an image alone and among others: shape, finite values, a free batch size; and warm-up."""
        size = self.manifest.input.size
        out = BytesIO()
        Image.linear_gradient("L").resize((size, size)).save(out, "PNG")
        pixels = pixels_of(out.getvalue(), self.manifest)[None]
        for count in (1, self._max_images):
            found = self._run(np.repeat(pixels, count, axis=0))
            if found.shape != (count, self.manifest.dimensions):
                expected = (count, self.manifest.dimensions)
                raise ValueError(f"a probe of {count} images gave shape {found.shape}, not {expected}")
            if not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
                raise ValueError(f"a probe image has no embedding of length 1: {found[0][:4]}…")


def of_length_one(values: Floats) -> Floats:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)


def pixels_of(body: bytes, manifest: Manifest) -> Floats:
    """An encoded image as the model's input, float32, shape (3, size, size)."""
    rule = manifest.input
    with Image.open(BytesIO(body), formats=FORMATS) as image:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (rule.scaled, rule.scaled))
        fitted = _fitted(ImageOps.exif_transpose(image).convert("RGB"), rule)
    values = np.asarray(fitted, np.float32) / np.float32(255)
    normalised = (values - np.asarray(manifest.mean, np.float32)) / np.asarray(manifest.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _fitted(image: Image.Image, rule: InputRule) -> Image.Image:
    box = None
    if rule.resize == "crop":
        (left, right), (top, bottom) = (_middle(side, min(image.size), rule) for side in image.size)
        box = (left, top, right, bottom)
    return image.resize((rule.size, rule.size), FILTERS[rule.filter], box=box, reducing_gap=3.0)


def _middle(side: int, shortest: int, rule: InputRule) -> tuple[float, float]:
    """Return where the central crop begins and ends on a side, on whole pixels of the scaled image, as in training."""
    scaled = side * rule.scaled // shortest
    start = (scaled - rule.size) // 2
    return start * side / scaled, (start + rule.size) * side / scaled
