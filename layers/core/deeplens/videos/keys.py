"""Object keys of a video."""


def video_key(video_id: str, extension: str) -> str:
    """``extension`` with its dot, e.g. ``".mp4"``."""
    return f"videos/{video_id}{extension}"


def video_prefix(video_id: str) -> str:
    return f"videos/{video_id}."


def poster_key(video_id: str) -> str:
    return f"posters/{video_id}.jpg"
