"""Send the signals of a schedule to services and to processes of functions."""

import heapq
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from local.chaos.schedule import Strike
from local.stack.stack import Stack


class Striker:
    """Execute a schedule in a thread. When it stops, it continues frozen processes.

    Attributes
    ----------
    done : number of strikes so far by kind; ``missed`` counts those whose target was not running.
    """

    def __init__(self, stack: Stack, strikes: Sequence[Strike], log: Callable[[str], None]) -> None:
        self._stack, self._strikes, self._log = stack, strikes, log
        self.done: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._frozen: list[tuple[float, int, list[psutil.Process]]] = []
        self._thread = threading.Thread(target=self._run, name="striker", daemon=True)

    def start(self) -> None:
        self._started = time.monotonic()
        self._thread.start()

    def join(self) -> None:
        """Wait until every strike is done and every frozen process is continued."""
        self._thread.join()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        for number, strike in enumerate(self._strikes):
            if not self._wait_until(strike.at_seconds):
                break
            self._strike(number, strike)
        while self._frozen and self._wait_until(self._frozen[0][0]):
            self._continue_due()
        for _, _, tree in self._frozen:
            _signal(tree, signal.SIGCONT)

    def _wait_until(self, at_seconds: float) -> bool:
        """Wait, and meanwhile continue processes whose freeze is over; return False if stopped."""
        while True:
            self._continue_due()
            remaining_seconds = at_seconds - self._elapsed()
            if remaining_seconds <= 0:
                return True
            if self._stopping.wait(min(remaining_seconds, 0.1)):
                return False

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _continue_due(self) -> None:
        while self._frozen and self._frozen[0][0] <= self._elapsed():
            _signal(heapq.heappop(self._frozen)[2], signal.SIGCONT)

    def _strike(self, number: int, strike: Strike) -> None:
        pid = self._pid_of(strike)
        tree = process_tree(pid) if pid else []
        self.done[strike.kind if tree else "missed"] += 1
        if strike.kind == "kill":
            # Kill only the main process of a service: the children that it leaves behind are part of the test.
            _signal(tree[:1], signal.SIGKILL)
        else:
            _signal(tree, signal.SIGSTOP)
            heapq.heappush(self._frozen, (strike.at_seconds + strike.seconds, number, tree))
        action = "kill -9" if strike.kind == "kill" else f"frozen for {strike.seconds:.1f} s"
        self._log(f"{strike.at_seconds:6.1f} s  {strike.target:26} {action if tree else 'was not running'}")

    def _pid_of(self, strike: Strike) -> int | None:
        runner = self._stack.runner
        if runner is not None and strike.target in runner.pools:
            pids = runner.pools[strike.target].pids
            return pids[int(strike.pick * len(pids))] if pids else None
        service = self._stack.service(strike.target)
        return service.pid if service.alive() else None


def process_tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _signal(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)
