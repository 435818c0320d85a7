"""Do what the event says: echo, fail, crash, hang or use memory."""

import os
import sys
import time
from pathlib import Path

import toy_layer

STARTED = time.time()
hoard = []


def environment(_event, context):
    return {
        "variables": dict(os.environ),
        "cwd": str(Path.cwd()),
        "layer": toy_layer.NAME,
        "function": context.function_name,
        "memory_mb": context.memory_limit_in_mb,
        "request_id": context.aws_request_id,
        "left_ms": context.get_remaining_time_in_millis(),
        "arn": context.invoked_function_arn,
    }


def fail(_event, _context):
    raise ValueError("no such thing")


def sleep(event, _context):
    time.sleep(event["seconds"])
    return {"pid": os.getpid()}


def crash(_event, _context):
    os._exit(3)


def exit_(_event, _context):
    sys.exit(4)


def hoard_memory(event, _context):
    hoard.append(b"x" * (event["mb"] << 20))
    time.sleep(30)


def large(event, _context):
    return "x" * event["bytes"]


def unserializable(_event, _context):
    return {1, 2}


def pid(_event, _context):
    return os.getpid()


def say(event, _context):
    print(event["text"])  # noqa: T201


def echo(event, _context):
    return event


ACTS = {function.__name__: function for function in (
    environment, fail, sleep, crash, exit_, hoard_memory, large, unserializable, pid, say, echo
)}  # fmt: skip


def handler(event, context):
    return ACTS[event["do"]](event, context)
