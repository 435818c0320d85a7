"""Errors by what happens next: dead-letter now, retry this record, wait for a shared dependency, or answer a client."""

from typing import ClassVar


class DeepLensError(Exception):
    """Base class of all errors that DeepLens raises."""


class PipelineError(DeepLensError):
    """A failure of one record or tenant; it is published to ``deeplens.processing.failed``.

    Subclasses are given these as class arguments, or inherit them.

    Attributes
    ----------
    code : stable and documented, e.g. ``"IMAGE_CORRUPT"``.
    retryable : whether the same event may succeed later.
    status : of the response, where a request raises the error; 500 hides code and message.
    """

    code: ClassVar[str] = "PROCESSING_FAILED"
    retryable: ClassVar[bool] = False
    status: ClassVar[int] = 500

    def __init_subclass__(cls, code: str = "", retryable: bool = False, status: int = 0) -> None:
        cls.code = code or cls.code
        cls.retryable = retryable or cls.retryable
        cls.status = status or cls.status


class InvalidEvent(PipelineError, code="INVALID_EVENT"):
    """The event can never be processed: it breaks its contract or points outside its tenant."""


class InvalidImage(PipelineError, code="INVALID_IMAGE", status=422):
    """The file is not an image that DeepLens accepts."""


class EmptyFile(InvalidImage, code="FILE_EMPTY"): ...


class FileTooLarge(InvalidImage, code="FILE_TOO_LARGE", status=413): ...


class UnsupportedFormat(InvalidImage, code="FORMAT_UNSUPPORTED", status=415): ...


class ImageCorrupt(InvalidImage, code="IMAGE_CORRUPT"): ...


class TooManyPixels(InvalidImage, code="TOO_MANY_PIXELS"): ...


class TooManyFrames(InvalidImage, code="TOO_MANY_FRAMES"): ...


class DecoderCrashed(InvalidImage, code="DECODER_CRASHED"):
    """Decoding the file ended the decoder's process, or broke it."""


class DecoderTimeout(InvalidImage, code="DECODER_TIMEOUT"):
    """Decoding the file takes longer than is allowed."""


class DecoderOutOfMemory(InvalidImage, code="DECODER_OUT_OF_MEMORY"):
    """Decoding the file takes more memory than is allowed."""


class ChecksumMismatch(InvalidImage, code="CHECKSUM_MISMATCH"):
    """The file does not have the declared checksum."""


class StorageFull(PipelineError, code="QUOTA_EXCEEDED", status=413):
    """The file exceeds the tenant's storage quota."""


class DuplicateImage(PipelineError, code="DUPLICATE_IMAGE", status=409):
    """The tenant rejects duplicate files, and has this file already."""


class ObjectNotFound(PipelineError, code="OBJECT_NOT_FOUND", retryable=True, status=404):
    """The tenant's store has no object with this key."""


class TenantNotFound(PipelineError, code="TENANT_NOT_FOUND", status=403):
    """The tenant does not exist or was deleted; events never provision a tenant."""


class ImageNotFound(PipelineError, code="IMAGE_NOT_FOUND", status=404): ...


class VideoNotFound(PipelineError, code="VIDEO_NOT_FOUND", status=404): ...


class TextUnsupported(PipelineError, code="TEXT_UNSUPPORTED", status=409):
    """The model embeds images only."""


class ModelNotFound(PipelineError, code="MODEL_NOT_FOUND", retryable=True, status=503):
    """The inference endpoint does not serve this model and version."""


class ModelMismatch(PipelineError, code="MODEL_MISMATCH", status=409):
    """The vector comes from another model than the collection, or has another size."""


class TransientError(PipelineError, code="TRANSIENT", retryable=True, status=503):
    """One record or tenant failed, and a retry may succeed."""


