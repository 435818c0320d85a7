"""Serve collections: ``python -m local.vector_server --port 6333 --data DIR``."""

import argparse
from pathlib import Path

import uvicorn

from local.vector_server.app import create_app
from local.vector_server.collections import Collections


def main() -> None:
    parser = argparse.ArgumentParser(prog="local.vector_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6333)
    parser.add_argument("--data", type=Path, required=True, help="folder of the collections")
    options = parser.parse_args()
    collections = Collections(options.data)
    try:
        uvicorn.run(
            create_app(collections), host=options.host, port=options.port, access_log=False, log_level="warning"
        )
    finally:
        collections.close()


if __name__ == "__main__":
    main()
