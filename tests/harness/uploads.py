"""Uploads of images without HTTP: the use case, and the publishing that its route does."""

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from deeplens.common.ports import EventPublisher
from deeplens.common.resolve import Resolver
from deeplens.errors import QuotaExceeded
from deeplens.formats.images import JPEG
from deeplens.http.dependencies import Publish
from deeplens.images.model import ImageRecord
from deeplens.tenants.limits import UNLIMITED
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import Accepted, AcceptUpload, Rejected, Upload

if TYPE_CHECKING:
    from tests.harness.flow import Flow


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


def refuse_next_row(flow: "Flow", meanwhile: Callable[[], object]) -> None:
    """Let the next image's row exceed the tenant's quota, after something else has happened."""
    genuine = flow.images.insert

    def insert(*_: Any) -> Any:
        flow.images.insert = genuine  # type: ignore[method-assign]
        meanwhile()
        raise QuotaExceeded(1, 10)

    flow.images.insert = insert  # type: ignore[method-assign]
