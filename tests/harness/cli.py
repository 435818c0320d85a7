"""The CLI as a process would run it, faults included, without the process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from deeplens.telemetry.logs import logger

from local.cli.main import main


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended; ``output`` is what stood in the terminal, ``stdout`` what a pipe would have got."""

    exit_code: int
    output: str
    stdout: str


class _Piped(io.StringIO):
    """Standard output, which the terminal shows as well."""

    def __init__(self, terminal: io.StringIO) -> None:
        super().__init__()
        self._terminal = terminal

    def write(self, text: str) -> int:
        self._terminal.write(text)
        return super().write(text)


def deeplens(*arguments: str) -> Finished:
    """Run ``deeplens`` with these arguments. An exception that leaves ``main`` would be a traceback, and is raised."""
    terminal = io.StringIO()
    # The handler keeps the stream of its first use, which may be one that another test has closed.
    vars(logger().registered_handler).update(stream=sys.__stderr__)
    with redirect_stdout(_Piped(terminal)) as piped, redirect_stderr(terminal):
        try:
            main([*arguments])
            code: object = 0
        except SystemExit as ended:
            code = ended.code
    assert code is None or isinstance(code, int), f"printed by the interpreter: {code!r} ({sys.argv[0]})"
    return Finished(code or 0, terminal.getvalue(), piped.getvalue())
