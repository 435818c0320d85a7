"""Invalid model folders are refused, and images become the model's input."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from functions.inference_endpoint.manifest import ModelRefused
from functions.inference_endpoint.model import BadImage, BadPixels, EmbeddingModel
from functions.inference_endpoint.repository import Repository
from functions.inference_endpoint.session import Session
from functions.inference_endpoint.training.graph import Graph
from tests.unit.inference_endpoint.conftest import SIDE, NewModel, mean_colour


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Return an image that is red on the left and green on the right."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 255, 0), (size[0] // 2, 0, size[0], size[1]))
    return image


def serving(folder: Path) -> Repository:
    return Repository([folder], lambda found: EmbeddingModel(found, ThreadPoolExecutor(1)))


def ones_of_shape(shape: list[int]) -> bytes:
    """Write a model whose output always has this shape."""
    graph = Graph()
    total = graph.node("ReduceSum", "pixels", keepdims=0)
    return graph.model(
        "pixels", graph.node("Expand", total, graph.constant(np.array(shape, np.int64))), SIDE, shape[-1]
    ).SerializeToString()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"dimensions": 4}, "3"),
        ({"dimensions": 0}, "dimensions"),
        ({"input": {"size": SIDE * 2, "resize": "squash"}}, "input|dimensions|Got"),
        ({"input": {"name": "image", "size": SIDE, "resize": "squash"}}, "image"),
        ({"input": {"size": SIDE, "resize": "stretch"}}, "resize"),
        ({"output": "logits"}, "logits"),
        ({"name": "other"}, "other/1"),
        ({"version": "2"}, "tiny/2"),
        ({"name": "../tiny"}, "name"),
        ({"colour": "BGR"}, "colour"),
        ({"body": b"not a model"}, "tiny/1"),
        ({"body": ones_of_shape([1, 3])}, "tiny/1"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_folder_that_contradicts_its_manifest_is_refused(
    new_model: NewModel, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = new_model(**{key: value for key, value in change.items() if key not in ("name", "version")})
    if change.keys() & {"name", "version"}:
        text = (folder / "manifest.json").read_text()
        key, value = next(iter(change.items()))
        (folder / "manifest.json").write_text(
            text.replace(f'"{key}": "{"tiny" if key == "name" else "1"}"', f'"{key}": "{value}"')
        )
    with pytest.raises(ModelRefused, match=message):
        serving(tmp_path)


def test_a_folder_without_its_model_is_refused(new_model: NewModel, tmp_path: Path) -> None:
    (new_model() / "model.onnx").unlink()
    with pytest.raises(ModelRefused, match=r"model\.onnx"):
        serving(tmp_path)


def test_no_models_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="contains no"):
        serving(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1"])
def test_every_usual_file_and_mode_is_read(
    new_model: NewModel, workers: ThreadPoolExecutor, kind: str, mode: str
) -> None:
    embeddings = EmbeddingModel(new_model(), workers).embed_images([encoded(halves().convert(mode), kind)])
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1)


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000)])
def test_extreme_shapes_are_read(new_model: NewModel, workers: ThreadPoolExecutor, size: tuple[int, int]) -> None:
    red = encoded(Image.new("RGB", size, (255, 0, 0)))
    assert EmbeddingModel(new_model(), workers).embed_images([red])[0] == pytest.approx([1, 0, 0])


def test_squash_sees_the_whole_image_and_crop_its_middle(new_model: NewModel, workers: ThreadPoolExecutor) -> None:
    image = Image.new("RGB", (60, 20), (255, 0, 0))
    image.paste((0, 255, 0), (20, 0, 40, 20))
    squash = EmbeddingModel(new_model("squash"), workers)
    crop = EmbeddingModel(new_model("crop", input={"size": SIDE, "resize": "crop"}), workers)

    red, green, _ = squash.embed_images([encoded(image)])[0]
    assert red > 1.5 * green
    assert crop.embed_images([encoded(image)])[0] == pytest.approx([0, 1, 0], abs=0.02)


def test_mean_and_std_are_applied(new_model: NewModel, workers: ThreadPoolExecutor) -> None:
    model = EmbeddingModel(new_model(mean=[0.5, 0.5, 0.5], std=[0.25, 0.5, 1]), workers)
    white = encoded(Image.new("RGB", (20, 20), (255, 255, 255)))
    assert model.embed_images([white])[0] == pytest.approx(np.array([4, 2, 1]) / np.sqrt(21))


def test_a_photo_is_read_upright(workers: ThreadPoolExecutor, new_model: NewModel) -> None:
    """EXIF says that the camera was rotated; the crop is that of the upright image."""
    turned = Image.new("RGB", (16, 64), (255, 0, 0))
    turned.paste((0, 0, 255), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    model = EmbeddingModel(new_model(), workers)
    file = encoded(turned, "JPEG", exif=exif, quality=95)
    upright = encoded(turned.transpose(Image.Transpose.ROTATE_270), "JPEG", quality=95)

    from functions.inference_endpoint.model import pixels_of

    assert np.abs(pixels_of(file, model.manifest) - pixels_of(upright, model.manifest)).max() < 0.1


@pytest.mark.parametrize(
    "broken", [b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", encoded(halves())[:60]]
)
def test_a_broken_image_is_named_by_its_index(new_model: NewModel, workers: ThreadPoolExecutor, broken: bytes) -> None:
    images = [encoded(halves())] * 37
    images[34] = broken
    with pytest.raises(BadImage, match="image 34 ") as caught:
        EmbeddingModel(new_model(), workers).embed_images(images)
    assert caught.value.position == 34


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    new_model: NewModel, workers: ThreadPoolExecutor
) -> None:
    header = bytearray(encoded(halves(), "BMP"))
    header[18:26] = (20_000).to_bytes(4, "little") * 2
    with pytest.raises(BadImage):
        EmbeddingModel(new_model(), workers).embed_images([bytes(header)])


def test_pixels_that_are_not_finite_are_named_by_their_index(new_model: NewModel, workers: ThreadPoolExecutor) -> None:
    model = EmbeddingModel(new_model(), workers)
    for value in (np.nan, np.inf, -np.inf):
        pixels = np.ones((3, 3, SIDE, SIDE), np.float32)
        pixels[1, 0, 0, 0] = value
        with pytest.raises(BadPixels, match="image 1"):
            model.embed_pixels(pixels)


def test_a_graph_in_half_precision_is_fed_what_it_takes(new_model: NewModel, workers: ThreadPoolExecutor) -> None:
    graph = onnx.load_from_string(mean_colour())
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    embeddings = EmbeddingModel(new_model(body=graph.SerializeToString()), workers).embed_images([encoded(halves())])

    assert embeddings.dtype == np.float32
    assert embeddings[0] == pytest.approx([0.7071, 0.7071, 0], abs=0.02)


def test_binding_to_a_device_gives_the_same_result(new_model: NewModel) -> None:
    session = Session(new_model() / "model.onnx", "pixels", "embedding", threads=1)
    pixels = np.random.default_rng(0).random((5, 3, SIDE, SIDE), np.float32)

    assert np.array_equal(session.run_bound(pixels, "cpu"), session.run(pixels))
