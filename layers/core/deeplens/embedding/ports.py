"""The port to the inference endpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from deeplens.embedding.model import ModelProfile, ModelRef

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


type Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    def embed(self, images: Sequence[bytes], model: ModelRef) -> Vectors:
        """Embed encoded images.

        Parameters
        ----------
        images : JPEG or PNG files. Batches are split by count and by request bytes.

        Returns
        -------
        Vectors
            float32, shape (len(images), model.dimensions), rows L2-normalised.

        Raises
        ------
        InferenceBusy
            The endpoint shed load; retry after ``error.retry_after_seconds``.
        InferenceUnavailable
        ModelNotFound
        InvalidImage
            The endpoint could not decode one of the images, or has no usable embedding of it; callers split the batch
            to find it. ``FileTooLarge`` when it does not fit a request.
        """

    def embed_text(self, text: str, model: ModelRef) -> Vectors:
        """Embed a text in the space of the model's images, float32, shape (model.dimensions,), L2-normalised.

        Raises
        ------
        TextUnsupported
            The model has no text tower.
        InferenceBusy, InferenceUnavailable, ModelNotFound
        """

    def describe(self, name: str, version: str) -> ModelProfile:
        """Describe a model. Raises ``ModelNotFound``, ``InferenceBusy``, ``InferenceUnavailable``."""
