"""Where an image's objects stand in its tenant's store."""

THUMBNAILS = ("small", "medium")


def original_key(image_id: str, extension: str) -> str:
    """``extension`` with its dot, e.g. ``".jpg"``."""
    return f"images/{image_id}{extension}"


def original_prefix(image_id: str) -> str:
    """Finds the original whatever its extension is."""
    return f"images/{image_id}."


def processed_key(image_id: str) -> str:
    return f"processed/{image_id}.jpg"


def thumbnail_key(image_id: str, size: str) -> str:
    return f"thumbnails/{size}/{image_id}.jpg"


def derived_keys(image_id: str) -> list[str]:
    """Everything that can be made again from the original."""
    return [processed_key(image_id), *(thumbnail_key(image_id, size) for size in THUMBNAILS)]
