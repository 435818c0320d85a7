"""Send a file: skip it if the server has it, send it to the API, or to the object store if it is large."""

import stat
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from local.upload.client import Api, RequestRefused
from local.upload.files import digest_and_kind, kind_at, printable
from local.upload.journal import Entry, Journal

MAX_REQUEST_BYTES = 4_000_000
"""Maximum size of a file that is sent in one request to the API."""
POLL_SECONDS, MAX_POLL_SECONDS = 0.5, 5.0
INGEST_TIMEOUT_SECONDS = 300.0
"""Time that a worker waits until the server has ingested a file from the object store."""
PROCESSING_TIMEOUT_SECONDS = 30.0
"""Time that a worker waits for processing; the next run asks again."""
PROCESSED = ("completed", "failed")
CREDENTIAL_ERRORS = {401, 403}


class Sender:
    """Send files. The journal records each step before the next, so that a run may stop anywhere.

    Parameters
    ----------
    dry_run : hash files and ask the server, but send nothing.
    """

    def __init__(self, api: Api, journal: Journal, tags: Sequence[str], *, dry_run: bool = False) -> None:
        self._api, self._journal, self._tags, self._dry_run = api, journal, list(tags), dry_run
        self._claiming = threading.Lock()

    def hash_file(self, entry: Entry, *, named: bool) -> Entry:
        """Return the entry with its digest, or failed if the file cannot be read.

        A file that is neither image nor video has failed if the user named it, and is skipped if it is in a folder.
        """
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

    def find_known(self, digests: Sequence[str]) -> dict[str, str]:
        """Return the image ids of the digests that the server has."""
        if not digests:
            return {}
        answer = self._api.call("POST", "/images/check", json={"sha256": list(dict.fromkeys(digests))})
        return {image["sha256"]: image["imageId"] for image in answer["known"] if image["status"] != "failed"}

    def send(self, entry: Entry, known: dict[str, str]) -> Entry:
        """Send a file unless the server has it, and return its new state.

        Raises ``RequestRefused`` if the credentials are invalid, and ``Stopped``.
        """
        entry = self._claim(replace(entry, key=entry.key or uuid.uuid4().hex), known.get(entry.sha256 or ""))
        if self._dry_run or entry.state != "sending":
            return entry
        try:
            image_id = self._send_to_api(entry) if is_small_image(entry) else self._send_to_store(entry)
        except RequestRefused as error:
            if error.status in CREDENTIAL_ERRORS:
                raise
            return replace(entry, state="failed", code=error.code, reason=error.reason)
        except OSError as error:
            return replace(entry, state="failed", code="unreadable", reason=error.strerror or str(error))
        return replace(entry, state="sent", image_id=image_id)

    def _claim(self, entry: Entry, image_id: str | None) -> Entry:
        """Record the file as being sent, unless the server has its bytes or another file of this run has them."""
        with self._claiming:
            if other := self._journal.file_with_same_bytes(entry.sha256 or "", entry.path):
                return replace(entry, state="same", reason=f"the same bytes as {other}")
            if image_id:
                return replace(entry, state="known", image_id=image_id)
            self._journal.save(entry)
        return entry

    def _send_to_api(self, entry: Entry) -> str:
        path = Path(entry.path)
        # Read once, because a retry must send the same bytes.
        files = {"file": (printable(path.name), path.read_bytes())}
        headers = {"Idempotency-Key": entry.key or ""}
        answer = self._api.call("POST", "/images", files=files, data={"tags": self._tags}, headers=headers)
        return str(answer["imageId"])

    def _send_to_store(self, entry: Entry) -> str:
        fields = {"fileName": printable(Path(entry.path).name), "sizeBytes": entry.size, "sha256": entry.sha256}
        headers = {"Idempotency-Key": entry.key or ""}
        upload = self._api.call("POST", "/uploads", json={**fields, "tags": self._tags}, headers=headers)
        path = upload["links"]["self"].removeprefix("/v1")
        if upload["status"] == "open":
            if upload["multipart"]:
                self._send_parts(entry, path, upload["multipart"]["partBytes"])
            else:
                self._send_form(entry, upload["form"])
            self._api.call("POST", f"{path}/complete")
        return self._wait_for_image(path)

    def _send_form(self, entry: Entry, form: dict[str, Any]) -> None:
        def post(store: httpx.Client) -> httpx.Response:
            with Path(entry.path).open("rb") as file:
                return store.post(form["url"], data=form["fields"], files={"file": ("file", file)})

        self._api.send(post)

    def _send_parts(self, entry: Entry, path: str, part_bytes: int) -> None:
        """Send the missing parts one after the other; a run sends several files in parallel."""
        for number in self._api.call("GET", f"{path}/parts")["missing"]:
            (part,) = self._api.call("POST", f"{path}/parts", json={"partNumbers": [number]})["parts"]
            with Path(entry.path).open("rb") as file:
                file.seek((number - 1) * part_bytes)
                chunk = file.read(part["sizeBytes"])
            self._api.send(lambda store, to=part["url"], body=chunk: store.put(to, content=body))  # type: ignore[misc]

    def _wait_for_image(self, path: str) -> str:
        """Wait for the end of processing and return the id of the image or video; empty after the timeout.

        Raises ``RequestRefused``, also if processing failed.
        """
        upload = self._poll(path, lambda status: status != "open", INGEST_TIMEOUT_SECONDS)
        if upload["status"] == "open":
            return ""
        if upload["status"] != "ingested":
            raise _failure(upload, "upload")
        file_path = str(upload["links"].get("image") or upload["links"]["video"]).removeprefix("/v1")
        file = self._poll(file_path, lambda status: status in PROCESSED, PROCESSING_TIMEOUT_SECONDS)
        if file["status"] == "failed":
            raise _failure(file, "file")
        return str(upload["imageId"] or upload["videoId"]) if file["status"] in PROCESSED else ""

    def _poll(self, path: str, is_final: Callable[[str], bool], timeout_seconds: float) -> dict[str, Any]:
        """Poll a path until its status is final or the time is over; return the last answer."""
        waited, pause = 0.0, POLL_SECONDS
        while not is_final((answer := self._api.call("GET", path))["status"]) and waited < timeout_seconds:
            self._api.wait(pause)
            waited, pause = waited + pause, min(2 * pause, MAX_POLL_SECONDS)
        return answer


def _failure(answer: dict[str, Any], kind: str) -> RequestRefused:
    error = answer.get("error") or {"code": answer["status"], "message": f"the {kind} is {answer['status']}"}
    return RequestRefused(error["code"], error["message"])


def is_small_image(entry: Entry) -> bool:
    """Return whether the file is sent in one request; videos always go to the object store."""
    return entry.size <= MAX_REQUEST_BYTES and kind_at(entry.path) != "video"


def entry_of(path: str) -> Entry:
    """Return the entry of a file as it is now; it has failed if the file cannot be read."""
    with suppress(OSError):
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe would block until another process writes to it.
            return Entry(path, 0, 0, state="failed", code="not-a-file", reason="neither a file nor a folder")
        return Entry(path, status.st_size, status.st_mtime_ns)
    return Entry(path, 0, 0, state="failed", code="unreadable", reason="the file does not exist, or is not readable")
