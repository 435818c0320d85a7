"""Load a model, and turn images, tensors and texts into L2-normalised embeddings."""

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
from .manifest import MODEL, InputRule, Manifest, ModelRefused, check_files, read_manifest
from .metrics import Metrics
from .session import Session
from .text import TextTower, TextUnsupported

# Only common formats: Pillow's other readers would only add attack surface.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_IMAGE_PIXELS = 100_000_000
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class BadImage(Exception):
    """An encoded image cannot be decoded; ``position`` is its index in the request."""

    def __init__(self, position: int) -> None:
        super().__init__(f"image {position} cannot be decoded")
        self.position = position


class BadPixels(Exception):
    """A tensor has a value that is not finite."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Limits of the calls that waiting images are grouped into.

    Attributes
    ----------
    max_images : maximum number of images of a call. None means 4 on a CPU, whose cache a small call fits into, and 32
        on a GPU.
    threads : threads of a call. On a CPU, as many calls as cores permit run in parallel, which is faster than one call
        on all cores.
    max_delay_seconds : maximum time that a call waits for images that are being decoded.
    """

    max_images: int | None = None
    threads: int = 1
    max_delay_seconds: float = 0.002


class EmbeddingModel:
    """A loaded, checked and warm model.

    Parameters
    ----------
    workers : threads that decode images and embed texts.

    Raises
    ------
    ModelRefused
        Files, shapes, or the embedding of a probe contradict the manifest.
    """

    def __init__(
        self, folder: Path, workers: Executor, batching: Batching | None = None, metrics: Metrics | None = None
    ) -> None:
        self.manifest = read_manifest(folder)
        self._workers, self._metrics, batching = workers, metrics or Metrics(), batching or Batching()
        check_files(folder, self.manifest)
        try:
            source, output = self.manifest.input.name, self.manifest.output
            self._session = Session(folder / MODEL, source, output, batching.threads)
            self._max_images = batching.max_images or (32 if self._session.on_gpu else 4)
            self._probe()
            self._text = TextTower(folder, self.manifest.text, self.manifest.dimensions) if self.manifest.text else None
        except Exception as error:
            raise ModelRefused(f"{folder}: {error}") from error
        calls = 1 if self._session.on_gpu else max(1, (os.process_cpu_count() or 1) // batching.threads)
        self._batcher = Batcher(self._run, self._max_images, calls, batching.max_delay_seconds)

    def images(self, bodies: Sequence[bytes]) -> Future[Floats]:
        """Embed encoded images; float32, shape (n, dimensions), rows L2-normalised. Raises ``BadImage``."""
        ticket = self._batcher.expect(len(bodies))
        for position, body in enumerate(bodies):
            self._workers.submit(self._decode, ticket, position, body)
        return ticket.future

    def pixels(self, pixels: Floats) -> Future[Floats]:
        """Embed prepared inputs, float32, shape (n, 3, size, size). Raises ``BadPixels``."""
        # The sum is not finite if any value is not, and it costs half as much as checking each value.
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
        """Number of decoded images that wait for a call."""
        return self._batcher.depth

    def close(self) -> None:
        """Stop the threads; garbage collection then frees the session."""
        self._batcher.close()

    def _run(self, pixels: Floats) -> Floats:
        started = time.perf_counter()
        values = self._session.run(pixels)
        self._metrics.count_call(self.manifest.name, len(pixels), time.perf_counter() - started)
        return l2_normalise(values)

    def _decode(self, ticket: Ticket, position: int, body: bytes) -> None:
        if ticket.ended:
            self._batcher.miss(ticket, 1, None)
            return
        started = time.perf_counter()
        try:
            with self._metrics.time_decoding():
                pixels = pixels_of(body, self.manifest)
            ticket.future.note("decode", time.perf_counter() - started)
        except Exception:
            self._batcher.miss(ticket, 1, BadImage(position))
        else:
            self._batcher.put(ticket, position, pixels[None])

    def _probe(self) -> None:
        """Check shape and length of a probe image's embedding, alone and in a batch; this also warms the model up."""
        size = self.manifest.input.size
        out = BytesIO()
        Image.linear_gradient("L").resize((size, size)).save(out, "PNG")
        pixels = pixels_of(out.getvalue(), self.manifest)[None]
        for count in (1, self._max_images):
            embedding = self._run(np.repeat(pixels, count, axis=0))
            expected = (count, self.manifest.dimensions)
            if embedding.shape != expected:
                raise ValueError(f"a probe of {count} images gave shape {embedding.shape}, not {expected}")
            if not np.allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-3):
                raise ValueError(f"a probe image has no embedding of length 1: {embedding[0][:4]}…")


def l2_normalise(values: Floats) -> Floats:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)


def pixels_of(body: bytes, manifest: Manifest) -> Floats:
    """Decode an image to the model's input, float32, shape (3, size, size). Raises Pillow's errors, ``ValueError``."""
    rule = manifest.input
    with Image.open(BytesIO(body), formats=FORMATS) as image:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (rule.scaled, rule.scaled))
        resized = _resize(ImageOps.exif_transpose(image).convert("RGB"), rule)
    values = np.asarray(resized, np.float32) / np.float32(255)
    normalised = (values - np.asarray(manifest.mean, np.float32)) / np.asarray(manifest.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _resize(image: Image.Image, rule: InputRule) -> Image.Image:
    box = None
    if rule.resize == "crop":
        (left, right), (top, bottom) = (_middle(side, min(image.size), rule) for side in image.size)
        box = (left, top, right, bottom)
    return image.resize((rule.size, rule.size), FILTERS[rule.filter], box=box, reducing_gap=3.0)


def _middle(side: int, shortest: int, rule: InputRule) -> tuple[float, float]:
    """Return the begin and end of the central crop on a side; as in training, on whole pixels of the scaled image."""
    scaled = side * rule.scaled // shortest
    start = (scaled - rule.size) // 2
    return start * side / scaled, (start + rule.size) * side / scaled
