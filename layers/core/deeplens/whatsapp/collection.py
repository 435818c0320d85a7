"""Implements ``ChatCollection``: accepts media of chats as ``POST /v1/images`` does, and searches with them."""

from typing import TYPE_CHECKING

from deeplens.common.ids import keyed_id
from deeplens.common.resolve import Lazy
from deeplens.embedding.ports import Embedder
from deeplens.images.ports import ImageRepository
from deeplens.search.matching import FindMatches
from deeplens.tenants.limits import ResourceLimits, Storage, allowance
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import AcceptUpload, Rejected, checked_upload
from deeplens.uploads.accept_video_form import AcceptVideoUpload, checked_video_upload
from deeplens.vectors.ports import SearchFilter
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.model import VideoRecord, VideoRepository, is_video
from deeplens.whatsapp.answers import Found
from deeplens.whatsapp.chats import Ingested, MaxMediaBytes, Occupancy, Post, Uploaded

if TYPE_CHECKING:
    from deeplens.imaging.limits import Limits

KEY = "whatsapp\0"
"""Begins the idempotency keys of messages; clients' own hold no NUL, so neither can be taken for the other."""


class CollectionOfChats:
    """The images and videos of tenants, as their chats reach them.

    Parameters
    ----------
    limits, find_matches, embedder : slow to import, and few messages need them.
    """

    def __init__(
        self,
        accept: AcceptUpload,
        accept_video: AcceptVideo,
        accept_video_upload: AcceptVideoUpload,
        images: ImageRepository,
        videos: VideoRepository,
        limits: "Lazy[Limits]",
        default_limits: ResourceLimits,
        max_media_bytes: MaxMediaBytes,
        find_matches: Lazy[FindMatches],
        embedder: Lazy[Embedder],
    ) -> None:
        self._accept, self._accept_video, self._accept_video_upload = accept, accept_video, accept_video_upload
        self._images, self._videos = images, videos
        self._limits, self._default_limits, self._max_media_bytes = limits, default_limits, max_media_bytes
        self._find_matches, self._embedder = find_matches, embedder

    def largest_file(self, tenant: Tenant) -> int:
        return min(self._limits_of(tenant).max_file_bytes or self._max_media_bytes, self._max_media_bytes)

    def ingest(self, tenant: Tenant, post: Post) -> Ingested:
        upload = checked_upload(
            keyed_id("img", tenant.id, KEY + post.message_id),
            post.body,
            post.file_name,
            self._limits(),
            keyed=True,
            tags=post.tags,
            metadata=dict(post.metadata),
        )
        done = self._accept(tenant, upload, self._limits_of(tenant))
        if isinstance(done, Rejected):
            raise done.error
        return Ingested(done.image.id, done.image.file_name, done.events)

    def ingest_video(self, tenant: Tenant, post: Post) -> Ingested:
        upload = checked_video_upload(
            keyed_id("vid", tenant.id, KEY + post.message_id),
            post.body,
            post.file_name,
            keyed=True,
            tags=post.tags,
            metadata=dict(post.metadata),
        )
        done = self._accept_video_upload(tenant, upload, self._limits_of(tenant))
        return Ingested(done.video.id, done.video.file_name, done.events)

    def resume(self, tenant: Tenant, image_id: str) -> tuple[Uploaded, ...]:
        if is_video(image_id):
            video = self._videos.find(tenant, image_id)
            return self._accept_video.again(tenant, video) if isinstance(video, VideoRecord) else ()
        return self._accept.resume(tenant, image_id)

    def similar(self, tenant: Tenant, body: bytes, limit: int) -> list[Found]:
        from deeplens.imaging import WHOLE, standard_jpeg

        vectors = self._embedder().embed([standard_jpeg(body, self._limits(), WHOLE)], tenant.model).tolist()
        found = self._find_matches()(tenant, vectors, limit, None, SearchFilter())
        best = [matches[0] for matches in found]
        label = tenant.thresholds.label if tenant.thresholds else lambda _: ""
        return [Found(row.id, row.file_name, match.score, label(match.score)) for match, row in best]

    def occupancy(self, tenant: Tenant) -> Occupancy:
        stored = self._images.totals(tenant)
        return Occupancy(stored, allowance(self._limits_of(tenant), stored, Storage()).images_left)

    def _limits_of(self, tenant: Tenant) -> ResourceLimits:
        return tenant.effective_limits(self._default_limits)
