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

NEWEST_MODEL = max((MODELS / BUILT_IN).iterdir(), key=lambda folder: int(folder.name))
"""Folder of the built-in model that new tenants get."""
DRAIN_SECONDS = 25
# Longer than clients keep an idle connection, so that the server never closes one while a request arrives.
KEEP_ALIVE_SECONDS = 75


def main() -> None:
    options = _options()
    metrics = Metrics()
    try:
        repository = Repository(
            options.models or [MODELS], _loader(options, metrics), options.max_loaded, metrics.count_eviction
        )
    except ModelRefused as error:
        raise SystemExit(f"inference_endpoint: {error}") from error
    # After draining, uvicorn sends SIGTERM to its own process again, which then exits with status 0.
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
    parser.add_argument("command", nargs="?", choices=["serve"], help="the default; SageMaker passes it")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on; the default is every interface")  # noqa: S104
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--models", type=Path, action="append", help="folder of NAME/VERSION/manifest.json; repeatable", default=None
    )
    parser.add_argument(
        "--max-loaded", type=int, default=4, help="models in memory; above it, the least recently used is unloaded"
    )
    parser.add_argument("--max-batch", type=int, default=None, help="maximum images of a call; 4 on a CPU, 32 on a GPU")
    parser.add_argument("--max-delay-ms", type=float, default=2, help="maximum wait of a call for images being decoded")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of a call; on a CPU, several calls run in parallel"
    )
    parser.add_argument(
        "--queue-images", type=int, default=512, help="maximum images in flight; above it, requests get 429"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
