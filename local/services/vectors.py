"""Run the vector index: one process that owns Qdrant Edge's shards and serves Qdrant's REST API."""

import sys
from pathlib import Path
from typing import ClassVar

from local.services.process import ChildService, free_port, http_ok, require_port
from local.setup.tools import REPOSITORY


class VectorService(ChildService):
    """``local.vector_server`` on ``port``; collections are stored in ``state_dir/vectors`` and survive ``kill``."""

    name: ClassVar = "vectors"

    def __init__(self, port: int, state_dir: Path, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._data = state_dir.absolute() / "vectors"
        self.environment = {"QDRANT_URL": f"http://127.0.0.1:{self.port}"}

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_QDRANT_PORT")
        self._data.mkdir(parents=True, exist_ok=True)
        command = ["-m", "local.vector_server", "--host", "127.0.0.1", "--port", str(self.port)]
        self.spawn([sys.executable, *command, "--data", self._data], cwd=REPOSITORY)

    def answers(self) -> bool:
        return http_ok(f"{self.environment['QDRANT_URL']}/readyz")
