"""Upload any number of files, in batches that run in parallel."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress

from local.upload.client import RequestRefused, Stopped
from local.upload.journal import SETTLED, Entry, Journal
from local.upload.sender import Sender, entry_of

MAX_BATCH_FILES, MAX_BATCH_BYTES = 50, 32 << 20
type Progress = Callable[[Entry], None]


class Run:
    """Hash files, ask the server which it has, and send the others, a batch per worker.

    Parameters
    ----------
    stopping : set by the user, or after an error that every other file would have as well.
    resume : skip unchanged files that the journal lists as settled.
    """

    def __init__(
        self,
        sender: Sender,
        journal: Journal,
        progress: Progress,
        stopping: threading.Event,
        *,
        workers: int,
        resume: bool = True,
    ) -> None:
        self._sender, self._journal, self._progress, self._stopping = sender, journal, progress, stopping
        self._workers, self._resume = workers, resume
        self.done_before = 0
        self.fatal: RequestRefused | None = None

    def __call__(self, files: Iterable[tuple[str, bool]], batch_files: int = MAX_BATCH_FILES) -> None:
        """Upload the files. After ``stopping``, return when the batches in progress have ended."""
        in_progress: set[Future[None]] = set()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="upload") as pool:
            try:
                for batch in batches(self._unsettled(files), batch_files):
                    if self._stopping.is_set():
                        break
                    in_progress.add(pool.submit(self._work, batch))
                    if len(in_progress) > self._workers:
                        in_progress = self._wait_for_first(in_progress)
                while in_progress:
                    in_progress = self._wait_for_first(in_progress)
            except BaseException:
                # Workers end at their next step; the next run resumes their files.
                self._stopping.set()
                raise

    @staticmethod
    def _wait_for_first(in_progress: set[Future[None]]) -> set[Future[None]]:
        done, pending = wait(in_progress, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        return set(pending)

    def _unsettled(self, files: Iterable[tuple[str, bool]]) -> Iterator[tuple[Entry, bool]]:
        """Yield files that are not settled; those of an interrupted run keep their idempotency key."""
        for path, named in files:
            entry, previous = entry_of(path), self._journal.find(path)
            if self._resume and previous is not None and previous.is_unchanged(entry):
                # Its processing had not ended when the previous run stopped waiting for it.
                result_unknown = previous.state == "sent" and not previous.image_id
                if previous.state in SETTLED and not result_unknown:
                    self.done_before += 1
                    self._progress(previous)
                    continue
                if result_unknown or previous.state == "sending":
                    entry = Entry(path, entry.size, entry.modified_ns, key=previous.key)
            yield entry, named

    def _work(self, batch: list[tuple[Entry, bool]]) -> None:
        images: list[Entry] = []
        with suppress(Stopped):
            for entry, named in batch:
                self._raise_if_stopping()
                entry = self._sender.hash_file(entry, named=named) if entry.state == "sending" else entry
                if entry.state == "sending":
                    images.append(entry)
                else:
                    self._save(entry)
            self._send(images)

    def _send(self, images: list[Entry]) -> None:
        try:
            known = self._sender.find_known([entry.sha256 or "" for entry in images])
            for entry in images:
                self._raise_if_stopping()
                self._save(self._sender.send(entry, known))
        except RequestRefused as error:
            # The check failed, or the credentials are invalid: every other file would fail as well.
            self.fatal = self.fatal or error
            self._stopping.set()

    def _raise_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _save(self, entry: Entry) -> None:
        self._journal.save(entry)
        self._progress(entry)


def batches(files: Iterable[tuple[Entry, bool]], max_files: int) -> Iterator[list[tuple[Entry, bool]]]:
    """Group files into batches that are small enough for a worker to end soon after an interruption."""
    batch: list[tuple[Entry, bool]] = []
    size = 0
    for entry, named in files:
        if batch and (len(batch) >= max_files or size + entry.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((entry, named))
        size += entry.size
    if batch:
        yield batch


def tally(counts: dict[str, int], done_before: int) -> Counter[str]:
    """Return the number of files by state, with those that earlier runs finished."""
    return Counter(counts) + Counter({"done before": done_before})
