"""Logs: Powertools Logger as JSON."""

from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger

from deeplens.settings import settings

request_origin: ContextVar[dict[str, Any]] = ContextVar("request_origin", default={})  # noqa: B039 - never changed
"""The id and the network address of the request that is being answered."""


def service() -> str:
    """The installation, as metrics and logs name it."""
    return f"{settings().name_prefix}deeplens"


@lru_cache(maxsize=1)
def logger() -> Logger:
    return Logger(service=service())
