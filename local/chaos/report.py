"""Print the result of a chaos run."""

from local.bench.figures import publish
from local.chaos.run import Options, Outcome
from local.cli.screen import print_line


def report(options: Options, outcome: Outcome) -> bool:
    """Print figures, violations and the command that repeats the run; return True if there is no violation."""
    publish("chaos", outcome.figures)
    for violation in outcome.violations:
        print_line("✗", "bold red", violation)
    print_line("repeat with:", "", options.command)
    if not outcome.violations:
        print_line("✓", "green", "every accepted photo is accounted for")
    return not outcome.violations
