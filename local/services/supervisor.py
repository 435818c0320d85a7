"""Start services again that died."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from local.services.process import ChildService

LOOK_SECONDS = 0.2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, STEADY_SECONDS = 0.2, 10.0, 30.0
# The kernel ends a process with the thread that started it; this thread lives as long as the interpreter.
STARTER = ThreadPoolExecutor(1, thread_name_prefix="start services")


def pause_seconds(failures: int) -> float:
    """Before the next start, after so many that did not last."""
    return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 10)))


class Supervisor:
    """Starts services again that ended by themselves, with a growing pause for those that do not last.

    Parameters
    ----------
    log : takes a line per death and start.
    """

    def __init__(self, services: Sequence[ChildService], log: Callable[[str], None]) -> None:
        self._services, self._log = services, log
        self.restarts = 0
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._started: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Start no more services; running ones continue."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for service in self._services:
                if service.died():
                    self._restart(service, time.monotonic())

    def _restart(self, service: ChildService, now: float) -> None:
        name = service.name
        if name not in self._due:
            lasted = now - self._started.get(name, 0.0) > STEADY_SECONDS
            self._failures[name] = 0 if lasted else self._failures.get(name, 0) + 1
            self._due[name] = now + pause_seconds(self._failures[name])
            self._log(f"{name} died; it is started again")
        elif now >= self._due[name]:
            del self._due[name]
            self._started[name] = now
            self._launch(service)

    def _launch(self, service: ChildService) -> None:
        try:
            STARTER.submit(service.launch).result()
        except Exception as error:
            # Its port may still be held by what is left of it; the next look tries again.
            self._log(f"{service.name} was not started: {error}")
        else:
            self.restarts += 1
            self._log(f"{service.name} was started again")
