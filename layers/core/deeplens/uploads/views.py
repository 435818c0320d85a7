"""Direct uploads as the API shows them."""

from dataclasses import dataclass

from deeplens.http.schemas import view
from deeplens.images import views
from deeplens.images.model import ImageRecord, Step, is_video
from deeplens.images.ports import ImageRepository
from deeplens.storage.ports import FormPost
from deeplens.tenants.model import Tenant
from deeplens.uploads.model import DirectUpload, media_of, part_sizes
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
        ingested = upload.status == "ingested"
        media = media_of(self.images, self.videos, tenant, upload) if ingested else None
        video_id = upload.video_id if media is not None and is_video(media.id) else None
        image_id = upload.image_id if ingested and video_id is None else None
        failure = None
        match media:
            case ImageRecord(step=Step.FAILED) | VideoRecord(status="failed"):
                failure = view(UploadFailure, views.error_of(media))
        error = upload.refusal if upload.status in ("open", "failed") else None
        return view(
            UploadDetail,
            upload,
            upload_id=upload.id,
            status="failed" if failure else upload.status,
            image_id=image_id,
            video_id=video_id,
            error=failure or (view(UploadFailure, error) if error else None),
            form=view(UploadForm, form) if form else None,
            multipart=_plan(upload),
            links=UploadLinks(
                this=path_of(upload.id),
                image=views.path_of(image_id) if image_id else None,
                video=video_views.path_of(video_id) if video_id else None,
            ),
        )


def _plan(upload: DirectUpload) -> MultipartPlan | None:
    if upload.part_bytes is None or upload.status != "open":
        return None
    return MultipartPlan(part_bytes=upload.part_bytes, parts=len(part_sizes(upload.size_bytes, upload.part_bytes)))
