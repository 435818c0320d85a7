"""``deeplens models``: add, list and export embedding models."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from local.cli.screen import console
from local.stack.config import LocalConfig

app = typer.Typer(no_args_is_help=True, help="Add embedding models to the inference endpoint, list and export them.")


@app.command()
def add(
    source: Annotated[str, typer.Argument(help="A model folder, or s3://bucket/prefix.")],
) -> None:
    """Check a model (sha256, shapes, free batch size, a probe image and text) and copy it to the endpoint's models.

    The endpoint finds it without a restart. To search with it, start a rollout: POST /v1/admin/tenants/{id}/models.
    """
    from local.models import store  # not at the top, because importing ONNX takes a second

    model = store.add(source, LocalConfig().models_dir)
    manifest = model.manifest
    typer.echo(
        f"{manifest.name} {manifest.version}: {manifest.dimensions} dimensions, {model.precision}, {model.folder}"
    )


@app.command("list")
def list_models() -> None:
    """Show the models that the endpoint serves."""
    from local.models import store

    table = Table()
    for title in ("name", "version", "dimensions", "text", "weights", "MB", "from"):
        table.add_column(title, no_wrap=title != "from")
    for model in store.served_models(LocalConfig().models_dir):
        table.add_row(
            model.manifest.name,
            model.manifest.version,
            str(model.manifest.dimensions),
            "yes" if model.manifest.text else "no",
            model.precision,
            f"{model.size_bytes / 1e6:.1f}",
            "DeepLens" if model.built_in else str(model.folder),
        )
    console.print(table)


@app.command()
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
    typer.echo(f"{folder}; add it with: deeplens models add {folder}")
