"""Uploads of images without HTTP: the use case, and the publishing that its route does."""

from hashlib import sha256

from deeplens.common.ports import EventPublisher
from deeplens.common.resolve import Resolver
from deeplens.formats.images import JPEG
from deeplens.http.dependencies import Publish
from deeplens.images.model import ImageRecord
from deeplens.tenants.limits import UNLIMITED
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import Accepted, AcceptUpload, Rejected, Upload


def jpeg_upload(image_id: str, body: bytes) -> Upload:
    """An upload with an idempotency key."""
    header = {"width": 64, "height": 48, "format": "JPEG"}
    return Upload(image_id, True, body, sha256(body).hexdigest(), "a.jpg", JPEG, header)


def send_upload(container: Resolver, tenant: Tenant, upload: Upload) -> Accepted[ImageRecord]:
    """Accept an upload and publish its events. Raises ``ApiError`` where the upload is rejected."""
    done = container.build(AcceptUpload)(tenant, upload, UNLIMITED)
    Publish(container.resolve(EventPublisher))(done.events)  # type: ignore[type-abstract]
    if isinstance(done, Rejected):
        raise done.error
    return done
