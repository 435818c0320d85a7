"""``deeplens probe``: upload, find and delete one image through the public API, and print how long each step took."""

from typing import Annotated

import typer
from deeplens.probe.http import HttpProbedApi
from deeplens.probe.model import Probe

from local.cli.screen import print_error, show, table
from local.stack.config import LocalConfig


def probe(
    url: Annotated[str, typer.Option(envvar="DEEPLENS_URL", help="URL of the API; default: the local stack.")] = "",
    key: Annotated[str, typer.Option(envvar="DEEPLENS_KEY", help="API key of a tenant.", show_default=False)] = "",
) -> None:
    """Upload, find and delete one image through the public API, as the synthetic prober does each minute.

    The picture is made by code. Exit status: 0 if every step passed, else 1.
    """
    if not key:
        raise typer.BadParameter("give --key or DEEPLENS_KEY; `deeplens keys create TENANT` makes one")
    base = (url or f"http://{LocalConfig().host}:{LocalConfig().api_port}").rstrip("/").removesuffix("/v1")
    result = Probe(HttpProbedApi(base, key))()
    made = table("step", "seconds", right=("seconds",))
    for step, seconds in result.seconds.items():
        made.add_row(step, f"{seconds:.2f}")
    show(result, made)
    if result.failed:
        print_error(f"{result.failed}: {result.reason}")
        raise typer.Exit(1)
