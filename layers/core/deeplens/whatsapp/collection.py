"""``ChatCollection``: what chats send goes the way of ``POST /v1/images``, and is searched as uploads are."""

import hashlib
from typing import TYPE_CHECKING

from deeplens.common.file_names import file_name_of
from deeplens.common.ids import keyed_id, keyed_image_id
from deeplens.common.outbox import Outbox
from deeplens.events.images import ImageUploaded
from deeplens.events.videos import VideoUploaded
from deeplens.search.matching import FindMatches
from deeplens.tenants.limits import Storage, allowance
from deeplens.tenants.model import Tenant
from deeplens.uploads.accept_form import AcceptUpload, Upload
from deeplens.uploads.accept_video_form import AcceptVideoUpload, VideoUpload
from deeplens.vectors.ports import SearchFilter
from deeplens.videos.accept import AcceptVideo
from deeplens.videos.model import VideoRecord, is_video
from deeplens.whatsapp.answers import Found
from deeplens.whatsapp.chats import Ingested, Occupancy, Post, Uploaded

if TYPE_CHECKING:
    from deeplens.http.dependencies import ApiParts

KEY = "whatsapp\0"
"""Begins the idempotency keys of messages; clients' own hold no NUL, so neither can be taken for the other."""


class CollectionOfChats:
    """The collection of tenants over the API's parts, each of which is built when it is first used."""

    def __init__(self, parts: "ApiParts") -> None:
        self._parts = parts

    def largest_file(self, tenant: Tenant) -> int:
        most = self._parts.settings.whatsapp_max_media_bytes
        return min(tenant.effective_limits(self._parts.default_limits).max_file_bytes or most, most)

    def ingest(self, tenant: Tenant, post: Post) -> Ingested:
        from deeplens.imaging import inspect

        header = inspect(post.body, self._parts.limits)
        upload = Upload(
            image_id=keyed_image_id(tenant.id, KEY + post.message_id),
            keyed=True,
            body=post.body,
            sha256=hashlib.sha256(post.body).hexdigest(),
            file_name=file_name_of(post.file_name, header.type.extension),
            mime_type=header.type.mime_type,
            extension=header.type.extension,
            format=header.type.format,
            width=header.width,
            height=header.height,
            tags=post.tags,
            metadata=dict(post.metadata),
        )
        outbox = Outbox()
        done = self._accept(outbox)(tenant, upload, tenant.effective_limits(self._parts.default_limits))
        return Ingested(done.image.id, done.image.file_name, _uploaded(outbox))

    def ingest_video(self, tenant: Tenant, post: Post) -> Ingested:
        from deeplens.formats.videos import HEAD_BYTES, sniff_video

        parts, kind, outbox = self._parts, sniff_video(post.body[:HEAD_BYTES]), Outbox()
        upload = VideoUpload(
            video_id=keyed_id("vid", tenant.id, KEY + post.message_id),
            keyed=True,
            body=post.body,
            file_name=file_name_of(post.file_name, kind.extension, "video"),
            mime_type=kind.mime_type,
            extension=kind.extension,
            tags=post.tags,
            metadata=dict(post.metadata),
        )
        accept = AcceptVideoUpload(self._accept_video(), parts.stores, parts.videos, parts.images, outbox, parts.clock)
        video, _ = accept(tenant, upload, tenant.effective_limits(parts.default_limits), None)
        return Ingested(video.id, video.file_name, _uploaded(outbox))

    def resume(self, tenant: Tenant, image_id: str) -> tuple[Uploaded, ...]:
        if is_video(image_id):
            video = self._parts.videos.find(tenant, image_id)
            return self._accept_video().again(tenant, video) if isinstance(video, VideoRecord) else ()
        outbox = Outbox()
        self._accept(outbox).resume(tenant, image_id)
        return _uploaded(outbox)

    def similar(self, tenant: Tenant, body: bytes, limit: int) -> list[Found]:
        from deeplens.imaging import WHOLE, standard_jpeg

        parts = self._parts
        vectors = parts.embedder.embed([standard_jpeg(body, parts.limits, WHOLE)], tenant.model).tolist()
        found = FindMatches(parts.index, parts.images)(tenant, vectors, limit, None, SearchFilter())
        best = [matches[0] for matches in found]
        label = tenant.thresholds.label if tenant.thresholds else lambda _: ""
        return [Found(row.id, row.file_name, match.score, label(match.score)) for match, row in best]

    def occupancy(self, tenant: Tenant) -> Occupancy:
        stored = self._parts.images.totals(tenant)
        limits = tenant.effective_limits(self._parts.default_limits)
        return Occupancy(stored, allowance(limits, stored, Storage()).images_left)

    def _accept(self, outbox: Outbox) -> AcceptUpload:
        parts = self._parts
        return AcceptUpload(
            parts.stores, parts.images, parts.duplicates, parts.pending, outbox, parts.clock, parts.pending_due
        )

    def _accept_video(self) -> AcceptVideo:
        parts = self._parts
        return AcceptVideo(parts.videos, parts.pending_videos, parts.pending_videos_due, parts.clock)


def _uploaded(outbox: Outbox) -> tuple[Uploaded, ...]:
    return tuple(one.event for one in outbox.messages if isinstance(one.event, ImageUploaded | VideoUploaded))
