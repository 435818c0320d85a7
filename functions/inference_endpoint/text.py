"""The text tower of a model that embeds texts and images into one space, as CLIP does."""

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
    """Tokenizer and text graph.

    Raises
    ------
    ValueError
        The probe text has no embedding of the image tower's length.
    """

    def __init__(self, folder: Path, rule: TextRule, dimensions: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / rule.tokenizer))
        self._tokenizer.enable_truncation(rule.context_length)
        # A tokenizer.json says how its model is padded; CLIP's does not, and is padded with the end of the text.
        padding = self._tokenizer.padding or {"pad_token": END, "pad_id": self._tokenizer.token_to_id(END) or 0}
        self._tokenizer.enable_padding(**{**padding, "length": rule.context_length})
        self._session = Session(folder / rule.file, rule.input, rule.output, threads=1)
        for count in (1, 2):
            found = self.embed([PROBE] * count)
            if found.shape != (count, dimensions) or not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
                raise ValueError(f"{count} probe texts gave shape {found.shape}, not {(count, dimensions)} of length 1")

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embeddings, float32, shape (n, dimensions), rows L2-normalised; a long text is cut at the context's end."""
        tokens = np.array([one.ids for one in self._tokenizer.encode_batch(list(texts))], np.int64)
        values = self._session.run(tokens)
        return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
