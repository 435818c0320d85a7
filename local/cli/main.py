"""The program: Ctrl-C ends it with 130 also while modules are being imported, which takes seconds."""

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        from local.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
