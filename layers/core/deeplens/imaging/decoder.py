"""Decode images in a child process that can reach nothing: a file may break its decoder, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace

from deeplens.errors import InvalidImage
from deeplens.formats.images import sniff
from deeplens.imaging.limits import Limits
from deeplens.imaging.model import Header, Standardised
from deeplens.imaging.region import WHOLE, Box
from deeplens.sandbox.sandbox import Sandbox

FUNCTIONS = "deeplens.imaging.child"


class ImageDecoder(Sandbox):
    """The functions of ``standardise``, each run in the one child of this process.

    They raise as those functions do, and ``DecoderCrashed``, ``DecoderTimeout`` and ``DecoderOutOfMemory``.

    Parameters
    ----------
    seconds : for one image.
    environment : of the child.
    functions : module that the child imports.
    """

    def __init__(
        self, limits: Limits, seconds: float, environment: Mapping[str, str], functions: str = FUNCTIONS
    ) -> None:
        self._limits = limits
        # The file itself, and the copies that decoders make of it, come on top.
        memory_bytes = limits.max_memory_bytes + 2 * limits.max_bytes
        super().__init__(functions, memory_bytes, seconds, [InvalidImage], environment)

    def inspect(self, body: bytes) -> Header:
        # Types decide names of objects, so the child does not tell them.
        kind = sniff(body)
        return replace(self.call(Header, "inspect", body, self._limits), type=kind)

    def standardise(self, body: bytes) -> Standardised:
        kind = sniff(body)
        return replace(self.call(Standardised, "standardise", body, self._limits), type=kind)

    def standard_jpeg(self, body: bytes, part: Box = WHOLE) -> bytes:
        return self.call(bytes, "standard_jpeg", body, self._limits, part)

    def thumbnail(self, body: bytes, size: str) -> bytes:
        return self.call(bytes, "thumbnail", body, size, self._limits)

    def perceptual_hash(self, jpeg: bytes) -> int:
        return self.call(int, "perceptual_hash_of", jpeg)
