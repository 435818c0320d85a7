"""Uploads as the API shows them."""

from deeplens.images import views
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.storage.ports import FormPost
from deeplens.uploads.model import DirectUpload, part_sizes
from deeplens.uploads.schemas import MultipartPlan, UploadDetail, UploadFailure, UploadForm, UploadLinks
from deeplens.videos import views as video_views
from deeplens.videos.model import VideoRecord, VideoTombstone

type Become = ImageRecord | Tombstone | VideoRecord | VideoTombstone | None


def path_of(upload_id: str) -> str:
    return f"/v1/uploads/{upload_id}"


def detail(upload: DirectUpload, found: Become, form: FormPost | None = None) -> UploadDetail:
    """An upload; once it is an image or a video, that one's failure is its own."""
    error = _failure_of(found)
    video = isinstance(found, VideoRecord | VideoTombstone)
    image_id = upload.image_id if upload.status == "ingested" and not video else None
    video_id = upload.video_id if video else None
    return UploadDetail(
        upload_id=upload.id,
        status="failed" if error else upload.status,
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        image_id=image_id,
        video_id=video_id,
        error=error or _failure(upload),
        form=UploadForm(url=form.url, fields=dict(form.fields), expires_at=form.expires_at) if form else None,
        multipart=_plan(upload),
        links=UploadLinks(
            this=path_of(upload.id),
            image=views.path_of(image_id) if image_id else None,
            video=video_views.path_of(video_id) if video_id else None,
        ),
    )


def _failure_of(found: Become) -> UploadFailure | None:
    """Why what an upload has become failed, if it did."""
    failed_image = isinstance(found, ImageRecord) and found.step is Step.FAILED
    if not failed_image and not (isinstance(found, VideoRecord) and found.status == "failed"):
        return None
    assert isinstance(found, ImageRecord | VideoRecord)
    return UploadFailure(
        code=found.error_code or "PROCESSING_FAILED",
        message=found.error_message or "processing failed",
        retryable=bool(found.error_retryable),
    )


def _failure(upload: DirectUpload) -> UploadFailure | None:
    found = upload.refusal if upload.status in ("open", "failed") else None
    return UploadFailure(code=found.code, message=found.message, retryable=found.retryable) if found else None


def _plan(upload: DirectUpload) -> MultipartPlan | None:
    if upload.part_bytes is None or upload.status != "open":
        return None
    return MultipartPlan(part_bytes=upload.part_bytes, parts=len(part_sizes(upload.size_bytes, upload.part_bytes)))
