"""Direct uploads as the API shows them."""

from dataclasses import dataclass

from deeplens.images import views
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import FormPost
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import DirectUpload, part_sizes
from deeplens.uploads.schemas import MultipartPlan, UploadDetail, UploadFailure, UploadForm, UploadLinks
from deeplens.videos import views as video_views
from deeplens.videos.model import VideoRecord, VideoRepository


def path_of(upload_id: str) -> str:
    return f"/v1/uploads/{upload_id}"


@dataclass(frozen=True, slots=True)
class UploadViews:
    """Shows an upload; once it is an image or a video, a failure of that one is the upload's."""

    images: ImageRepository
    videos: VideoRepository

    def __call__(self, tenant: Tenant, upload: DirectUpload, form: FormPost | None = None) -> UploadDetail:
        media = self._media(tenant, upload) if upload.status == "ingested" else None
        is_video = isinstance(media, VideoRecord | Tombstone)
        image_id = upload.image_id if upload.status == "ingested" and not is_video else None
        video_id = upload.video_id if is_video else None
        failure = _failure_of_media(media)
        return UploadDetail(
            upload_id=upload.id,
            status="failed" if failure else upload.status,
            file_name=upload.file_name,
            size_bytes=upload.size_bytes,
            sha256=upload.sha256,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
            image_id=image_id,
            video_id=video_id,
            error=failure or _failure(upload),
            form=UploadForm(url=form.url, fields=dict(form.fields), expires_at=form.expires_at) if form else None,
            multipart=_plan(upload),
            links=UploadLinks(
                this=path_of(upload.id),
                image=views.path_of(image_id) if image_id else None,
                video=video_views.path_of(video_id) if video_id else None,
            ),
        )

    def _media(self, tenant: Tenant, upload: DirectUpload) -> ImageRecord | Tombstone | VideoRecord | Tombstone | None:
        image = self.images.find(tenant, [upload.image_id]).get(upload.image_id)
        return image or self.videos.find(tenant, upload.video_id)


def _failure_of_media(media: object) -> UploadFailure | None:
    match media:
        case ImageRecord(step=Step.FAILED) | VideoRecord(status="failed"):
            return UploadFailure(
                code=media.error_code or "PROCESSING_FAILED",
                message=media.error_message or "processing failed",
                retryable=bool(media.error_retryable),
            )
    return None


def _failure(upload: DirectUpload) -> UploadFailure | None:
    found = upload.refusal if upload.status in ("open", "failed") else None
    return UploadFailure(code=found.code, message=found.message, retryable=found.retryable) if found else None


def _plan(upload: DirectUpload) -> MultipartPlan | None:
    if upload.part_bytes is None or upload.status != "open":
        return None
    return MultipartPlan(part_bytes=upload.part_bytes, parts=len(part_sizes(upload.size_bytes, upload.part_bytes)))
