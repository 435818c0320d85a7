"""Run the inference endpoint, with the same server as its container."""

import sys
from pathlib import Path
from typing import ClassVar

from functions.inference_endpoint.manifest import MODELS
from local.services.process import ChildService, free_port, http_ok, require_port
from local.setup.tools import REPOSITORY


class InferenceService(ChildService):
    """``functions/inference_endpoint`` on ``port``, with the built-in models and those in ``models``."""

    name: ClassVar = "inference"

    def __init__(self, port: int, log_dir: Path, models: Path, *options: str) -> None:
        super().__init__(log_dir)
        self.models, self.options = models.absolute(), options
        self.port = port or free_port()
        self.environment = {"INFERENCE_URL": f"http://127.0.0.1:{self.port}"}

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_INFERENCE_PORT")
        command = ["-m", "functions.inference_endpoint.server", "--host", "127.0.0.1", "--port", str(self.port)]
        folders = ["--models", str(MODELS), "--models", str(self.models)]
        self.spawn([sys.executable, *command, *folders, *self.options], cwd=REPOSITORY)

    def answers(self) -> bool:
        return http_ok(f"{self.environment['INFERENCE_URL']}/v2/health/ready")
