"""``deeplens models`` adds only complete models that match their manifest, and never replaces one."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from functions.inference_endpoint.model import EmbeddingModel
from functions.inference_endpoint.text import TextUnsupported
from local.models import architectures, export, pretrained, store, tokenizer
from local.models.architectures import Text, Transformer, Vision
from local.services import ServiceFailed
from tests.harness.cli import deeplens
from tests.unit.inference_endpoint.conftest import NewModel, new_model  # noqa: F401

VISION = Vision(Transformer(width=32, layers=2, heads=4, tokens=5, dimensions=16), side=64)
TEXT = Text(Transformer(width=32, layers=2, heads=4, tokens=77, dimensions=16))

type SmallClip = Callable[..., Path]


@pytest.fixture
def small_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallClip:
    """Export a small CLIP with random weights."""
    recipe = export.RECIPES[export.CLIP]
    files = {
        "model.onnx": architectures.clip_vision(VISION),
        "text.onnx": architectures.clip_text(TEXT),
        "tokenizer.json": tokenizer.byte_tokenizer(),
    }
    manifest = recipe.manifest | {"dimensions": 16, "input": {"name": "pixels", "size": 64, "resize": "crop"}}
    small = export.Recipe(recipe.pretrained, lambda: files, manifest, recipe.thresholds)
    monkeypatch.setitem(export.RECIPES, export.CLIP, small)

    def made(precision: Any = "fp32", version: str = "1") -> Path:
        return export.export(
            export.CLIP, tmp_path / "exported", precision=precision, version=version, random_weights=True
        )

    return made


def picture(seed: int) -> bytes:
    out = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def loaded(folder: Path) -> EmbeddingModel:
    return EmbeddingModel(folder, ThreadPoolExecutor(2))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_export_embeds_images_and_texts_into_one_space(small_clip: SmallClip, precision: Any) -> None:
    model = loaded(small_clip(precision))
    images = [picture(seed) for seed in range(5)]

    embeddings = model.embed_images(images)
    texts = model.texts(["a cat", "a much longer text " * 40, ""]).result()

    assert (embeddings.shape, texts.shape) == ((5, 16), (3, 16))
    assert np.allclose(np.linalg.norm(np.concatenate([embeddings, texts]), axis=1), 1, atol=1e-3)
    alone = np.concatenate([model.embed_images([image]) for image in images])
    assert np.abs(alone - embeddings).max() < {"fp32": 1e-5, "fp16": 5e-3, "int8": 1e-5}[precision]


def test_precisions_agree_with_one_another(small_clip: SmallClip) -> None:
    images = [picture(seed) for seed in range(4)]
    full, half, int8 = (
        loaded(small_clip(precision, precision)).embed_images(images) for precision in ("fp32", "fp16", "int8")
    )

    assert (full * half).sum(1).min() > 0.999
    assert (full * int8).sum(1).min() > 0.99


def test_different_texts_differ_and_order_matters(small_clip: SmallClip) -> None:
    first, second, third = loaded(small_clip()).texts(["dog bites man", "man bites dog", "a harbour"]).result()

    assert first @ second < 0.9999
    assert first @ third < 0.9999


def test_resnet50_has_its_real_shape_and_no_text() -> None:
    graph = onnx.load_from_string(architectures.resnet50(side=64, width=8))
    assert [dim.dim_value for dim in graph.graph.output[0].type.tensor_type.shape.dim] == [0, 256]
    weights = sum(
        int(np.prod(weight.dims)) for weight in onnx.load_from_string(architectures.resnet50()).graph.initializer
    )
    assert 23.4e6 < weights < 23.6e6  # 25.6 million with the classifier


@pytest.mark.long
def test_clip_has_its_real_size() -> None:
    vision, text = (
        sum(int(np.prod(weight.dims)) for weight in onnx.load_from_string(body).graph.initializer)
        for body in (architectures.clip_vision(), architectures.clip_text())
    )
    assert 87e6 < vision < 88.5e6
    assert 63e6 < text < 64e6


def test_an_added_model_is_served_and_listed(small_clip: SmallClip, tmp_path: Path) -> None:
    found = store.add(str(small_clip()), tmp_path / "models")

    assert found.folder == tmp_path / "models" / "clip-vit-base" / "1"
    assert loaded(found.folder).embed_images([picture(1)]).shape == (1, 16)
    listed = {
        (model.manifest.name, model.manifest.version): model for model in store.served_models(tmp_path / "models")
    }
    assert listed["clip-vit-base", "1"].manifest.text is not None
    assert listed["clip-vit-base", "1"].precision == "fp32"
    assert listed["deeplens-visual", "2"].built_in


def test_adding_again_is_fine_and_other_files_need_another_version(small_clip: SmallClip, tmp_path: Path) -> None:
    models = tmp_path / "models"
    source = small_clip()
    before = store.add(str(source), models)
    assert store.add(str(source), models) == before

    manifest = json.loads((source / "manifest.json").read_text())
    (source / "text.onnx").rename(source / "unused")
    (source / "manifest.json").write_text(json.dumps({key: manifest[key] for key in manifest if key != "text"}))
    with pytest.raises(ServiceFailed, match="new version"):
        store.add(str(source), models)
    assert loaded(before.folder).texts(["still whole"]).result().shape == (1, 16)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.onnx", b"flipped", "sha256"),
        ("text.onnx", b"flipped", "sha256"),
        ("tokenizer.json", b"flipped", "sha256"),
        ("text.onnx", None, "No such file"),
        ("manifest.json", b"{", "manifest"),
        ("manifest.json", None, "no manifest"),
    ],
)
def test_a_folder_that_contradicts_its_manifest_is_not_added(
    small_clip: SmallClip, tmp_path: Path, file: str, change: bytes | None, message: str
) -> None:
    source = small_clip()
    if change is None:
        (source / file).unlink()
    else:
        (source / file).write_bytes(change)

    with pytest.raises(ServiceFailed, match=message):
        store.add(str(source), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": 4}, "shape"),
        ({"output": "logits"}, "logits"),
        ({"input": {"name": "image", "size": 8, "resize": "squash"}}, "no input image"),
    ],
)
def test_a_graph_that_contradicts_the_manifest_is_not_added(
    new_model: NewModel,  # noqa: F811
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ServiceFailed, match=message):
        store.add(str(new_model(**changes)), tmp_path / "models")


def test_a_graph_of_a_fixed_batch_is_not_added(new_model: NewModel, tmp_path: Path) -> None:  # noqa: F811
    from tests.unit.inference_endpoint.conftest import mean_colour

    graph = onnx.load_from_string(mean_colour())
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ServiceFailed, match=r"Got invalid dimensions|index: 0"):
        store.add(str(new_model(body=graph.SerializeToString())), tmp_path / "models")


def test_a_name_that_comes_with_deeplens_is_taken(new_model: NewModel, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(ServiceFailed, match="new version"):
        store.add(str(new_model("deeplens-visual", "2")), tmp_path / "models")


def test_a_model_for_images_says_so(new_model: NewModel) -> None:  # noqa: F811
    with pytest.raises(TextUnsupported, match="images only"):
        loaded(new_model()).texts(["a cat"])


def test_an_export_never_overwrites(small_clip: SmallClip) -> None:
    small_clip()
    with pytest.raises(ServiceFailed, match="exists"):
        small_clip()


def test_an_export_of_published_weights_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "EXPORT_PACKAGES", ("no_such_package",))
    with pytest.raises(ServiceFailed, match="uv sync --inexact --group export"):
        export.export("resnet50", tmp_path, precision="fp32", version="1", random_weights=False)
    assert pretrained.OUTPUT != "embedding"


def test_the_commands_work_and_fail_with_a_reason(
    new_model: NewModel,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(tmp_path / "state"))

    added = deeplens("models", "add", str(new_model()))
    listed = deeplens("models", "list")
    missing = deeplens("models", "add", str(tmp_path / "nowhere"))
    unknown = deeplens("models", "export", "bert", "--out", str(tmp_path))

    assert (added.exit_code, "tiny 1: 3 dimensions" in added.output) == (0, True)
    assert "tiny" in listed.output
    assert "deeplens-visual" in listed.output
    assert (missing.exit_code, unknown.exit_code) == (1, 1)
    assert "manifest.json" in missing.output
    assert "resnet50" in unknown.output
