"""Applications over containers of tests. Building the routes takes up to half a second: once per process."""

import copy
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from deeplens.settings import Settings
from fastapi import FastAPI
from starlette.datastructures import State


def application(create: Callable[[Any], FastAPI], container: Any) -> FastAPI:
    """Return what ``create`` makes of ``container``."""
    app = copy.copy(_built(create, container.settings.max_upload_bytes, container.settings.identity_url))
    app.state = State({"container": container})
    return app


@cache
def _built(create: Callable[[Any], FastAPI], max_upload_bytes: int, identity_url: str) -> FastAPI:
    return create(SimpleNamespace(settings=Settings(max_upload_bytes=max_upload_bytes, identity_url=identity_url)))
