"""Run LocalStack in a separate virtual environment: S3, SQS and the rest of AWS's API on one port."""

import os
import shutil
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import boto3
from botocore.config import Config

from local.services.process import ChildService, ServiceFailed, free_port, require_port
from local.setup.localstack import LOCK, localstack_folder
from local.setup.tools import FetchFailed, find_uv, make_once

REGION = "us-east-1"
# S3 stores larger objects in a folder of /tmp that all LocalStacks of a machine share: two of them would delete each
# other's objects, and a second user could not write there. This script sets the folder to its only argument.
START = """\
import sys
from localstack.services.s3 import provider
provider.DEFAULT_S3_TMP_DIR = sys.argv[1]
from localstack.runtime.main import main
main()
"""
# LocalStack would index its 400 services at every start, which takes two seconds. This saves the index in a folder.
INDEX = """\
import sys
from localstack.aws import spec
spec.build_service_index_cache(f"{sys.argv[1]}/{spec._get_catalog_filename()}")
"""


class LocalStackService(ChildService):
    """AWS's API on ``port``; its data is lost when it stops."""

    name: ClassVar = "localstack"
    start_seconds: ClassVar = 90

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._tools = localstack_folder(tools_dir)
        self._home = state_dir.absolute() / "localstack"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def prepare(self) -> None:
        try:
            make_once(self._tools, _install)
        except FetchFailed as error:
            raise ServiceFailed(f"localstack: {error}") from None

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_AWS_PORT")
        settings = {
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "DNS_ADDRESS": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "FILESYSTEM_ROOT": str(self._home),
            "OVERRIDE_IN_DOCKER": "0",  # otherwise it writes to /var/lib in any container
            "LS_LOG": "warning",  # otherwise it logs each poll of each queue
        }
        shutil.rmtree(self._home, ignore_errors=True)
        cache = self._home / "var" / "lib" / "localstack" / "cache"
        cache.mkdir(parents=True)
        for index in self._tools.glob("service-catalog-*"):
            shutil.copy(index, cache)
        self.spawn([self._tools / "bin" / "python", "-c", START, self._home / "s3"], env=settings)

    def answers(self) -> bool:
        # Call S3 instead of /health, which reports "available" for services that fail at their first call.
        self._s3.list_buckets()
        return True

    @cached_property
    def _s3(self) -> Any:
        # Not localstack-client, which prefers the AWS_ENDPOINT_URL of this process: another LocalStack may run there.
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(connect_timeout=1, read_timeout=20, retries={"total_max_attempts": 1}, proxies={}),
        )


def _install(target: Path) -> None:
    """Install into ``target``. It is renamed later, which breaks its scripts, so only its ``bin/python`` is used."""
    uv = find_uv()
    for command in (
        [uv, "venv", "--allow-existing", "--python", "3.13", str(target)],
        [uv, "pip", "install", "--python", str(target), "--no-deps", "--require-hashes", "--requirements", str(LOCK)],
        [str(target / "bin" / "python"), "-c", INDEX, str(target)],
    ):
        elsewhere = {**os.environ, "FILESYSTEM_ROOT": str(target), "OVERRIDE_IN_DOCKER": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=elsewhere)
        if done.returncode:
            raise ServiceFailed(
                f"localstack: {done.stderr[-2000:]}\n"
                "Check the network, or set AWS_ENDPOINT_URL to a running LocalStack."
            )
