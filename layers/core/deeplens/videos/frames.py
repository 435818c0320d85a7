"""Frames as images: their ids, rows and events."""

import hashlib
from uuid import UUID, uuid5

from deeplens.images.keys import original_key
from deeplens.images.model import NewImage
from deeplens.storage.ports import ObjectStore
from deeplens.videos.decoding.frames import Frame
from deeplens.videos.model import VideoRecord

NAMESPACE = UUID("c2f0a4d1-5d0b-5a2e-8f59-0d6f4bb0a7e3")


def frame_id(video_id: str, offset_seconds: float) -> str:
    """A frame's image id: the same video and offset is the same frame."""
    return f"img_{uuid5(NAMESPACE, f'{video_id}/{round(offset_seconds * 1e6)}').hex}"


def new_frame(video: VideoRecord, frame: Frame, store: ObjectStore) -> NewImage:
    image_id = frame_id(video.id, frame.offset_seconds)
    return NewImage(
        id=image_id,
        file_name=video.file_name,
        storage_path=store.uri(original_key(image_id, ".jpg")),
        mime_type="image/jpeg",
        size_bytes=len(frame.jpeg),
        sha256=hashlib.sha256(frame.jpeg).hexdigest(),
        uploaded_at=video.uploaded_at,
        tags=video.tags,
        metadata=video.metadata,
        video_id=video.id,
        frame_offset_seconds=frame.offset_seconds,
    )
