"""File names that are safe to show."""

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_FILE_NAME = 200


def file_name_of(given: str | None, extension: str, kind: str = "image") -> str:
    """The last part of the client's file name, without characters that could mislead a terminal or a header."""
    last = re.split(r"[/\\]", given or "")[-1]
    name = UNPRINTABLE.sub("", last).strip().strip(".")
    return name[-MAX_FILE_NAME:] or f"{kind}{extension}"
