"""Figures of copy detection, on cases small enough to check by hand."""

import numpy as np
import pytest
from PIL import Image

from functions.inference_endpoint.training import procedural
from local.bench import model
from local.bench.copies import TRANSFORMATIONS

ORIGINAL = np.array([0, 1])


def scores(first: list[float], second: list[float]) -> model.Floats:
    """Return scores of two copies with twelve references each; the default is -1."""
    filled = [row + [-1.0] * (12 - len(row)) for row in (first, second)]
    return np.array(filled, np.float32)


@pytest.mark.parametrize(
    ("found", "precision", "recall"),
    [
        (scores([0.9, 0.1], [0.1, 0.8]), 1.0, 1.0),
        (scores([0.9, 0.1], [0.5, 0.4]), (1 + 2 / 3) / 2, 0.5),
        (scores([0.9, 0.95], [0.1, 0.8]), (1 / 2 + 2 / 3) / 2, 0.0),
        (scores([0.1, 0.9], [0.9, 0.1]), (1 / 3 + 2 / 4) / 2, 0.0),
    ],
    ids=["all right", "one score for all", "a wrong one first", "both wrong"],
)
def test_one_ranking_of_all_queries_gives_the_precision(found: model.Floats, precision: float, recall: float) -> None:
    assert model.micro_ap(found, ORIGINAL) == pytest.approx(precision)
    assert model.recall_at_precision(found, ORIGINAL, 0.99)[0] == recall


def test_a_tie_counts_as_wrong() -> None:
    assert model.micro_ap(scores([0.9, 0.9], [0.0, 1.0]), ORIGINAL) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_transformation_changes_the_picture_and_repeats(name: str) -> None:
    image = procedural.image(90_000_003)
    before = image.tobytes()

    first, again = (TRANSFORMATIONS[name](image) for _ in range(2))

    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()
    assert (first.size, first.tobytes()) != (image.size, before)
    assert image.tobytes() == before


def test_a_transformation_takes_any_size() -> None:
    for size in ((33, 48), (900, 300)):
        for change in TRANSFORMATIONS.values():
            assert min(change(Image.new("RGB", size, "teal")).size) > 0


def test_hashes_are_most_alike_with_themselves() -> None:
    bodies = model.generated_images(3)
    for describe in model.hashes().values():
        descriptors = describe(bodies)
        assert (descriptors @ descriptors.T).argmax(1).tolist() == [0, 1, 2]
        assert np.allclose(np.linalg.norm(descriptors, axis=1), 1)
