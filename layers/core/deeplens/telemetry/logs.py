"""Logs: Powertools Logger as JSON, each line with what it is about, and without secrets."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from deeplens.settings import settings
from deeplens.telemetry.context import active
from deeplens.telemetry.conventions import IMAGE, TENANT, VIDEO
from deeplens.telemetry.redaction import redacted

request_origin: ContextVar[dict[str, Any]] = ContextVar("request_origin", default={})  # noqa: B039 - never changed
"""The id and the network address of the request that is being answered."""
_subject: ContextVar[Mapping[str, Any]] = ContextVar("log_subject", default={})  # noqa: B039 - never changed
FIELDS = {TENANT: "tenant_id", IMAGE: "image_id", VIDEO: "video_id"}


def service() -> str:
    """The installation, as metrics and logs name it."""
    return f"{settings().name_prefix}deeplens"


@lru_cache(maxsize=1)
def logger() -> Logger:
    return Logger(service=service(), logger_formatter=_Formatter())


@contextmanager
def lines_about(**fields: Any) -> Iterator[None]:
    """Lines that are logged meanwhile have these fields, e.g. ``trace_id`` and ``image_id``; None leaves one out."""
    token = _subject.set({**_subject.get(), **{name: value for name, value in fields.items() if value is not None}})
    try:
        yield
    finally:
        _subject.reset(token)


class _Formatter(LambdaPowertoolsFormatter):
    def serialize(self, log: Any) -> str:
        return redacted(super().serialize({**_subject.get(), **_span_fields(), **log}))


def _span_fields() -> dict[str, Any]:
    """The span that runs here, and whom it is about; nothing inside the spans of several records."""
    contexts = active.get()
    if len(contexts) != 1:
        return {}
    own = contexts[0]
    subject = {FIELDS[name]: value for name, value in own.subject if name in FIELDS}
    return {"trace_id": own.trace_id, "span_id": own.span_id, **subject}
