"""``deeplens topics``: create the Kafka topics of the registry."""

from typing import Annotated

import typer

from local.cli.container import current_container
from local.cli.screen import console

app = typer.Typer(no_args_is_help=True, help="Create the Kafka topics that DeepLens uses.")


@app.command()
def apply(
    partitions: Annotated[
        int, typer.Option(help="Minimum number of partitions; 12 is a good start in production.")
    ] = 3,
    production: Annotated[bool, typer.Option(help="Replication factor 3 and min.insync.replicas 2.")] = False,
) -> None:
    """Create the missing topics."""
    from local.operations.topics import create_topics

    created = create_topics(current_container().settings, partitions=partitions, production=production)
    console.print(f"created {len(created)} topics {' '.join(created)}")
