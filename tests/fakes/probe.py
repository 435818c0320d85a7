"""The public API as the prober sees it, with time that passes while it waits."""

from deeplens.probe.model import ProbeFailed


class FakeProbedApi:
    """One image is processed after ``process_seconds``, and gone ``delete_seconds`` after its deletion.

    Parameters
    ----------
    broken : name of the method that the API answers with an error.
    """

    def __init__(
        self,
        process_seconds: float = 3,
        delete_seconds: float = 2,
        *,
        broken: str = "",
        final_status: str = "completed",
        finds: bool = True,
    ) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.images: set[str] = set()
        self._process_seconds, self._delete_seconds = process_seconds, delete_seconds
        self._broken, self._final_status, self._finds = broken, final_status, finds
        self._uploaded_at = self._deleted_at = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def upload(self, picture: bytes) -> str:
        self._call("upload")
        self._uploaded_at = self.now
        self.images.add("img_1")
        return "img_1"

    def status(self, image_id: str) -> str:
        self._call("status")
        return self._final_status if self.now >= self._uploaded_at + self._process_seconds else "accepted"

    def search(self, picture: bytes) -> list[str]:
        self._call("search")
        return ["img_9", *(self.images if self._finds else ())]

    def delete(self, image_id: str) -> None:
        self._call("delete")
        self._deleted_at = self.now
        self.images.discard(image_id)

    def is_deleted(self, image_id: str) -> bool:
        self._call("is_deleted")
        return self.now >= self._deleted_at + self._delete_seconds

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self._broken:
            raise ProbeFailed(f"{name} was answered with 503")
