"""Measure decoding and onnxruntime in a loop on all cores, without a server."""

import math
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from functions.inference_endpoint.manifest import MODEL, Manifest
from functions.inference_endpoint.model import l2_normalise, pixels_of
from functions.inference_endpoint.session import Session

CALL_IMAGES = 4
"""Images per call of the model; the endpoint's default on a CPU."""


@dataclass(frozen=True, slots=True)
class Bare:
    """Throughput of the bare loop, and CPU milliseconds per image."""

    images_per_s: float
    cpu_ms: float

    @classmethod
    def between(cls, before: "Bare", after: "Bare") -> Self:
        """Return the average of both rounds, because the machine's other load varies."""
        return cls((before.images_per_s + after.images_per_s) / 2, (before.cpu_ms + after.cpu_ms) / 2)


class BareLoop:
    """Embed the same images in rounds, with the endpoint's session options and as many parallel calls.

    Parameters
    ----------
    decode : decode the images in each round, as for ``image`` input; otherwise once before, as for ``pixels`` input.
    """

    def __init__(self, folder: Path, manifest: Manifest, bodies: Sequence[bytes], decode: bool) -> None:
        self._session = Session(folder / MODEL, manifest.input.name, manifest.output, threads=1)
        self._manifest, self._bodies, self._decode = manifest, bodies, decode
        self._cores = os.process_cpu_count() or 1
        self._pixels = [pixels_of(body, manifest) for body in bodies]
        # A batch of one leaves cores idle, so one loop per core runs, like several clients.
        self._loops = 1 if len(bodies) > 1 else self._cores

    def measure(self, seconds: float) -> Bare:
        counts, started, cpu = [0] * self._loops, time.monotonic(), time.process_time()

        def loop(number: int) -> None:
            while time.monotonic() < started + seconds:
                self._round(workers)
                counts[number] += len(self._bodies)

        with ThreadPoolExecutor(self._cores) as workers:
            threads = [threading.Thread(target=loop, args=[number]) for number in range(self._loops)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        spent = time.process_time() - cpu
        return Bare(sum(counts) / (time.monotonic() - started), spent / sum(counts) * 1000)

    def _round(self, workers: ThreadPoolExecutor) -> None:
        pixels = list(workers.map(self._decode_image, self._bodies)) if self._decode else self._pixels
        size = min(CALL_IMAGES, math.ceil(len(pixels) / self._cores))
        parts = [np.stack(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        list(workers.map(lambda part: l2_normalise(self._session.run(part)), parts))

    def _decode_image(self, body: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return pixels_of(body, self._manifest)
