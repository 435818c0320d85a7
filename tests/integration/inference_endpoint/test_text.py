"""Both adapters embed texts with a model that has a text tower on the real server."""

from pathlib import Path

import numpy as np
import pytest
from deeplens.embedding.ports import Embedder
from deeplens.errors import TextUnsupported

from functions.inference_endpoint.manifest import MODELS
from tests.fakes.embedding import BUILT_IN
from tests.integration.inference_endpoint.conftest import NewEmbedder, StartServer, picture
from tests.unit.local.models.test_cli import SmallClip, small_clip  # noqa: F401


@pytest.fixture
def clip(start_server: StartServer, small_clip: SmallClip, adapter: NewEmbedder) -> Embedder:  # noqa: F811
    folder: Path = small_clip().parents[1]
    return adapter(start_server("--models", str(MODELS), "--models", str(folder)).url)


def test_images_and_texts_come_from_one_space(clip: Embedder) -> None:
    profile = clip.describe("clip-vit-base", "1")
    assert (profile.text, profile.ref.dimensions, profile.thresholds) == (True, 16, None)

    texts = [clip.embed_text(text, profile.ref) for text in ("a harbour", "a harbour", "süß 🐱")]
    images = clip.embed([picture(1), picture(2)], profile.ref)

    assert {text.shape for text in texts} == {(16,)}
    assert images.shape == (2, 16)
    assert np.array_equal(texts[0], texts[1])
    assert not np.allclose(texts[0], texts[2], atol=1e-3)


def test_a_model_for_images_refuses_texts(clip: Embedder) -> None:
    profile = clip.describe(BUILT_IN.name, BUILT_IN.version)

    assert not profile.text
    assert profile.thresholds is not None
    with pytest.raises(TextUnsupported):
        clip.embed_text("a harbour", profile.ref)
