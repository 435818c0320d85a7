"""Export published weights as ONNX with PyTorch; this needs the dependency group ``export`` and internet."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from local.services import ServiceFailed

CLIP_WEIGHTS = "openai/clip-vit-base-patch32"
CONTEXT, SIDE = 77, 224
OUTPUT = "model_embedding"
"""Name of the output; PyTorch may use ``embedding`` for an inner value."""
TOLERANCE = 1e-4
"""Allowed difference as a share of the largest value, which covers float32 sums in another order."""


def clip() -> dict[str, bytes]:
    """Export CLIP ViT-B/32's towers and tokenizer."""
    from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    vision = CLIPVisionModelWithProjection.from_pretrained(CLIP_WEIGHTS)
    text = CLIPTextModelWithProjection.from_pretrained(CLIP_WEIGHTS)
    tokenizer = AutoTokenizer.from_pretrained(CLIP_WEIGHTS).backend_tokenizer
    return {
        "model.onnx": image_tower(vision),
        "text.onnx": text_tower(text),
        "tokenizer.json": tokenizer.to_str().encode(),
    }


def resnet50() -> dict[str, bytes]:
    """Export ResNet-50 up to its 2,048 features before the classifier."""
    import torch
    from torchvision.models import ResNet50_Weights
    from torchvision.models import resnet50 as network

    return {"model.onnx": features(network(weights=ResNet50_Weights.IMAGENET1K_V2), torch.rand(2, 3, SIDE, SIDE))}


def image_tower(model: Any, side: int = SIDE) -> bytes:
    """Export ``pixels`` (n, 3, side, side) → embedding."""
    import torch

    return _onnx(_single_output(model, "image_embeds"), "pixels", torch.rand(2, 3, side, side))


def text_tower(model: Any, context: int = CONTEXT) -> bytes:
    """Export ``input_ids`` (n, context) → embedding."""
    import torch

    return _onnx(_single_output(model, "text_embeds"), "input_ids", torch.randint(0, 400, (2, context)))


def features(model: Any, example: Any) -> bytes:
    """Export ``pixels`` → the input of the classifier."""
    import torch

    model.fc = torch.nn.Identity()
    return _onnx(model, "pixels", example)


def _single_output(model: Any, output: str) -> Any:
    """Wrap a model so that it returns one of its outputs only."""
    import torch

    class SingleOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, value: Any) -> Any:
            return getattr(self.model(value), output)

    return SingleOutput()


def _onnx(model: Any, source: str, example: Any) -> bytes:
    """Export to one file with a dynamic batch size. Raises ``ServiceFailed`` if its results differ from PyTorch's."""
    import torch

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model.eval(),
            (example,),
            path,
            input_names=[source],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1024)},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        body = path.read_bytes()
        _check(body, source, example.numpy(), model(example).numpy())
    return body


def _check(body: bytes, source: str, example: Any, expected: Any) -> None:
    """Raise ``ServiceFailed`` unless the graph computes the expected rows, also for a single row."""
    session = onnxruntime.InferenceSession(body)
    for inputs, rows in ((example, expected), (example[:1], expected[:1])):
        difference = np.abs(session.run(None, {source: inputs})[0] - rows).max() / np.abs(rows).max()
        if not difference <= TOLERANCE:
            raise ServiceFailed(f"the exported graph differs from PyTorch by {difference:.1e} of the largest value")
