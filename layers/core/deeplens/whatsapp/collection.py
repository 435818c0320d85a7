"""The collection as chats use it: media come in as by ``POST /v1/images``, under the same limits, and are searched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NewType

from deeplens.common.ids import keyed_id
from deeplens.common.resolve import Lazy
from deeplens.embedding.ports import Embedder
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.images.model import is_video
from deeplens.images.ports import ImageRepository
from deeplens.search.matching import FindMatches
from deeplens.tenants.limits import ResourceLimits, Storage, allowance, largest_file
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import Accepted, AcceptUpload, AcceptVideoUpload, Rejected, checked_upload
from deeplens.vectors.ports import SearchFilter
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.model import VideoRecord, VideoRepository
from deeplens.whatsapp import answers
from deeplens.whatsapp.answers import Found
from deeplens.whatsapp.chats import Effect, Uploaded
from deeplens.whatsapp.incoming import Media, file_name_of, kind_of, metadata_of

if TYPE_CHECKING:
    from deeplens.imaging.decoder import ImageDecoder

KEY = "whatsapp\0"
"""Begins the idempotency keys of messages; clients' own hold no NUL, so neither can be taken for the other."""
MaxMediaBytes = NewType("MaxMediaBytes", int)
"""Bytes of the largest file that is fetched from WhatsApp."""


@dataclass(frozen=True, slots=True)
class ChatCollection:
    """The images and videos of tenants, as their chats reach them.

    Parameters
    ----------
    decoder, find_matches, embedder : slow to import, and few messages need them.
    """

    accept: AcceptUpload
    accept_video: AcceptVideo
    accept_video_upload: AcceptVideoUpload
    images: ImageRepository
    videos: VideoRepository
    decoder: "Lazy[ImageDecoder]"
    default_limits: ResourceLimits
    max_media_bytes: MaxMediaBytes
    find_matches: Lazy[FindMatches]
    embedder: Lazy[Embedder]

    def largest_file(self, tenant: Tenant) -> int:
        """Bytes of the largest file that the tenant may send."""
        return largest_file(self._limits_of(tenant), self.max_media_bytes)

    def ingest(
        self, tenant: Tenant, message: WhatsAppMessage, media: Media, body: bytes, tags: tuple[str, ...]
    ) -> Effect:
        """Accept a picture or video; the same message is the same image.

        Raises
        ------
        InvalidImage, InvalidVideo
        ApiError
            The tenant's budget is exhausted, or a quota is.
        DependencyUnavailable
        """
        video, name, metadata = kind_of(message, media) == "video", file_name_of(message, media), metadata_of(message)
        media_id = keyed_id("vid" if video else "img", tenant.id, KEY + message.message_id)
        upload = checked_upload(media_id, body, name, self.decoder, keyed=True, tags=tags, metadata=metadata)
        accept: Callable[..., Accepted[Any] | Rejected] = self.accept_video_upload if video else self.accept
        done = accept(tenant, upload, self._limits_of(tenant))
        if isinstance(done, Rejected):
            reason = str(done.error)
            return Effect("refused", reason, done.error.code, answers.refused(reason), events=done.events)
        return Effect("ingested", image_id=done.media.id, file_name=done.media.file_name, events=done.events)

    def resume(self, tenant: Tenant, image_id: str) -> tuple[Uploaded, ...]:
        """The events of an accepted image, or video, that may not have been published."""
        if is_video(image_id):
            video = self.videos.find(tenant, image_id)
            return self.accept_video.again(tenant, video) if isinstance(video, VideoRecord) else ()
        return self.accept.resume(tenant, image_id)

    def similar(self, tenant: Tenant, body: bytes, limit: int) -> list[Found]:
        """Best matches of a picture that is not kept. Raises ``InvalidImage``, ``DependencyUnavailable``."""
        vectors = self.embedder().embed([self.decoder().standard_jpeg(body)], tenant.model).tolist()
        found = self.find_matches()(tenant, vectors, limit, None, SearchFilter())
        label = tenant.thresholds.label if tenant.thresholds else lambda _: ""
        return [Found(row.id, row.file_name, match.score, label(match.score)) for (match, row), *_ in found]

    def occupancy(self, tenant: Tenant) -> tuple[Storage, int | None]:
        """What the tenant stores, and how many images still fit; None where nothing limits them."""
        stored = self.images.totals(tenant)
        return stored, allowance(self._limits_of(tenant), stored, Storage()).images_left

    def _limits_of(self, tenant: Tenant) -> ResourceLimits:
        return tenant.effective_limits(self.default_limits)
