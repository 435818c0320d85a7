"""POST /v1/images/{id}/retry."""

from fastapi import APIRouter, Response

from deeplens.access.caller import Writer
from deeplens.failures.renew import Renew, RetryImage
from deeplens.http.dependencies import Parts, Traceparent
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import responses
from deeplens.images import views
from deeplens.images.lookup import MERGED_CHANGE, live_image
from deeplens.images.schemas import AcceptedImage

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.post(
    "/{image_id}/retry",
    status_code=202,
    summary="Process a failed image again",
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}, "description": "the image"}}},
        **MERGED_CHANGE,
        **responses(404, 409),
    },
)
def retry_image(
    caller: Writer, parts: Parts, traceparent: Traceparent, response: Response, image_id: ImageIdInPath
) -> AcceptedImage:
    """From the start. 409 unless it has failed, so a repeat is safe."""
    image = live_image(parts.images, caller.tenant, image_id)
    renew = Renew(parts.images, parts.pending, parts.pending_due, parts.clock)
    RetryImage(renew, parts.dead_letters, parts.publisher, parts.clock)(caller.tenant, image, traceparent)
    response.headers["Location"] = views.path_of(image.id)
    return views.accepted(image)
