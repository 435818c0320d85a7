"""``deeplens-visual`` finds copies, and its committed graph is the one that its scripts build."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from io import BytesIO

import numpy as np
import onnx
import pytest
from deeplens.embedding.model import BUILT_IN_MODEL, BUILT_IN_MODELS, ModelProfile
from onnx import numpy_helper
from PIL import Image, ImageEnhance, ImageOps

from functions.inference_endpoint.manifest import MODELS, read_manifest
from functions.inference_endpoint.model import EmbeddingModel, pixels_of
from functions.inference_endpoint.server import NEWEST_MODEL
from functions.inference_endpoint.training import augment, discriminants, filter_bank, fused, procedural, views
from functions.inference_endpoint.training.graph import Graph


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel(NEWEST_MODEL, ThreadPoolExecutor(2))


def png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


IMAGES = [procedural.image(90_000_000 + seed) for seed in range(13)]
"""Seeds that training does not use."""


def test_embeddings_are_the_same_alone_and_in_any_batch(model: EmbeddingModel) -> None:
    pixels = np.stack([pixels_of(png(image), model.manifest) for image in IMAGES])
    alone = np.concatenate([model.embed_pixels(image_pixels[None]) for image_pixels in pixels])

    for size in (2, 3, 5, 8, 13):
        assert np.abs(model.embed_pixels(pixels[:size]) - alone[:size]).max() < 1e-5


def test_embeddings_are_the_same_under_concurrent_requests(model: EmbeddingModel) -> None:
    pixels = np.stack([pixels_of(png(image), model.manifest) for image in IMAGES])
    expected = model.embed_pixels(pixels)
    with ThreadPoolExecutor(4) as clients:
        embeddings = list(clients.map(lambda _: model.embed_pixels(pixels), range(8)))
    assert all(np.abs(rows - expected).max() < 1e-5 for rows in embeddings)


def test_a_mirror_image_changes_nothing_for_the_bank_and_little_for_the_network(model: EmbeddingModel) -> None:
    pixels = np.stack([pixels_of(png(image), model.manifest) for image in IMAGES])
    product = model.embed_pixels(pixels) * model.embed_pixels(pixels[..., ::-1].copy())

    assert 2 * product[:, : fused.BRANCH_DIMENSIONS].sum(1).min() > 0.999
    assert product.sum(1).min() > 0.85


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_plain_image_has_an_embedding_too(model: EmbeddingModel, value: int) -> None:
    embeddings = model.embed_images([png(Image.new("RGB", (64, 64), (value,) * 3))])
    assert np.linalg.norm(embeddings) == pytest.approx(1, abs=1e-4)


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


def constants_of(graph: onnx.GraphProto) -> list[np.ndarray]:
    return [numpy_helper.to_array(weight) for weight in graph.initializer]


def test_the_committed_graph_holds_the_bank_that_the_script_builds() -> None:
    """Compare node by node and constant by constant, without the trained branch, which takes two hours to build."""
    committed, fresh = onnx.load(NEWEST_MODEL / "model.onnx").graph, Graph()
    bank = fresh.model("pixels", filter_bank.features(fresh, "pixels"), filter_bank.SIDE, "d").graph
    kinds, wanted = [node.op_type for node in committed.node], [node.op_type for node in bank.node][:-1]
    starts = [n for n in range(len(kinds)) if kinds[n : n + len(wanted)] == wanted]
    found, expected = constants_of(committed), constants_of(bank)

    def holds(start: int) -> bool:
        part = found[start : start + len(expected)]
        same = [a.shape == b.shape and np.allclose(a, b, atol=1e-6) for a, b in zip(part, expected, strict=False)]
        return len(same) == len(expected) and all(same)

    assert len(starts) == 1
    assert any(holds(start) for start in range(len(found)))
    assert (2307, fused.BRANCH_DIMENSIONS) in [constant.shape for constant in found]


def test_the_committed_manifest_is_the_one_that_the_script_writes() -> None:
    written = fused.manifest_of((NEWEST_MODEL / "model.onnx").read_bytes())
    assert json.loads((NEWEST_MODEL / "manifest.json").read_text()) == written
    assert NEWEST_MODEL == fused.FOLDER


def test_the_model_is_small_and_both_branches_weigh_the_same(model: EmbeddingModel) -> None:
    embeddings = model.embed_images([png(image) for image in IMAGES])

    assert (NEWEST_MODEL / "model.onnx").stat().st_size < 20e6
    halves = np.linalg.norm(embeddings.reshape(len(embeddings), 2, fused.BRANCH_DIMENSIONS), axis=2)
    assert np.allclose(halves, 0.5**0.5, atol=1e-3)


@pytest.mark.parametrize("profile", BUILT_IN_MODELS, ids=lambda profile: profile.ref.version)
def test_the_platform_knows_what_the_manifests_say(profile: ModelProfile) -> None:
    manifest = read_manifest(MODELS / profile.ref.name / profile.ref.version)

    assert profile.ref.dimensions == manifest.dimensions
    assert profile.thresholds is not None
    assert manifest.thresholds is not None
    assert manifest.thresholds.model_dump() == asdict(profile.thresholds)


def test_new_tenants_get_the_newest_model() -> None:
    assert (BUILT_IN_MODEL.name, BUILT_IN_MODEL.version) == (NEWEST_MODEL.parent.name, NEWEST_MODEL.name)


def test_training_views_and_features_repeat_from_their_seed() -> None:
    first, again = (views.views_of(4, views=4, seed=7) for _ in range(2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, views.views_of(5, views=4, seed=7))
    features = discriminants.features_of(first)
    assert features.shape == (4, 2307)
    assert np.array_equal(features, discriminants.features_of(again))


def test_views_repeat_from_their_seed() -> None:
    views = [augment.view(np.random.default_rng(3), IMAGES[0]).tobytes() for _ in range(2)]
    assert views[0] == views[1]


def test_discriminants_keep_what_copies_share_and_drop_what_differs() -> None:
    """Half of the features identify the image, and the other half changes with every view."""
    rng = np.random.default_rng(1)
    identity = rng.normal(size=(700, 1, 600)).repeat(3, axis=1)
    noise = rng.normal(size=(700, 3, 600))
    features = np.concatenate([identity, noise], axis=2).astype(np.float32)
    mean, projection = discriminants.discriminants(features, 512)

    assert mean.shape == (1200,)
    assert projection.shape == (1200, 512)
    assert np.abs(projection[:600]).sum() > 20 * np.abs(projection[600:]).sum()


def test_the_bank_has_a_free_batch_size_and_fixed_kernels_only() -> None:
    graph = Graph()
    made = graph.model("pixels", filter_bank.features(graph, "pixels"), filter_bank.SIDE, "d")

    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert {node.op_type for node in made.graph.node}.isdisjoint({"GlobalAveragePool", "Resize", "Loop", "If"})
