"""Entry point: errors end it with one or two lines and status 1, Ctrl-C with 130, also during imports."""

import sys

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    Parameters
    ----------
    arguments : those of the process if absent.
    """
    try:
        from local.cli.app import app

        app(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        from local.cli.errors import report

        report(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
