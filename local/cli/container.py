"""Provide commands with the container of the running stack or of the environment."""

import os

from deeplens.bootstrap.container import Container
from deeplens.settings import Settings

from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import container_for, running_stack


def current_container(variable: str = "DATABASE_URL") -> Container:
    """Return the container of the running stack, or without one of the environment's services.

    Raises ``ServiceFailed`` if there is neither; ``variable`` names the service that the command needs first.
    """
    state = running_stack(LocalConfig().state_dir)
    if state is not None:
        return container_for(state["environment"])
    if not os.environ.get(variable):
        raise ServiceFailed(f"nothing is running: start with `deeplens up`, or set {variable}")
    return Container(Settings())
