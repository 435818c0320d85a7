"""Provide the container for commands: of the running stack, or of the environment."""

import os

from deeplens.bootstrap.container import Container
from deeplens.settings import Settings

from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import container_for, running


def current_container() -> Container:
    """The container of the running local stack; without one, of what the environment names (DATABASE_URL, …).

    Raises ``ServiceFailed`` when there is neither.
    """
    state = running(LocalConfig().state_dir)
    if state is not None:
        return container_for(state["environment"])
    if not os.environ.get("DATABASE_URL"):
        raise ServiceFailed("nothing is running: start with `deeplens up`, or set DATABASE_URL")
    return Container(Settings())
