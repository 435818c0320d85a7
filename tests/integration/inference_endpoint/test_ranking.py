"""With the built-in model, copies of a photo rank it above every other photo."""

from io import BytesIO

import numpy as np
import pytest
from deeplens.embedding.ports import Embedder
from deeplens.imaging.limits import Limits
from deeplens.imaging.standardise import standardise
from PIL import Image

from local.demo.photos import scikit_image_photos
from local.demo.variants import VARIANTS, variants_of
from tests.fakes.embedding import BUILT_IN
from tests.integration.inference_endpoint.conftest import Server, new_http

RIGHT_ANGLES = {"90": Image.Transpose.ROTATE_90, "180": Image.Transpose.ROTATE_180, "270": Image.Transpose.ROTATE_270}
PHOTOS = scikit_image_photos()


@pytest.fixture(scope="module")
def embedder(server: Server) -> Embedder:
    return new_http(server.url)


@pytest.fixture(scope="module")
def originals(embedder: Embedder) -> np.ndarray:
    return embedder.embed([standard(photo.body) for photo in PHOTOS], BUILT_IN)


def standard(body: bytes) -> bytes:
    return standardise(body, Limits()).jpeg


def turned(body: bytes, by: Image.Transpose) -> bytes:
    out = BytesIO()
    with Image.open(BytesIO(body)) as image:
        image.convert("RGB").transpose(by).save(out, "JPEG", quality=88)
    return out.getvalue()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_copy_ranks_its_photo_first(embedder: Embedder, originals: np.ndarray, variant: str) -> None:
    copies = embedder.embed([standard(variants_of(photo.body)[variant]) for photo in PHOTOS], BUILT_IN)
    ranked = (copies @ originals.T).argmax(1)
    assert [PHOTOS[found].name for found in ranked] == [photo.name for photo in PHOTOS]


@pytest.mark.parametrize("angle", RIGHT_ANGLES)
def test_most_photos_are_found_when_turned_by_right_angles(
    embedder: Embedder, originals: np.ndarray, angle: str
) -> None:
    copies = embedder.embed([standard(turned(photo.body, RIGHT_ANGLES[angle])) for photo in PHOTOS], BUILT_IN)
    found = (copies @ originals.T).argmax(1) == np.arange(len(PHOTOS))
    assert found.mean() >= 0.85


def test_different_photos_stay_below_the_models_threshold(originals: np.ndarray) -> None:
    scores = originals @ originals.T - 2 * np.eye(len(PHOTOS))
    assert scores.max() < 0.5


def test_a_photo_searched_with_its_own_bytes_scores_one(embedder: Embedder, originals: np.ndarray) -> None:
    again = embedder.embed([standard(photo.body) for photo in reversed(PHOTOS)], BUILT_IN)[::-1]
    assert (again * originals).sum(1).min() >= 0.999
