"""Serve the models: ``python -m functions.inference_endpoint.server --port 8080``."""

import argparse
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn

from .app import create_app
from .manifest import MODELS, ModelRefused
from .metrics import Metrics
from .model import Batching, EmbeddingModel
from .repository import BUILT_IN, Load, Repository

NEWEST = max((MODELS / BUILT_IN).iterdir(), key=lambda folder: int(folder.name))
"""The built-in model that new tenants get."""
DRAIN_SECONDS = 25
# Longer than clients keep an idle connection, so that they close it and never write into a closing one.
KEEP_ALIVE_SECONDS = 75


def main() -> None:
    options = _options()
    metrics = Metrics()
    try:
        repository = Repository(
            options.models or [MODELS], _loader(options, metrics), options.max_loaded, metrics.evicted
        )
    except ModelRefused as error:
        raise SystemExit(f"inference_endpoint: {error}") from error
    # uvicorn drains on SIGTERM, then sends the signal to itself again: that ends the process, and rightly.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(repository, metrics, options.queue_images),
        host=options.host,
        port=options.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _loader(options: argparse.Namespace, metrics: Metrics) -> Load:
    workers = ThreadPoolExecutor(os.process_cpu_count() or 1, thread_name_prefix="decode")
    batching = Batching(options.max_batch, options.threads, options.max_delay_ms / 1000)
    return lambda folder: EmbeddingModel(folder, workers, batching, metrics)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="inference_endpoint", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["serve"], help="the only one; SageMaker passes it")
    parser.add_argument("--host", default="0.0.0.0", help="every interface, as a container needs")  # noqa: S104
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--models", type=Path, action="append", help="folder of NAME/VERSION/manifest.json; repeatable", default=None
    )
    parser.add_argument("--max-loaded", type=int, default=4, help="models in memory; the least recently used one goes")
    parser.add_argument("--max-batch", type=int, default=None, help="images of a call: 4 on a CPU, 32 on a GPU")
    parser.add_argument("--max-delay-ms", type=float, default=2, help="a call waits so long for images on their way")
    parser.add_argument("--threads", type=int, default=1, help="of one call; on a CPU as many calls as fit run at once")
    parser.add_argument("--queue-images", type=int, default=512, help="images under way; more are answered 429")
    return parser.parse_args()


if __name__ == "__main__":
    main()