class TenantStoreDenied(TransientError, code="TENANT_STORE_DENIED"):
    """The tenant's store denied access, by credentials or policy; ``reason`` is the store's error code."""

    def __init__(self, detail: str = "", reason: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class StoreNotOwned(PipelineError, code="STORE_NOT_OWNED", status=409):
    """A bucket does not carry this installation's mark, so nothing may be deleted in it.

    The message contains no installation ids, as tenants read it in their maintenance runs.

    Attributes
    ----------
    found : the bucket's mark; None when it has none, or when its tags cannot be read.
    """

    def __init__(self, bucket: str, found: str | None = None, why: str = "") -> None:
        owner = why or ("belongs to another DeepLens installation" if found else "carries no mark of an installation")
        super().__init__(
            f"The store {bucket} {owner}, so nothing is swept or removed there. An operator who knows that no other "
            "installation uses it runs `deeplens tenants adopt TENANT`; for a new tenant, choose another id."
        )
        self.found = found


class TenantStoreUnavailable(TransientError, code="TENANT_STORE_UNAVAILABLE"):
    """A store that the tenant registered does not answer; other tenants are not affected."""


class StoreNotReady(PipelineError, code="STORE_NOT_READY", status=409):
    """A registered store was removed, or lacks what its mode requires."""


class NotServed(PipelineError, code="CONTENT_NOT_SERVED", status=409):
    """The file is too large for a response, and its store has no presigned URLs."""


class ObjectChanged(PipelineError, code="OBJECT_CHANGED", status=409):
    """The object under this key is no longer the one that the image was made from."""


class MediaExpired(PipelineError, code="MEDIA_EXPIRED", status=410):
    """WhatsApp no longer has the file."""


class WhatsAppUnavailable(TransientError, code="WHATSAPP_UNAVAILABLE"):
    """WhatsApp does not answer, is busy, or rejects our credentials."""


class EndpointRefused(TransientError, ValueError, code="ENDPOINT_REFUSED"):
    """A tenant's URL may lead to an internal address; the message says what to change."""


class StageFailed(TransientError, code="STAGE_FAILED"):
    """A stage raised an unexpected error for this record."""


TENANTS_FAULTS = (
    InvalidImage,
    StorageFull,
    DuplicateImage,
    ObjectNotFound,
    ObjectChanged,
    TenantNotFound,
    TenantStoreDenied,
    TenantStoreUnavailable,
    StoreNotReady,
    MediaExpired,
    EndpointRefused,
)
"""Failures that the platform's operators cannot mend: they raise no alarm."""


class DependencyUnavailable(DeepLensError):
    """A shared dependency is unavailable: the record stays in its topic and no attempt is counted.

    Parameters
    ----------
    detail : the reason, for the log.
    retry_after_seconds : recommended wait before a retry.
    """

    dependency: ClassVar[str] = "dependency"

    def __init_subclass__(cls, dependency: str = "") -> None:
        cls.dependency = dependency or cls.dependency

    def __init__(self, detail: str = "", retry_after_seconds: float = 1.0) -> None:
        super().__init__(f"{self.dependency} unavailable: {detail}" if detail else f"{self.dependency} unavailable")
        self.retry_after_seconds = retry_after_seconds


class DatabaseUnavailable(DependencyUnavailable, dependency="database"): ...


class StoreUnavailable(DependencyUnavailable, dependency="object store"): ...


class IndexUnavailable(DependencyUnavailable, dependency="vector index"): ...


class BrokerUnavailable(DependencyUnavailable, dependency="broker"): ...


class InferenceUnavailable(DependencyUnavailable, dependency="inference endpoint"): ...


class InferenceBusy(InferenceUnavailable):
    """The endpoint rejected the request to shed load; retry after ``retry_after_seconds``."""


class QueueUnavailable(DependencyUnavailable, dependency="queue"): ...


class AlertsUnavailable(DependencyUnavailable, dependency="alert topic"): ...


class MailUnavailable(DependencyUnavailable, dependency="mail service"): ...


class TracesUnavailable(DependencyUnavailable, dependency="trace store"): ...


class TimeUp(DependencyUnavailable, dependency="time"):
    """The invocation ends before it could process this record, which is delivered again."""


class SecretStoreUnavailable(DependencyUnavailable, dependency="secret store"): ...


class SecretNotFound(DeepLensError):
    """No secret has this name."""


class MailRejected(DeepLensError):
    """The mail service does not take this mail; it takes others."""


class DevelopmentCredentials(DeepLensError):
    """A deployment has the publicly known clients or users of development."""


class QuotaExceeded(DeepLensError):
    """One more image would exceed the tenant's quota; ``images`` and ``bytes`` are its present usage."""

    def __init__(self, images: int, bytes: int) -> None:
        super().__init__(f"{images} images of {bytes} bytes are stored")
        self.images, self.bytes = images, bytes


class ImageMerged(DeepLensError):
    """The image ``image_id`` was merged into the image ``into``."""

    def __init__(self, image_id: str, into: str) -> None:
        super().__init__(f"{image_id} was merged into {into}")
        self.image_id, self.into = image_id, into


class ApiError(DeepLensError):
    """An error response to an HTTP client, RFC 9457.

    Parameters
    ----------
    status : HTTP status.
    code : stable slug; the problem's ``type`` is ``/problems/{code}``.
    title : short, the same for every occurrence.
    detail : what is wrong in this request and what to do next.
    headers : e.g. ``{"Retry-After": "2"}``.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail or title)
        self.status, self.code, self.title, self.detail, self.headers = status, code, title, detail, headers or {}
