"""The program: faults end it with a line or two and status 1, Ctrl-C with 130, also while modules are imported."""

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
