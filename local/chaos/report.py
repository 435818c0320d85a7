"""What a run of chaos says at its end."""

from local.bench.figures import publish
from local.chaos.run import Options, Outcome
from local.cli.screen import console


def report(options: Options, outcome: Outcome) -> bool:
    """Print and keep the figures, name violations, and say how the run is repeated; whether the promise held."""
    publish("chaos", outcome.figures)
    for violation in outcome.violations:
        console.print(f"[bold red]✗[/] {violation}", highlight=False, soft_wrap=True)
    console.print(f"again: {options.command}", highlight=False, soft_wrap=True)
    if not outcome.violations:
        console.print("[green]✓[/] every accepted photo is accounted for")
    return not outcome.violations
