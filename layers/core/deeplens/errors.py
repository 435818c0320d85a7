"""Errors by what happens next: dead-letter now, retry this record, wait for a shared part, or answer a client."""

from typing import ClassVar


class DeepLensError(Exception):
    """Root of everything DeepLens raises on purpose."""


class PipelineError(DeepLensError):
    """A failure that belongs to one record or tenant; it becomes ``deeplens.processing.failed``.

    Attributes
    ----------
    code : stable and documented, e.g. ``"IMAGE_CORRUPT"``.
    retryable : whether the same event may succeed later.
    """

    code: ClassVar[str] = "PROCESSING_FAILED"
    retryable: ClassVar[bool] = False


class InvalidEvent(PipelineError):
    """The event can never be processed: it breaks its contract or points outside its tenant."""

    code = "INVALID_EVENT"


class InvalidImage(PipelineError):
    """The file is not an image that DeepLens accepts."""

    code = "INVALID_IMAGE"


class EmptyFile(InvalidImage):
    code = "FILE_EMPTY"


class FileTooLarge(InvalidImage):
    code = "FILE_TOO_LARGE"


class UnsupportedFormat(InvalidImage):
    code = "FORMAT_UNSUPPORTED"


class ImageCorrupt(InvalidImage):
    code = "IMAGE_CORRUPT"


class TooManyPixels(InvalidImage):
    code = "TOO_MANY_PIXELS"


class TooManyFrames(InvalidImage):
    code = "TOO_MANY_FRAMES"


class ChecksumMismatch(InvalidImage):
    """The bytes that arrived are not those that were declared."""

    code = "CHECKSUM_MISMATCH"


class StorageFull(PipelineError):
    """The tenant's quota has no room for a file that arrived."""

    code = "QUOTA_EXCEEDED"


class DuplicateImage(PipelineError):
    """The tenant takes no file twice, and has this one."""

    code = "DUPLICATE_IMAGE"


class ObjectNotFound(PipelineError):
    """No object stands at this key of the tenant's store."""

    code = "OBJECT_NOT_FOUND"
    retryable = True


class TenantNotFound(PipelineError):
    """No such tenant, or it was deleted. Events never provision one."""

    code = "TENANT_NOT_FOUND"


class ImageNotFound(PipelineError):
    code = "IMAGE_NOT_FOUND"


class VideoNotFound(PipelineError):
    code = "VIDEO_NOT_FOUND"


class TextUnsupported(PipelineError):
    """The model embeds images only."""

    code = "TEXT_UNSUPPORTED"


class ModelNotFound(PipelineError):
    """The inference endpoint does not serve this model and version."""

    code = "MODEL_NOT_FOUND"
    retryable = True


class ModelMismatch(PipelineError):
    """A vector of another model or size than the collection's."""

    code = "MODEL_MISMATCH"


class TransientError(PipelineError):
    """One record or tenant failed in a way that may pass."""

    code = "TRANSIENT"
    retryable = True


