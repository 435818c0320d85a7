"""``deeplens-visual``: what its embeddings promise, and that it is made as its scripts say."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image, ImageEnhance, ImageOps

from functions.inference_endpoint.model import EmbeddingModel, pixels_of
from functions.inference_endpoint.server import MODELS
from functions.inference_endpoint.training import augment, build, filter_bank, procedural
from functions.inference_endpoint.training.graph import Graph


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel(MODELS / "deeplens-visual" / "1", ThreadPoolExecutor(2))


def png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


IMAGES = [procedural.image(90_000_000 + seed) for seed in range(13)]
"""Seeds that training does not use."""


def test_embeddings_are_the_same_alone_and_in_any_batch(model: EmbeddingModel) -> None:
    pixels = np.stack([pixels_of(png(image), model.manifest) for image in IMAGES])
    alone = np.concatenate([model.embed_pixels(one[None]) for one in pixels])

    for size in (2, 3, 5, 8, 13):
        assert np.abs(model.embed_pixels(pixels[:size]) - alone[:size]).max() < 1e-5


def test_embeddings_are_the_same_under_concurrent_requests(model: EmbeddingModel) -> None:
    pixels = np.stack([pixels_of(png(image), model.manifest) for image in IMAGES])
    expected = model.embed_pixels(pixels)
    with ThreadPoolExecutor(4) as clients:
        found = list(clients.map(lambda _: model.embed_pixels(pixels), range(8)))
    assert all(np.abs(one - expected).max() < 1e-5 for one in found)


def test_a_mirror_image_has_the_same_embedding(model: EmbeddingModel) -> None:
    pixels = np.stack([pixels_of(png(image), model.manifest) for image in IMAGES])
    assert (model.embed_pixels(pixels) * model.embed_pixels(pixels[..., ::-1].copy())).sum(1).min() > 0.999


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_plain_image_has_an_embedding_too(model: EmbeddingModel, value: int) -> None:
    found = model.embed_images([png(Image.new("RGB", (64, 64), (value,) * 3))])
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        lambda image: image.crop((25, 25, 230, 230)),
        lambda image: image.rotate(6),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.resize((64, 64)),
    ],
    ids=["flip", "crop", "rotate", "darken", "grey", "shrink"],
)
def test_a_copy_is_nearest_to_its_original(model: EmbeddingModel, change: object) -> None:
    originals = model.embed_images([png(image) for image in IMAGES])
    copies = model.embed_images([png(change(image)) for image in IMAGES])  # type: ignore[operator]
    assert (copies @ originals.T).argmax(1).tolist() == list(range(len(IMAGES)))


def test_the_committed_graph_is_the_bank_that_the_script_builds() -> None:
    """Every node and constant but mean and projection, which take minutes to make."""
    committed = onnx.load(MODELS / "deeplens-visual" / "1" / "model.onnx")
    constants = [numpy_helper.to_array(one) for one in committed.graph.initializer]
    mean, projection = constants[-3:-1]
    built = build.model_of(mean, projection)

    assert [node.SerializeToString() for node in built.graph.node] == [
        node.SerializeToString() for node in committed.graph.node
    ]
    for expected, found in zip(constants, built.graph.initializer, strict=True):
        assert np.abs(expected - numpy_helper.to_array(found)).max() < 1e-6
    assert projection.shape[1] == build.DIMENSIONS


def test_the_committed_manifest_is_the_one_that_the_script_writes() -> None:
    folder = MODELS / "deeplens-visual" / "1"
    written = build.manifest_of((folder / "model.onnx").read_bytes())
    assert json.loads((folder / "manifest.json").read_text()) == written


def test_training_features_repeat_from_their_seed() -> None:
    first, again = (build.features_of(4, views=3, seed=7) for _ in range(2))
    other = build.features_of(5, views=3, seed=7)

    assert np.array_equal(first, again)
    assert not np.allclose(first[0], other[0])


def test_views_repeat_from_their_seed() -> None:
    views = [augment.view(np.random.default_rng(3), IMAGES[0]).tobytes() for _ in range(2)]
    assert views[0] == views[1]


def test_discriminants_keep_what_copies_share_and_drop_what_differs() -> None:
    """Of the features, one half says which image it is, the other changes with every view."""
    rng = np.random.default_rng(1)
    identity = rng.normal(size=(700, 1, 600)).repeat(3, axis=1)
    noise = rng.normal(size=(700, 3, 600))
    mean, projection = build.discriminants(np.concatenate([identity, noise], axis=2).astype(np.float32))

    assert mean.shape == (1200,)
    assert projection.shape == (1200, 512)
    assert np.abs(projection[:600]).sum() > 20 * np.abs(projection[600:]).sum()


def test_the_bank_has_a_free_batch_size_and_fixed_kernels_only() -> None:
    graph = Graph()
    made = graph.model("pixels", filter_bank.features(graph, "pixels"), filter_bank.SIDE, "d")

    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert {node.op_type for node in made.graph.node}.isdisjoint({"GlobalAveragePool", "Resize", "Loop", "If"})
