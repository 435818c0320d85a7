"""The adapters that commands work with: of the running stack, or of the environment."""

import os

import typer
from deeplens.bootstrap.parts import Parts
from deeplens.settings import Settings

from local.cli.screen import console
from local.stack.config import LocalConfig
from local.stack.stack import parts_for, running


def current_parts() -> Parts:
    """The running local stack's parts; without one, those that the environment names (DATABASE_URL, …)."""
    state = running(LocalConfig().state_dir)
    if state is not None:
        return parts_for(state["environment"])
    if not os.environ.get("DATABASE_URL"):
        console.print("[bold red]error:[/] nothing is running: start with `deeplens up`, or set DATABASE_URL")
        raise typer.Exit(1)
    return Parts(Settings())
