"""Which LocalStack is installed, and where."""

from pathlib import Path

from local.setup.tools import folder_of

REQUIREMENTS = ("localstack-core[base-runtime,runtime]==4.14.0", "service-identity")
# Its newest dependencies break it.
NEWEST = "2026-03-01"
MEGABYTES = 105
"""What pip's index sends for ``REQUIREMENTS`` and all that they need."""


def localstack_folder(tools_dir: Path) -> Path:
    return folder_of(tools_dir, "localstack", " ".join((*REQUIREMENTS, NEWEST)))
