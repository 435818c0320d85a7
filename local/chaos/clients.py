"""Upload over HTTP as clients should, with an idempotency key per photo and retries after errors."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import httpx

from local.chaos.photos import photo

TIMEOUT_SECONDS = 35.0
MAX_PAUSE_SECONDS = 2.0
RETRIED_STATUSES = frozenset((408, 429, 500, 502, 503, 504))


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
    accepted : image id of each photo with the answer 202, by photo number.
    refused : final error answers, by photo number.
    unanswered : numbers of the photos whose client gave up.
    retries : number of repeated requests by reason, a status or a class of errors.
    """

    accepted: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    retries: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Load:
    """Upload ``photos`` photos over ``seconds``; clients retry for another ``timeout_seconds``."""

    url: str
    accounts: Sequence[Account]
    photos: int
    clients: int
    seconds: float
    seed: int
    timeout_seconds: float = 120

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
        deadline = self._started + self._load.seconds + self._load.timeout_seconds
        body, pause = photo(self._load.seed, number), 0.1
        while time.monotonic() < deadline:
            if self._try(http, number, body):
                return
            time.sleep(rng.uniform(pause / 2, pause))
            pause = min(MAX_PAUSE_SECONDS, pause * 2)
        self.uploads.unanswered.add(number)

    def _try(self, http: httpx.Client, number: int, body: bytes) -> bool:
        """Send the request once; return whether the answer is final."""
        headers = {
            "X-API-Key": self._load.account_of(number).key,
            "Idempotency-Key": self._load.key_of(number),
        }
        try:
            answer = http.post("/images", files={"file": (f"{number}.jpg", body)}, headers=headers)
        except httpx.TransportError as error:
            self._count_retry(type(error).__name__)
            return False
        if answer.status_code in RETRIED_STATUSES:
            self._count_retry(str(answer.status_code))
            return False
        if answer.status_code == 202:
            self.uploads.accepted[number] = str(answer.json()["imageId"])
        else:
            self.uploads.refused[number] = f"{answer.status_code} {answer.text[:300]}"
        return True

    def _count_retry(self, reason: str) -> None:
        with self._lock:
            self.uploads.retries[reason] += 1
