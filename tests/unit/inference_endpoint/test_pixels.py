"""Images are scaled and cropped as in the training of the published networks."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from functions.inference_endpoint.manifest import InputRule, Manifest
from functions.inference_endpoint.model import pixels_of

CLIP = {"size": 224, "resize": "crop"}
RESNET = {"size": 224, "resize": "crop", "shortest": 232, "filter": "bilinear"}


def shown(image: Image.Image, rule: dict[str, Any]) -> Any:
    out = BytesIO()
    image.save(out, "PNG")
    rest = {"name": "m", "version": "1", "dimensions": 1, "sha256": "0" * 64, "default_threshold": 0}
    manifest = Manifest.model_validate({**rest, "input": rule, "mean": [0, 0, 0], "std": [1, 1, 1]})
    return pixels_of(out.getvalue(), manifest).transpose(1, 2, 0) * 255


def photo(size: tuple[int, int]) -> Image.Image:
    patches = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def as_in_training(image: Image.Image, shortest: int, filter: Image.Resampling) -> Any:
    """Scale the whole image, then crop its middle, as torchvision and CLIP's processor do."""
    width, height = (side * shortest // min(image.size) for side in image.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    return np.asarray(image.resize((width, height), filter).crop((left, top, left + 224, top + 224)), np.float32)


@pytest.mark.parametrize("size", [(640, 480), (427, 640), (451, 300), (1000, 1000), (224, 300), (150, 100)])
@pytest.mark.parametrize(
    ("rule", "shortest", "filter"),
    [(CLIP, 224, Image.Resampling.BICUBIC), (RESNET, 232, Image.Resampling.BILINEAR)],
    ids=["CLIP", "ResNet-50 V2"],
)
def test_the_central_crop_is_that_of_the_networks_training(
    rule: dict[str, Any], shortest: int, filter: Image.Resampling, size: tuple[int, int]
) -> None:
    found, expected = shown(photo(size), rule), as_in_training(photo(size), shortest, filter)

    assert np.abs(found - expected).mean() < 0.5
    assert np.abs(found - expected).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (233, 232), (7, 5)])
def test_any_shape_has_a_central_crop(size: tuple[int, int]) -> None:
    red = Image.new("RGB", size, (255, 0, 0))
    assert np.abs(shown(red, RESNET) - (255, 0, 0)).max() < 1e-3


@pytest.mark.parametrize(
    "rule",
    [
        {"size": 224, "resize": "crop", "shortest": 223},
        {"size": 224, "resize": "squash", "shortest": 232},
        {"size": 224, "resize": "crop", "filter": "nearest"},
    ],
)
def test_a_contradictory_input_rule_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InputRule.model_validate(rule)
