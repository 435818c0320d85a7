"""One probe: an image is uploaded, processed, found and deleted, each step within its limit."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from deeplens.errors import DeepLensError
from deeplens.probe.picture import new_picture

type Step = Literal["upload", "process", "search", "delete"]
PROCESS_SECONDS = DELETE_SECONDS = 60.0
"""What the objectives promise: searchable, and completely deleted, within a minute."""
POLL_SECONDS = 1.0


class ProbeFailed(DeepLensError):
    """The API did not answer, or not as it should; the message says what came instead."""


class ProbedApi(Protocol):
    """The public API as a client sees it. Every method raises ``ProbeFailed``."""

    def upload(self, picture: bytes) -> str:
        """Upload a PNG file; returns the id of the image."""

    def status(self, image_id: str) -> str:
        """``completed``, ``failed``, or a step on the way."""

    def search(self, picture: bytes) -> list[str]:
        """The ids of the most similar images."""

    def delete(self, image_id: str) -> None: ...

    def is_deleted(self, image_id: str) -> bool:
        """Whether the receipt says that everything of a deleted image is gone."""


@dataclass(slots=True)
class ProbeResult:
    """What a probe measured.

    Attributes
    ----------
    seconds : of each step that was completed.
    failed : the step that failed; None if the probe passed.
    """

    seconds: dict[Step, float] = field(default_factory=dict)
    failed: Step | None = None
    reason: str = ""


class Probe:
    """Upload, process, find and delete one image.

    Parameters
    ----------
    monotonic : seconds. ``sleep`` waits for some.
    """

    def __init__(
        self,
        api: ProbedApi,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._monotonic, self._sleep = api, monotonic, sleep
        self._picture, self._image_id = new_picture(), ""

    def __call__(self) -> ProbeResult:
        """Run every step until one fails. Raises nothing."""
        result = ProbeResult()
        steps: Mapping[Step, Callable[[], None]] = {
            "upload": self._upload,
            "process": self._process,
            "search": self._search,
            "delete": self._delete,
        }
        for name, step in steps.items():
            started = self._monotonic()
            try:
                step()
            except ProbeFailed as error:
                result.failed, result.reason = name, str(error)
                self._clean_up(name)
                break
            result.seconds[name] = self._monotonic() - started
        return result

    def _upload(self) -> None:
        self._image_id = self._api.upload(self._picture)

    def _process(self) -> None:
        self._wait(self._is_processed, PROCESS_SECONDS, "searchable")

    def _search(self) -> None:
        if self._image_id not in self._api.search(self._picture):
            raise ProbeFailed(f"a search for the file of {self._image_id} did not find it")

    def _delete(self) -> None:
        self._api.delete(self._image_id)
        self._wait(lambda: self._api.is_deleted(self._image_id), DELETE_SECONDS, "deleted")

    def _is_processed(self) -> bool:
        status = self._api.status(self._image_id)
        if status == "failed":
            raise ProbeFailed(f"{self._image_id} failed; GET /v1/images/{self._image_id}/events says why")
        return status == "completed"

    def _wait(self, done: Callable[[], bool], limit_seconds: float, state: str) -> None:
        deadline = self._monotonic() + limit_seconds
        while not done():
            if self._monotonic() >= deadline:
                raise ProbeFailed(f"{self._image_id} was not {state} within {limit_seconds:.0f} s")
            self._sleep(POLL_SECONDS)

    def _clean_up(self, failed: Step) -> None:
        """Delete the image of a probe that stopped on its way. What fails here has failed before."""
        if self._image_id and failed != "delete":
            try:
                self._api.delete(self._image_id)
            except ProbeFailed:
                return
