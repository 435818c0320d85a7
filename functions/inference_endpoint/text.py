"""Run the text tower of a model that embeds texts and images into one space, as CLIP does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .batching import Floats
from .manifest import TextRule
from .session import Session

PROBE = "a photo of a harbour"
END = "<|endoftext|>"


class TextUnsupported(Exception):
    """The model has no text tower."""


class TextTower:
    """A tokenizer and a text graph.

    Raises
    ------
    ValueError
        The embedding of a probe text does not have the image tower's dimensions.
    """

    def __init__(self, folder: Path, rule: TextRule, dimensions: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / rule.tokenizer))
        self._tokenizer.enable_truncation(rule.context_length)
        # CLIP's tokenizer.json has no padding; CLIP pads with its end token.
        padding = self._tokenizer.padding or {"pad_token": END, "pad_id": self._tokenizer.token_to_id(END) or 0}
        self._tokenizer.enable_padding(**{**padding, "length": rule.context_length})
        self._session = Session(folder / rule.file, rule.input, rule.output, threads=1)
        for count in (1, 2):
            rows = self.embed([PROBE] * count)
            if rows.shape != (count, dimensions) or not np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3):
                raise ValueError(f"{count} probe texts gave shape {rows.shape}, not {(count, dimensions)} of length 1")

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return embeddings, float32, shape (n, dimensions), rows L2-normalised; long texts are truncated."""
        tokens = np.array([encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))], np.int64)
        values = self._session.run(tokens)
        return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
