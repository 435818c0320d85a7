"""Entry point of ``deeplens``: an error is printed in one or two lines and gives status 1, Ctrl-C gives status 130."""

import sys

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    Parameters
    ----------
    arguments : command line arguments; by default those of the process.
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
