"""Uploads as the API shows them."""

from deeplens.api import views
from deeplens.contracts.uploads import MultipartPlan, UploadDetail, UploadFailure, UploadForm, UploadLinks
from deeplens.direct_uploads import DirectUpload, FormPost, part_sizes
from deeplens.domain import ImageRecord, Step, Tombstone


def path_of(upload_id: str) -> str:
    return f"/v1/uploads/{upload_id}"


def detail(upload: DirectUpload, image: ImageRecord | Tombstone | None, form: FormPost | None = None) -> UploadDetail:
    """An upload; once it is an image, that image's failure is its own."""
    failed = isinstance(image, ImageRecord) and image.step is Step.FAILED
    image_id = upload.image_id if upload.status == "ingested" else None
    return UploadDetail(
        upload_id=upload.id,
        status="failed" if failed else upload.status,
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        image_id=image_id,
        error=_image_failure(image) if isinstance(image, ImageRecord) and failed else _failure(upload),
        form=UploadForm(url=form.url, fields=dict(form.fields), expires_at=form.expires_at) if form else None,
        multipart=_plan(upload),
        links=UploadLinks(this=path_of(upload.id), image=views.path_of(image_id) if image_id else None),
    )


def _image_failure(image: ImageRecord) -> UploadFailure:
    return UploadFailure(
        code=image.error_code or "PROCESSING_FAILED",
        message=image.error_message or "processing failed",
        retryable=bool(image.error_retryable),
    )


def _failure(upload: DirectUpload) -> UploadFailure | None:
    found = upload.refusal if upload.status in ("open", "failed") else None
    return UploadFailure(code=found.code, message=found.message, retryable=found.retryable) if found else None


def _plan(upload: DirectUpload) -> MultipartPlan | None:
    if upload.part_bytes is None or upload.status != "open":
        return None
    return MultipartPlan(part_bytes=upload.part_bytes, parts=len(part_sizes(upload.size_bytes, upload.part_bytes)))
