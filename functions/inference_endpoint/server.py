"""Serve the models: ``python -m functions.inference_endpoint.server --port 8080``."""

import argparse
from pathlib import Path

import uvicorn

from .app import create_app
from .manifest import ModelRefused
from .repository import Repository

MODELS = Path(__file__).parent / "models"
DRAIN_SECONDS = 25
# Longer than clients keep an idle connection, so that they close it and never write into a closing one.
KEEP_ALIVE_SECONDS = 75


def main() -> None:
    options = _options()
    try:
        repository = Repository(options.models, options.threads)
    except ModelRefused as error:
        raise SystemExit(f"inference_endpoint: {error}") from error
    # uvicorn drains on SIGTERM: it stops accepting and lets running requests end.
    uvicorn.run(
        create_app(repository, waiting=options.queue),
        host=options.host,
        port=options.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="inference_endpoint", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve"], help="the only one; SageMaker passes it")
    parser.add_argument("--host", default="0.0.0.0", help="default: every interface, as a container needs")  # noqa: S104
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of NAME/VERSION/manifest.json")
    parser.add_argument("--threads", type=int, default=1, help="of one inference call; calls run on all cores anyway")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait; more are answered 429")
    return parser.parse_args()


if __name__ == "__main__":
    main()
