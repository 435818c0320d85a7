"""The child process: runs one function after another on bytes that nobody trusts. It is started by its path.

Everything is imported before ``confine``, because nothing can be opened afterwards.
"""

import json
import os
import pickle
import signal
import traceback
from collections.abc import Iterator
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, BinaryIO

from deeplens.errors import DecoderCrashed, DecoderOutOfMemory, PipelineError
from deeplens.sandbox.confine import confine
from deeplens.sandbox.wire import ANSWER, CHUNK, END, ERROR, ITEM, RANGED, READ, READY, REQUEST, flatten


class Ranges:
    """The file of a request, read through the parent; it fulfils what ``RangedFile`` needs of a store."""

    def __init__(self, child: "Child") -> None:
        self._child = child

    def get_range(self, _key: str, start: int, length: int) -> bytes:
        self._child.answer(READ, [start, length])
        (length,) = CHUNK.unpack(self._child.requests.read(CHUNK.size))
        return self._child.requests.read(length)


class Child:
    """Answers requests until its parent closes the pipe.

    Parameters
    ----------
    seconds : after which a request without any answer ends the process, should the parent not have ended it.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, seconds: int) -> None:
        self.requests, self._answers, self._seconds = requests, answers, seconds

    def answer(self, kind: bytes, value: Any) -> None:
        blobs: list[bytes] = []
        text = json.dumps(flatten(value, blobs)).encode()
        self._answers.write(ANSWER.pack(kind, len(text), sum(map(len, blobs))))
        for part in (text, *blobs):
            self._answers.write(part)
        self._answers.flush()
        signal.alarm(self._seconds)

    def serve(self) -> None:
        while header := self.requests.read(REQUEST.size):
            signal.alarm(self._seconds)
            pickled, file_bytes = REQUEST.unpack(header)
            # Pickles come from the parent only.
            path, arguments = pickle.loads(self.requests.read(pickled))  # noqa: S301
            file = Ranges(self) if file_bytes == RANGED else self.requests.read(file_bytes)
            self.answer(*self._run(path, file, arguments))
            signal.alarm(0)

    def _run(self, path: str, file: bytes | Ranges, arguments: tuple[Any, ...]) -> tuple[bytes, Any]:
        try:
            result = resolve_name(path)(file, *arguments)
            for item in result if isinstance(result, Iterator) else (result,):
                self.answer(ITEM, item)
        except MemoryError:
            return ERROR, [
                DecoderOutOfMemory.code,
                "decoding the file takes too much memory; save it smaller",
            ]
        except PipelineError as error:
            return ERROR, [error.code, str(error)]
        except Exception as error:
            return ERROR, [DecoderCrashed.code, f"the decoder failed with {type(error).__name__}"]
        return END, None


def main(memory_bytes: int, seconds: int, module: str) -> None:
    """Import, give up everything, serve."""
    os.closerange(3, 1 << 20)
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not look like an answer.
    os.dup2(2, 1)
    child = Child(os.fdopen(0, "rb"), answers, seconds)
    try:
        import_module(module)
        filtered = confine(memory_bytes, open_files=4)
    except Exception:
        child.answer(ERROR, [DecoderCrashed.code, traceback.format_exc()])
    else:
        child.answer(READY, filtered)
        signal.alarm(0)
        child.serve()
    os._exit(0)
