"""What every command has: ``--json``, and an example in its help."""

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from local.cli.screen import print_json_only

type Function = Callable[..., Any]
OPTION = "as_json"
JSON = inspect.Parameter(
    OPTION,
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print JSON.")],
)
AT_END = ExitStack()
"""What is left when the command that runs ends."""


class Commands(typer.Typer):
    """A group of commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, **options)

    def command(  # type: ignore[override]
        self, name: str | None = None, *, example: str, **options: Any
    ) -> Callable[[Function], Function]:
        """Register a command. ``example`` is a whole command line, which the help ends with."""
        register = super().command(name, epilog=f"Example: {example}", **options)

        def decorate(function: Function) -> Function:
            register(with_json(function))
            return function

        return decorate


def with_json(function: Function) -> Function:
    """The command with ``--json``: standard output is then one JSON document, also for an error.

    Progress and remarks go to standard error. Commands that print as they go print a document per line.
    """

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        print_json_only(wanted=options.pop(OPTION))
        with AT_END:
            return function(*arguments, **options)

    signature = inspect.signature(function)
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), JSON])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, OPTION: JSON.annotation}
    return command
