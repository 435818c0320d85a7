"""Parts that only sleep."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.services.process import ChildService, ServiceFailed

FOREVER = "import time; time.sleep(600)"


class Sleeper(ChildService):
    """A child process that does nothing; ``refusals`` starts fail first."""

    name: Any = "sleeper"

    def __init__(self, folder: Path, program: str = FOREVER) -> None:
        super().__init__(folder)
        self.program, self.launches, self.refusals = program, 0, 0

    def launch(self) -> None:
        self.launches += 1
        if self.refusals:
            self.refusals -= 1
            raise ServiceFailed("its port is taken")
        self.spawn([sys.executable, "-c", self.program])

    def answers(self) -> bool:
        return self.alive()


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
