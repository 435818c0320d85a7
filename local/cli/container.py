"""Provide commands with the container of a deployed stack, of the running stack, or of the environment."""

import os
from functools import cache

from deeplens.bootstrap.container import Container
from deeplens.settings import Settings

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
        return container_for(state["environment"])
    if not os.environ.get(variable):
        raise ServiceFailed(f"nothing is running: start with `deeplens up`, or set {variable} or {STACK_VARIABLE}")
    return Container(Settings())


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
