"""Serve vectors on a port: python -m local.vector_server --data DIR. QDRANT_API_KEY may hold an API key."""

import argparse
import logging
import os
import sys
from pathlib import Path

import uvicorn

from local.vector_server.app import VectorServer
from local.vector_server.catalogue import MAX_OPEN, Catalogue

# Longer than clients keep an idle connection, so that the server never closes one while a request arrives.
KEEP_ALIVE_SECONDS = 120


def main() -> None:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        catalogue = Catalogue(arguments.data, arguments.max_open)
    except BlockingIOError:
        sys.exit(f"{arguments.data} is used by a running vector server. Stop it, or choose another directory.")
    uvicorn.run(
        VectorServer(catalogue, os.environ.get("QDRANT_API_KEY", "")),
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.vector_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6333)
    parser.add_argument("--data", type=Path, required=True, help="directory of the collections")
    parser.add_argument("--max-open", type=int, default=MAX_OPEN, help="maximum number of open collections")
    return parser.parse_args()


if __name__ == "__main__":
    main()
