"""Send one file: skip it if it is known, send it directly, or through the store when it is large."""

import stat
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from local.upload.client import Api, Refused
from local.upload.files import digest_and_kind, kind_at, printable
from local.upload.journal import Entry, Journal

SMALL_BYTES = 4_000_000
"""Size of files that fit into one request to the API."""
POLL_SECONDS, LONGEST_POLL_SECONDS, PATIENCE_SECONDS = 0.5, 5.0, 300.0
PROCESSING_SECONDS = 30.0
"""Seconds that a worker waits for processing."""
PROCESSED = ("completed", "failed")
CREDENTIALS = {401, 403}


class Sender:
    """Sends files; every step is noted before the next, so that a run may stop anywhere.

    Parameters
    ----------
    dry_run : look and ask, but send nothing.
    """

    def __init__(self, api: Api, journal: Journal, tags: Sequence[str], *, dry_run: bool = False) -> None:
        self._api, self._journal, self._tags, self._dry_run = api, journal, list(tags), dry_run
        self._claiming = threading.Lock()

    def hashed(self, entry: Entry, *, named: bool) -> Entry:
        """The entry with its digest; settled where it is no image or video. What was left out on the way through a
        folder is no failure, unlike what the user named."""
        try:
            digest, kind = digest_and_kind(entry.path)
        except OSError as error:
            return replace(entry, state="failed", code="unreadable", reason=error.strerror or str(error))
        entry = replace(entry, sha256=digest)
        if kind in ("image", "video"):
            return entry
        return replace(
            entry, state="failed" if named else "skipped", code="not-an-image", reason="neither image nor video"
        )

    def known(self, digests: Sequence[str]) -> dict[str, str]:
        """Images by the digests that the server has an image of."""
        if not digests:
            return {}
        answer = self._api.call("POST", "/images/check", json={"sha256": list(dict.fromkeys(digests))})
        return {one["sha256"]: one["imageId"] for one in answer["known"] if one["status"] != "failed"}

    def settled(self, entry: Entry, known: dict[str, str]) -> Entry:
        """What becomes of a file that is an image. Raises ``Refused`` where the credentials are, and ``Stopped``."""
        entry = self._claimed(replace(entry, key=entry.key or uuid.uuid4().hex), known.get(entry.sha256 or ""))
        if self._dry_run or entry.state != "sending":
            return entry
        try:
            sent = self._small(entry) if is_small_image(entry) else self._large(entry)
        except Refused as error:
            if error.status in CREDENTIALS:
                raise
            return replace(entry, state="failed", code=error.code, reason=error.reason)
        except OSError as error:
            return replace(entry, state="failed", code="unreadable", reason=error.strerror or str(error))
        return replace(entry, state="sent", image_id=sent)

    def _claimed(self, entry: Entry, image_id: str | None) -> Entry:
        """The entry, noted as being sent, unless the server has its bytes or another file brings them."""
        with self._claiming:
            if twin := self._journal.twin(entry.sha256 or "", entry.path):
                return replace(entry, state="same", reason=f"the same bytes as {twin}")
            if image_id:
                return replace(entry, state="known", image_id=image_id)
            self._journal.note(entry)
        return entry

    def _small(self, entry: Entry) -> str:
        path = Path(entry.path)
        # Read once: a file that is repeated must not have changed.
        files = {"file": (printable(path.name), path.read_bytes())}
        headers = {"Idempotency-Key": entry.key or ""}
        answer = self._api.call("POST", "/images", files=files, data={"tags": self._tags}, headers=headers)
        return str(answer["imageId"])

    def _large(self, entry: Entry) -> str:
        wanted = {"fileName": printable(Path(entry.path).name), "sizeBytes": entry.size, "sha256": entry.sha256}
        headers = {"Idempotency-Key": entry.key or ""}
        upload = self._api.call("POST", "/uploads", json={**wanted, "tags": self._tags}, headers=headers)
        path = upload["links"]["self"].removeprefix("/v1")
        if upload["status"] == "open":
            if upload["multipart"]:
                self._parts(entry, path, upload["multipart"]["partBytes"])
            else:
                self._form(entry, upload["form"])
            self._api.call("POST", f"{path}/complete")
        return self._followed(path)

    def _form(self, entry: Entry, form: dict[str, Any]) -> None:
        def post(store: httpx.Client) -> httpx.Response:
            with Path(entry.path).open("rb") as file:
                return store.post(form["url"], data=form["fields"], files={"file": ("file", file)})

        self._api.send(post)

    def _parts(self, entry: Entry, path: str, part_bytes: int) -> None:
        """What has not arrived yet, one part after the other: a run has several files under way."""
        for number in self._api.call("GET", f"{path}/parts")["missing"]:
            (part,) = self._api.call("POST", f"{path}/parts", json={"partNumbers": [number]})["parts"]
            with Path(entry.path).open("rb") as file:
                file.seek((number - 1) * part_bytes)
                chunk = file.read(part["sizeBytes"])
            self._api.send(lambda store, to=part["url"], body=chunk: store.put(to, content=body))  # type: ignore[misc]

    def _followed(self, path: str) -> str:
        """The image or video once its processing is over; empty where that takes longer than anybody waits, and the
        next run asks again. Raises ``Refused``, also where processing failed."""
        upload = self._until(path, lambda status: status != "open", PATIENCE_SECONDS)
        if upload["status"] == "open":
            return ""
        if upload["status"] != "ingested":
            raise _failure(upload, "upload")
        became = str(upload["links"].get("image") or upload["links"]["video"]).removeprefix("/v1")
        file = self._until(became, lambda status: status in PROCESSED, PROCESSING_SECONDS)
        if file["status"] == "failed":
            raise _failure(file, "file")
        return str(upload["imageId"] or upload["videoId"]) if file["status"] in PROCESSED else ""

    def _until(self, path: str, over: Callable[[str], bool], patience: float) -> dict[str, Any]:
        """Poll a path until processing has ended, or time is up."""
        waited, pause = 0.0, POLL_SECONDS
        while not over((found := self._api.call("GET", path))["status"]) and waited < patience:
            self._api.wait(pause)
            waited, pause = waited + pause, min(2 * pause, LONGEST_POLL_SECONDS)
        return found


def _failure(found: dict[str, Any], what: str) -> Refused:
    error = found.get("error") or {"code": found["status"], "message": f"the {what} is {found['status']}"}
    return Refused(error["code"], error["message"])


def is_small_image(entry: Entry) -> bool:
    """Whether it fits into one request, as an image; videos always go to the store directly."""
    return entry.size <= SMALL_BYTES and kind_at(entry.path) != "video"


def entry_of(path: str) -> Entry:
    """A file as it is now; what cannot be looked at has failed."""
    with suppress(OSError):
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            # Opening a pipe waits for whoever writes to it.
            return Entry(path, 0, 0, state="failed", code="not-a-file", reason="neither a file nor a folder")
        return Entry(path, found.st_size, found.st_mtime_ns)
    return Entry(path, 0, 0, state="failed", code="unreadable", reason="no such file, or it may not be read")
