"""Name the version of LocalStack and the folder that it is installed in."""

from pathlib import Path

from local.setup.tools import tool_folder

REQUIREMENTS = ("localstack-core[base-runtime,runtime]==4.14.0", "service-identity")
# Newer versions of its dependencies break it.
EXCLUDE_NEWER = "2026-03-01"
DOWNLOAD_MEGABYTES = 105
"""Size of the downloads for ``REQUIREMENTS`` and their dependencies."""


def localstack_folder(tools_dir: Path) -> Path:
    return tool_folder(tools_dir, "localstack", " ".join((*REQUIREMENTS, EXCLUDE_NEWER)))
