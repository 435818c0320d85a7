"""The object keys of an image or a video in its tenant's store."""

import re

from deeplens.images.model import is_video

THUMBNAILS = ("small", "medium")
PROCESSED = "processed/"
THUMBNAIL_PREFIXES = tuple(f"thumbnails/{size}/" for size in THUMBNAILS)
PREFIXES = ("images/", PROCESSED, *THUMBNAIL_PREFIXES)
"""Below each prefix, keys sort by their images' ids."""
OF_IMAGE = re.compile(rf"(?:{'|'.join(PREFIXES)})(img_[a-z0-9]{{1,40}})\.[^/.]+")


def original_key(media_id: str, extension: str) -> str:
    """The key of the original of an image or a video; ``extension`` with its dot, e.g. ``".jpg"``."""
    return f"{'videos' if is_video(media_id) else 'images'}/{media_id}{extension}"


def original_prefix(media_id: str) -> str:
    """The prefix of the original's key, whatever its extension."""
    return original_key(media_id, ".")


def poster_key(video_id: str) -> str:
    return f"posters/{video_id}.jpg"


def processed_key(image_id: str) -> str:
    return f"processed/{image_id}.jpg"


def thumbnail_key(image_id: str, size: str) -> str:
    return f"thumbnails/{size}/{image_id}.jpg"


def derived_keys(image_id: str) -> list[str]:
    """The keys of everything that can be created again from the original."""
    return [processed_key(image_id), *(thumbnail_key(image_id, size) for size in THUMBNAILS)]


def image_of(key: str) -> str | None:
    """The image that an object belongs to; None for other keys."""
    found = OF_IMAGE.fullmatch(key)
    return found[1] if found else None
