"""The fake and both adapters with the real server keep the promises of ``Embedder``."""

from io import BytesIO

import numpy as np
import pytest
from deeplens.embedding.model import ModelRef
from deeplens.embedding.ports import Embedder
from deeplens.errors import InvalidImage, ModelNotFound
from PIL import Image

from tests.fakes.embedding import BUILT_IN
from tests.integration.inference_endpoint.conftest import picture


def test_embeddings_are_float32_rows_of_length_one(embedder: Embedder) -> None:
    embeddings = embedder.embed([picture(1), picture(2), picture(3, kind="PNG")], BUILT_IN)

    assert embeddings.dtype == np.float32
    assert embeddings.shape == (3, 512)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1, abs=1e-4)


def test_rows_come_in_the_order_of_the_images(embedder: Embedder) -> None:
    first, second = picture(1), picture(2)

    forward, backward = embedder.embed([first, second], BUILT_IN), embedder.embed([second, first], BUILT_IN)

    assert np.allclose(forward, backward[::-1], atol=1e-5)
    assert float(forward[0] @ forward[1]) < 0.9


def test_an_image_has_the_same_embedding_alone_and_in_any_batch(embedder: Embedder) -> None:
    images = [picture(seed) for seed in range(40)]

    together = embedder.embed(images, BUILT_IN)

    for position in (0, 3, 31, 32, 39):
        assert np.abs(embedder.embed([images[position]], BUILT_IN)[0] - together[position]).max() < 1e-5


def test_a_smaller_copy_is_nearer_than_any_other_image(embedder: Embedder) -> None:
    images = [picture(seed) for seed in range(8)]
    with Image.open(BytesIO(images[5])) as original:
        out = BytesIO()
        original.resize((80, 60)).save(out, "JPEG", quality=60)

    scores = embedder.embed(images, BUILT_IN) @ embedder.embed([out.getvalue()], BUILT_IN)[0]

    assert int(scores.argmax()) == 5


def test_no_images_make_no_rows(embedder: Embedder) -> None:
    assert embedder.embed([], BUILT_IN).shape == (0, 512)


@pytest.mark.parametrize("broken", [b"", b"not an image", picture(1)[:300]], ids=["empty", "text", "truncated"])
def test_a_batch_with_a_broken_image_is_an_invalid_image(embedder: Embedder, broken: bytes) -> None:
    with pytest.raises(InvalidImage):
        embedder.embed([picture(1), broken], BUILT_IN)


@pytest.mark.parametrize("model", [ModelRef("clip", "1", 512), ModelRef("deeplens-visual", "99", 512)])
def test_an_unknown_model_or_version_is_not_found(embedder: Embedder, model: ModelRef) -> None:
    with pytest.raises(ModelNotFound):
        embedder.embed([picture(1)], model)
