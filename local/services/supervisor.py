"""Restart services that died."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from local.services.process import ChildService

CHECK_SECONDS = 0.2
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 10.0
STABLE_SECONDS = 30.0
"""A service that ran for this time starts with the shortest pause again when it dies."""
# The kernel ends a process with the thread that started it; this thread lives as long as the interpreter.
STARTER = ThreadPoolExecutor(1, thread_name_prefix="start services")


def pause_seconds(failures: int) -> float:
    """Return the pause before the next start, after this number of starts that did not last."""
    return float(min(MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS * 2 ** min(failures, 10)))


class Supervisor:
    """Restart services that ended by themselves, with a growing pause for those that do not last.

    Parameters
    ----------
    log : called with a line per death and start.
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
        while not self._stopping.wait(CHECK_SECONDS):
            for service in self._services:
                if service.died():
                    self._restart(service, time.monotonic())

    def _restart(self, service: ChildService, now: float) -> None:
        name = service.name
        if name not in self._due:
            was_stable = now - self._started.get(name, 0.0) > STABLE_SECONDS
            self._failures[name] = 0 if was_stable else self._failures.get(name, 0) + 1
            self._due[name] = now + pause_seconds(self._failures[name])
            self._log(f"{name} died and will be restarted")
        elif now >= self._due[name]:
            del self._due[name]
            self._started[name] = now
            self._launch(service)

    def _launch(self, service: ChildService) -> None:
        try:
            STARTER.submit(service.launch).result()
        except Exception as error:
            # Remains of the old process may still hold its port; the next check tries again.
            self._log(f"{service.name} could not be restarted: {error}")
        else:
            self.restarts += 1
            self._log(f"{service.name} was restarted")
