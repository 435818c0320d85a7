"""The base of both adapters: images in requests within the limits of the endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deeplens.embedding.model import ModelProfile, ModelRef
from deeplens.embedding.ports import Vectors
from deeplens.embedding.wire import decode_metadata, decode_response, encode_request, split_batch
from deeplens.errors import FileTooLarge, InvalidImage, TextUnsupported


class Transport(Protocol):
    def infer(self, body: bytes, header_length: int, model: ModelRef) -> tuple[bytes, int]:
        """Send one request; the answer's body and the length of its JSON part. Raises as ``Embedder.embed``."""

    def describe(self, name: str, version: str) -> bytes:
        """The protocol's model metadata, JSON. Raises as ``Embedder.describe``."""


@dataclass(frozen=True)
class BatchedEmbedder:
    """``Embedder`` over a transport; each request has at most ``max_images`` and ``max_bytes``."""

    transport: Transport
    max_images: int
    max_bytes: int

    def embed(self, images: Sequence[bytes], model: ModelRef) -> Vectors:
        parts = [self._embed_part(part, model) for part in split_batch(images, self.max_images, self.max_bytes)]
        return np.concatenate(parts) if parts else np.empty((0, model.dimensions), np.float32)

    def embed_text(self, text: str, model: ModelRef) -> Vectors:
        try:
            answer = self.transport.infer(*encode_request([text.encode()], "text"), model)
        except InvalidImage as error:
            raise TextUnsupported(str(error)) from error
        return decode_response(*answer, 1, model).reshape(-1)

    def describe(self, name: str, version: str) -> ModelProfile:
        return decode_metadata(self.transport.describe(name, version), name, version)

    def _embed_part(self, images: Sequence[bytes], model: ModelRef) -> Vectors:
        body, length = encode_request(images)
        if len(body) > self.max_bytes:
            # The endpoint would reject it each time, and the record would wait for ever.
            raise FileTooLarge(f"{len(body)} bytes; one inference request takes {self.max_bytes}")
        return decode_response(*self.transport.infer(body, length, model), len(images), model)
