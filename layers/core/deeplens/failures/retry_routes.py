"""POST /v1/images/{id}/retry."""

from fastapi import APIRouter, Response

from deeplens.access.caller import Writer
from deeplens.failures.renew import RetryImage
from deeplens.http.dependencies import Injected
from deeplens.http.fields import ImageIdInPath
from deeplens.http.problems import responses
from deeplens.http.publish import Publishing
from deeplens.images import views
from deeplens.images.lookup import MERGED_CHANGE, live_image
from deeplens.images.ports import ImageRepository
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
    caller: Writer,
    images: Injected[ImageRepository],
    retry: Injected[RetryImage],
    publish: Publishing,
    response: Response,
    image_id: ImageIdInPath,
) -> AcceptedImage:
    """From the start. 409 unless it has failed, so a repeat is safe."""
    image = live_image(images, caller.tenant, image_id)
    publish(retry(caller.tenant, image))
    response.headers["Location"] = views.path_of(image.id)
    return views.accepted(image)