class TenantStoreDenied(TransientError):
    """The tenant's own store refused us: credentials or policy. ``reason`` is the store's own code for it."""

    code = "TENANT_STORE_DENIED"

    def __init__(self, detail: str = "", reason: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class StoreNotOwned(PipelineError):
    """A bucket of the platform's is not proved to be this installation's: nothing is swept, emptied or removed there.

    The message leaves the installations' ids out, as tenants read it in their maintenance runs.

    Attributes
    ----------
    found : the mark that the bucket carries; None when it carries none, or when its tags cannot be read.
    """

    code = "STORE_NOT_OWNED"

    def __init__(self, bucket: str, found: str | None = None, why: str = "") -> None:
        owner = why or ("belongs to another DeepLens installation" if found else "carries no mark of an installation")
        super().__init__(
            f"The store {bucket} {owner}, so nothing is swept or removed there. An operator who knows that no other "
            "installation uses it runs `deeplens tenants adopt TENANT`; for a new tenant, choose another id."
        )
        self.found = found


class TenantStoreAway(TransientError):
    """A store that the tenant registered does not answer; no other tenant has to wait for it."""

    code = "TENANT_STORE_UNAVAILABLE"


class StoreNotReady(PipelineError):
    """A registered store that is gone, or that lacks what its mode needs."""

    code = "STORE_NOT_READY"


class NotServed(PipelineError):
    """A file that is too large for an answer, in a store that serves none itself."""

    code = "CONTENT_NOT_SERVED"


class ObjectChanged(PipelineError):
    """Another object stands under this key than the one that the image was made of."""

    code = "OBJECT_CHANGED"


class MediaExpired(PipelineError):
    """WhatsApp no longer has a file that somebody sent."""

    code = "MEDIA_EXPIRED"


class WhatsAppUnavailable(TransientError):
    """WhatsApp does not answer, is busy, or does not accept our credentials."""

    code = "WHATSAPP_UNAVAILABLE"


class EndpointRefused(TransientError, ValueError):
    """A URL that a tenant gave leads, or may lead, to somewhere inside; the message says what to change."""

    code = "ENDPOINT_REFUSED"


class StageFailed(TransientError):
    """A stage raised something nobody foresaw for this record."""

    code = "STAGE_FAILED"


class DependencyUnavailable(DeepLensError):
    """A shared part is away: the record stays in its topic and no attempt is counted.

    Parameters
    ----------
    detail : what was tried.
    retry_after_seconds : when trying again makes sense.
    """

    part: ClassVar[str] = "dependency"

    def __init__(self, detail: str = "", retry_after_seconds: float = 1.0) -> None:
        super().__init__(f"{self.part} unavailable: {detail}" if detail else f"{self.part} unavailable")
        self.retry_after_seconds = retry_after_seconds


class DatabaseUnavailable(DependencyUnavailable):
    part = "database"


class StoreUnavailable(DependencyUnavailable):
    part = "object store"


class IndexUnavailable(DependencyUnavailable):
    part = "vector index"


class BrokerUnavailable(DependencyUnavailable):
    part = "broker"


class InferenceUnavailable(DependencyUnavailable):
    part = "inference endpoint"


class InferenceBusy(InferenceUnavailable):
    """The endpoint shed load; retry after ``retry_after_seconds``."""


class QueueUnavailable(DependencyUnavailable):
    part = "queue"


class AlertsUnavailable(DependencyUnavailable):
    part = "alert topic"


class TimeUp(DependencyUnavailable):
    """The invocation ends before this record could be worked; it comes again."""

    part = "time"


class SecretStoreUnavailable(DependencyUnavailable):
    part = "secret store"


class SecretNotFound(DeepLensError):
    """No secret has this name."""


class DevelopmentCredentials(DeepLensError):
    """A deployment holds clients or users that everybody knows."""


class QuotaExceeded(DeepLensError):
    """One image more would exceed what its tenant may store; ``images`` and ``bytes`` are what it stores."""

    def __init__(self, images: int, bytes: int) -> None:
        super().__init__(f"{images} images of {bytes} bytes are stored")
        self.images, self.bytes = images, bytes


class ImageMerged(DeepLensError):
    """Another image, ``into``, answers for ``image_id``."""

    def __init__(self, image_id: str, into: str) -> None:
        super().__init__(f"{image_id} was merged into {into}")
        self.image_id, self.into = image_id, into


class ApiError(DeepLensError):
    """An answer to an HTTP client, RFC 9457.

    Parameters
    ----------
    status : HTTP status.
    code : stable slug; the problem's ``type`` is ``/problems/{code}``.
    title : short and the same for every occurrence.
    detail : what is wrong here and what to do next.
    headers : e.g. ``{"Retry-After": "2"}``.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail or title)
        self.status, self.code, self.title, self.detail, self.headers = status, code, title, detail, headers or {}
