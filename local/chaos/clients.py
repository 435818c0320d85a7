"""Upload over HTTP as clients should: an idempotency key per photo, and retries after errors."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import httpx

from local.chaos.photos import photo

TIMEOUT_SECONDS = 35.0
LONGEST_PAUSE_SECONDS = 2.0
AGAIN = frozenset((408, 429, 500, 502, 503, 504))


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant's id and API key."""

    tenant_id: str
    key: str


@dataclass
class Uploads:
    """Results of the uploads, as their clients see them.

    Attributes
    ----------
    accepted : image id of each photo that was answered 202, by photo number.
    refused : answers that no repeat would change, by photo number.
    unanswered : photos whose client gave up.
    again : why requests were repeated: a status or the kind of error.
    """

    accepted: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    again: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Load:
    """``photos`` uploaded over ``seconds``; clients retry for ``patience_seconds`` more."""

    url: str
    accounts: Sequence[Account]
    photos: int
    clients: int
    seconds: float
    seed: int
    patience_seconds: float = 120

    def account_of(self, number: int) -> Account:
        return self.accounts[number % len(self.accounts)]

    def key_of(self, number: int) -> str:
        """Return the idempotency key of a photo."""
        return f"chaos-{self.seed}-{number}"


class Clients:
    """Upload the photos with ``clients`` threads."""

    def __init__(self, load: Load, advance: Callable[[], None]) -> None:
        self._load, self._advance = load, advance
        self.uploads = Uploads()
        self._numbers, self._lock = iter(range(load.photos)), threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=[n], name=f"client {n}", daemon=True) for n in range(load.clients)
        ]

    def start(self) -> None:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        load = self._load
        rng = Random(f"{load.seed}/{client}")  # noqa: S311 - for its seed
        with httpx.Client(base_url=load.url, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
            while (number := self._next()) is not None:
                time.sleep(max(0.0, self._started + number / load.photos * load.seconds - time.monotonic()))
                self._upload(http, number, rng)
                self._advance()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _upload(self, http: httpx.Client, number: int, rng: Random) -> None:
        deadline = self._started + self._load.seconds + self._load.patience_seconds
        body, pause = photo(self._load.seed, number), 0.1
        while time.monotonic() < deadline:
            if self._tried(http, number, body):
                return
            time.sleep(rng.uniform(pause / 2, pause))
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        self.uploads.unanswered.add(number)

    def _tried(self, http: httpx.Client, number: int, body: bytes) -> bool:
        """Send the request once; return whether the answer is final."""
        headers = {
            "X-API-Key": self._load.account_of(number).key,
            "Idempotency-Key": self._load.key_of(number),
        }
        try:
            answer = http.post("/images", files={"file": (f"{number}.jpg", body)}, headers=headers)
        except httpx.TransportError as error:
            self._count(type(error).__name__)
            return False
        if answer.status_code in AGAIN:
            self._count(str(answer.status_code))
            return False
        if answer.status_code == 202:
            self.uploads.accepted[number] = str(answer.json()["imageId"])
        else:
            self.uploads.refused[number] = f"{answer.status_code} {answer.text[:300]}"
        return True

    def _count(self, reason: str) -> None:
        with self._lock:
            self.uploads.again[reason] += 1
