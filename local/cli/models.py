"""``deeplens models``."""

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
    """Check a model (sha256, shapes, free batch size, a probe image and text) and put it where the endpoint looks.

    The endpoint finds it by itself, without a restart. To search with it, start a rollout:
    POST /v1/admin/tenants/{id}/models.
    """
    from local.models import store  # ONNX takes a second to import, which other commands need not wait for

    found = store.add(source, LocalConfig().models_dir)
    manifest = found.manifest
    typer.echo(
        f"{manifest.name} {manifest.version}: {manifest.dimensions} dimensions, {found.precision}, {found.folder}"
    )


@app.command("list")
def list_models() -> None:
    """Show the models that the endpoint serves."""
    from local.models import store

    table = Table()
    for title in ("name", "version", "dimensions", "text", "weights", "MB", "from"):
        table.add_column(title, no_wrap=title != "from")
    for one in store.known(LocalConfig().models_dir):
        table.add_row(
            one.manifest.name,
            one.manifest.version,
            str(one.manifest.dimensions),
            "yes" if one.manifest.text else "no",
            one.precision,
            f"{one.size_bytes / 1e6:.1f}",
            "DeepLens" if one.built_in else str(one.folder),
        )
    console.print(table)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="clip-vit-base or resnet50")],
    out: Annotated[Path, typer.Option(help="The model is written to OUT/NAME/VERSION.")] = Path("exported"),
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="of the weights; fp16 is for GPUs")
    ] = "fp32",
    version: Annotated[str, typer.Option(help="Version in the manifest.")] = "1",
    random_weights: Annotated[bool, typer.Option(help="The true graph without its knowledge; no download.")] = False,
) -> None:
    """Make a model folder from published weights; needs internet and `uv sync --inexact --group export`."""
    from local.models.export import export as make

    folder = make(name, out, precision=precision, version=version, random_weights=random_weights)
    typer.echo(f"{folder}; add it with: deeplens models add {folder}")
