"""Upload any number of files, a few batches at a time."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress

from local.upload.client import Refused, Stopped
from local.upload.journal import SETTLED, Entry, Journal
from local.upload.sender import Sender, entry_of

BATCH_FILES, BATCH_BYTES = 50, 32 << 20
type Progress = Callable[[Entry], None]


class Run:
    """Hashes, asks and sends, a batch per worker.

    Parameters
    ----------
    stopping : set by the user, or by a refusal that every other file would meet as well.
    resume : whether the journal's word counts for files that have not changed.
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
        self.fatal: Refused | None = None

    def __call__(self, files: Iterable[tuple[str, bool]], batch_files: int = BATCH_FILES) -> None:
        """Returns when all is settled, or what is under way has ended after ``stopping``."""
        under_way: set[Future[None]] = set()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="upload") as pool:
            try:
                for batch in batches(self._waiting(files), batch_files):
                    if self._stopping.is_set():
                        break
                    under_way.add(pool.submit(self._work, batch))
                    if len(under_way) > self._workers:
                        under_way = self._ended(under_way)
                while under_way:
                    under_way = self._ended(under_way)
            except BaseException:
                # Workers end at their next step; what they hold is taken up by the next run.
                self._stopping.set()
                raise

    @staticmethod
    def _ended(under_way: set[Future[None]]) -> set[Future[None]]:
        done, left = wait(under_way, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()
        return set(left)

    def _waiting(self, files: Iterable[tuple[str, bool]]) -> Iterator[tuple[Entry, bool]]:
        """Files that are not settled; those of an interrupted run keep the key that they were sent with."""
        for path, named in files:
            entry, noted = entry_of(path), self._journal.find(path)
            if self._resume and noted is not None and noted.is_of(entry):
                # Sent, but of what it became nothing was heard yet.
                unheard = noted.state == "sent" and not noted.image_id
                if noted.state in SETTLED and not unheard:
                    self.done_before += 1
                    self._progress(noted)
                    continue
                if unheard or noted.state == "sending":
                    entry = Entry(path, entry.size, entry.modified_ns, key=noted.key)
            yield entry, named

    def _work(self, batch: list[tuple[Entry, bool]]) -> None:
        images: list[Entry] = []
        with suppress(Stopped):
            for entry, named in batch:
                self._go_on()
                entry = self._sender.hashed(entry, named=named) if entry.state == "sending" else entry
                if entry.state == "sending":
                    images.append(entry)
                else:
                    self._note(entry)
            self._send(images)

    def _send(self, images: list[Entry]) -> None:
        try:
            known = self._sender.known([entry.sha256 or "" for entry in images])
            for entry in images:
                self._go_on()
                self._note(self._sender.settled(entry, known))
        except Refused as error:
            # Asking failed, or the credentials are not good: no other file would fare better.
            self.fatal = self.fatal or error
            self._stopping.set()

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _note(self, entry: Entry) -> None:
        self._journal.note(entry)
        self._progress(entry)


def batches(files: Iterable[tuple[Entry, bool]], most: int) -> Iterator[list[tuple[Entry, bool]]]:
    """Files in groups, small enough for a worker to end soon."""
    batch: list[tuple[Entry, bool]] = []
    size = 0
    for entry, named in files:
        if batch and (len(batch) >= most or size + entry.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((entry, named))
        size += entry.size
    if batch:
        yield batch


def tally(counts: dict[str, int], done_before: int) -> Counter[str]:
    """Files by what became of them, in this run and before."""
    return Counter(counts) + Counter({"done before": done_before})
