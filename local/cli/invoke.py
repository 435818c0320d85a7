"""``deeplens invoke``: run one function once with an event."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from local.cli.screen import console, fail, show_json
from local.runner.queues import load_with_queues
from local.runner.worker import Pool, Result
from local.stack.config import LocalConfig
from local.stack.environment import environment_of
from local.stack.stack import REPOSITORY, running_stack


def invoke(
    function: Annotated[str, typer.Argument(help="Folder or logical id of the function, e.g. on_image_uploaded.")],
    event: Annotated[
        Path, typer.Option("--event", "-e", exists=True, dir_okay=False, help="JSON file with the event.")
    ],
) -> None:
    """Run one function once with an event, like `sam local invoke`, against the running stack's services."""
    state = running_stack(LocalConfig().state_dir)
    if state is None:
        raise fail("functions need their services; start them with `deeplens up --detach`")
    try:
        payload = json.loads(event.read_bytes())
    except ValueError as error:
        raise fail(f"{event} is not valid JSON: {error}") from None
    result = invoke_once(function, payload, state["environment"])
    show_json(result.payload if result.error is None else result.error)
    console.print(f"{result.duration_ms:.1f} ms", style="dim")
    raise typer.Exit(1 if result.failed else 0)


def invoke_once(function: str, event: Any, environment: Mapping[str, str]) -> Result:
    """Run one function in a fresh process, with what the table grants it. Raises ``TemplateError`` for no such name."""
    spec = load_with_queues(REPOSITORY / "template.yaml", environment, {}, {}).function(function)
    pool = Pool(spec, environment_of(spec.name, environment), LocalConfig().log_dir, 1)
    try:
        return pool.invoke(event)
    finally:
        pool.stop()
