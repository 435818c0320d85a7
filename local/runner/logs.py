"""Limit the size of log files."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 20 * 1024 * 1024


def rotate(log: Path, max_bytes: int = MAX_BYTES) -> None:
    """Keep one older file. Processes append to the open file, so it is emptied in place."""
    with suppress(OSError):
        if log.stat().st_size > max_bytes:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
