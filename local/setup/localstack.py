"""Name the versions of LocalStack and its dependencies, and the folder that they are installed in."""

from pathlib import Path

from local.setup.tools import tool_folder

LOCK = Path(__file__).with_name("localstack.lock")
"""What ``localstack.txt`` needs, with hashes; ``make lock`` writes it."""
DOWNLOAD_MEGABYTES = 105
"""Size of the downloads for ``LOCK``."""


def localstack_folder(tools_dir: Path) -> Path:
    return tool_folder(tools_dir, "localstack", LOCK.read_text())
