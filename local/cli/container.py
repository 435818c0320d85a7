"""Provide commands with the container of a deployed stack, of the running stack, or of the environment."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache

from deeplens.bootstrap.container import Container
from deeplens.bootstrap.telemetry import configure_spans
from deeplens.settings import Settings
from deeplens.telemetry import tracing

from local.cli.commands import AT_END
from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import container_for, running_stack

STACK_VARIABLE = "DEEPLENS_STACK"
"""The deployed stack that commands work on, as ``deeplens --stack`` sets it."""


def current_container(variable: str = "DATABASE_URL") -> Container:
    """Return the container of the chosen deployed stack, of the running stack, or of the environment's services.

    Raises ``ServiceFailed`` if there is none; ``variable`` names the service that the command needs first.
    """
    if chosen := os.environ.get(STACK_VARIABLE):
        return container_for(deployed_environment(chosen))
    state = running_stack(LocalConfig().state_dir)
    if state is not None:
        return _traced(container_for(state["environment"]))
    if not os.environ.get(variable):
        raise ServiceFailed(f"nothing is running: start with `deeplens up`, or set {variable} or {STACK_VARIABLE}")
    return _traced(Container(Settings()))


@cache
def deployed_environment(name: str) -> dict[str, str]:
    """The variables of a deployed stack; libpq gets its own, as it reads no others."""
    import boto3

    from local.operations.deployed import environment_of_stack

    region = os.environ.get("AWS_REGION") or boto3.Session().region_name or "us-east-1"
    client = boto3.client("cloudformation", region_name=region)
    found = environment_of_stack(name, client, os.environ)
    os.environ.update({variable: value for variable, value in found.items() if variable.startswith("PG")})
    return found


def _traced(container: Container) -> Container:
    """The container; what the command sends meanwhile, e.g. a replay, is in the traces of the images."""
    if not tracing.enabled():
        AT_END.enter_context(_spans(container.settings))
    return container


@contextmanager
def _spans(settings: Settings) -> Iterator[None]:
    configure_spans(settings)
    try:
        yield
    finally:
        # What is logged of it, e.g. that no collector answers, is not the command's output.
        with redirect_stdout(sys.stderr):
            tracing.flush()
        tracing.configure(None)
