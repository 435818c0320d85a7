"""Jaeger itself, which keeps spans in memory, built from its modules."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from local.services.process import ChildService, free_port, http_ok
from local.setup.go import go_program
from local.setup.tools import REPOSITORY, FetchFailed


class JaegerService(ChildService):
    """Jaeger v2: takes OTLP over HTTP at ``otlp_url``, and answers its query API at ``query_url``."""

    name: ClassVar = "jaeger"
    start_seconds: ClassVar = 120

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(folder)
        self._program, self._config = program, folder / "jaeger.json"
        otlp, query, self._grpc = free_port(), free_port(), free_port()
        self.otlp_url, self.query_url = f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{query}"

    def launch(self) -> None:
        self._config.write_text(json.dumps(self._document()))
        self.spawn([self._program, "--config", self._config])

    def answers(self) -> bool:
        return http_ok(f"{self.query_url}/api/services")

    def _document(self) -> dict[str, Any]:
        def address(url: str) -> dict[str, str]:
            return {"endpoint": url.removeprefix("http://")}

        grpc = {"endpoint": f"127.0.0.1:{self._grpc}"}
        return {
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            },
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 10_000}}}},
                "jaeger_query": {"storage": {"traces": "memory"}, "http": address(self.query_url), "grpc": grpc},
            },
            "receivers": {"otlp": {"protocols": {"http": address(self.otlp_url)}}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        }


@contextmanager
def serving_jaeger(folder: Path) -> Iterator[JaegerService]:
    """A running Jaeger; where Go is missing, or its modules cannot be fetched, the test is skipped and says so."""
    try:
        program = go_program(REPOSITORY / ".tools", "jaeger")
    except FetchFailed as error:
        pytest.skip(str(error))
    jaeger = JaegerService(program, folder)
    jaeger.start()
    try:
        yield jaeger
    finally:
        jaeger.stop()
