"""``deeplens models``: add, list and export embedding models."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from local.cli.commands import Commands
from local.cli.screen import show, table
from local.stack.config import LocalConfig

app = Commands(help="Add embedding models to the inference endpoint, list and export them.")


@app.command(example="deeplens models add exported/clip-vit-base/1")
def add(
    source: Annotated[str, typer.Argument(help="A model folder, or s3://bucket/prefix.")],
) -> None:
    """Check a model (sha256, shapes, free batch size, a probe image and text) and copy it to the endpoint's models.

    The endpoint finds it without a restart. To search with it, start a rollout: POST /v1/admin/tenants/{id}/models.
    """
    from local.models import store  # not at the top, because importing ONNX takes a second

    model = store.add(source, LocalConfig().models_dir)
    manifest = model.manifest
    show(
        _document(model),
        f"{manifest.name} {manifest.version}: {manifest.dimensions} dimensions, {model.precision}, {model.folder}",
    )


@app.command("list", example="deeplens models list")
def list_models() -> None:
    """Show the models that the endpoint serves."""
    from local.models import store

    models = store.served_models(LocalConfig().models_dir)
    made = table("name", "version", "dimensions", "text", "weights", "MB", "from", right=("dimensions", "MB"))
    for model in models:
        made.add_row(
            model.manifest.name,
            model.manifest.version,
            str(model.manifest.dimensions),
            "yes" if model.manifest.text else "no",
            model.precision,
            f"{model.size_bytes / 1e6:.1f}",
            "DeepLens" if model.built_in else str(model.folder),
        )
    show([_document(model) for model in models], made)


@app.command(example="deeplens models export clip-vit-base --precision int8")
def export(
    name: Annotated[str, typer.Argument(help="clip-vit-base or resnet50")],
    out: Annotated[Path, typer.Option(help="The model is written to OUT/NAME/VERSION.")] = Path("exported"),
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="Precision of the weights; fp16 is for GPUs.")
    ] = "fp32",
    version: Annotated[str, typer.Option(help="Version in the manifest.")] = "1",
    random_weights: Annotated[bool, typer.Option(help="Random weights, without a download, for tests.")] = False,
) -> None:
    """Write a model folder from published weights; needs internet and `uv sync --inexact --group export`."""
    from local.models.export import export as export_model

    folder = export_model(name, out, precision=precision, version=version, random_weights=random_weights)
    show({"folder": folder}, f"{folder}; add it with: deeplens models add {folder}")


def _document(model: Any) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "dimensions": manifest.dimensions,
        "text": bool(manifest.text),
        "precision": model.precision,
        "sizeBytes": model.size_bytes,
        "builtIn": model.built_in,
        "folder": model.folder,
    }
