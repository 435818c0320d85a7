"""LocalStack in an environment of its own: S3, SQS and the rest of AWS's API on one port."""

import subprocess
from pathlib import Path
from typing import ClassVar

import boto3
from botocore.config import Config

from local.services.process import ChildService, ServiceFailed, free_port, require_port
from local.services.tools import find_uv, once

REQUIREMENTS = ("localstack-core[base-runtime,runtime]==4.14.0", "service-identity")
NEWEST = "2026-03-01"
REGION = "us-east-1"


class LocalStackService(ChildService):
    """AWS's API on ``port``; what it holds is gone when it stops."""

    name: ClassVar = "localstack"
    start_seconds: ClassVar = 90

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._tools, self._home = tools_dir.absolute() / "localstack", state_dir.absolute() / "localstack"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def prepare(self) -> None:
        once(self._tools, _install)

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_AWS_PORT")
        settings = {
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "FILESYSTEM_ROOT": str(self._home),
        }
        self.spawn([self._tools / "bin" / "python", "-m", "localstack.runtime.main"], env=settings)

    def answers(self) -> bool:
        quick = Config(connect_timeout=1, read_timeout=10, retries={"max_attempts": 1})
        client = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106
            config=quick,
        )
        client.list_buckets()
        return True


def _install(target: Path) -> None:
    """Install into ``target``, which is renamed afterwards: only ``bin/python -m`` is used, never its scripts."""
    uv = find_uv()
    for command in (
        [uv, "venv", "--allow-existing", "--python", "3.13", str(target)],
        [uv, "pip", "install", "--python", str(target), "--exclude-newer", NEWEST, *REQUIREMENTS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(
                f"localstack: {done.stderr[-2000:]}\n"
                "Check the network, or set AWS_ENDPOINT_URL to a running LocalStack."
            )
