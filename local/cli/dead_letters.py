"""``deeplens dlq``: list, replay and discard dead letters."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from deeplens.bootstrap.container import Container
from deeplens.failures.model import DeadLetterFilter, DeadLetterState, KeptDeadLetter
from rich.table import Table

from local.cli.container import current_container
from local.cli.screen import console, fail

app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, replay and discard what was given up.")

Tenant = Annotated[str, typer.Option(help="Of this tenant only, e.g. tenant_demo.")]
Code = Annotated[str, typer.Option(help="With this error code only, e.g. STAGE_FAILED.")]
StageName = Annotated[str, typer.Option(help="Of this stage only, e.g. extract.")]
Hours = Annotated[float, typer.Option(help="Failed in the last so many hours only; 0 for all.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Most letters.")]


def chosen(state: DeadLetterState | None, tenant: str, code: str, stage: str, hours: float) -> DeadLetterFilter:
    since = datetime.now(UTC) - timedelta(hours=hours) if hours else None
    return DeadLetterFilter((), tenant or None, code or None, stage or None, state, failed_from=since)


@app.command("list")
def list_letters(
    tenant: Tenant = "",
    code: Code = "",
    stage: StageName = "",
    hours: Hours = 0,
    every: Annotated[bool, typer.Option("--all", help="Also those replayed or discarded.")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="Count by error code and stage instead.")] = False,
    limit: Limit = 50,
) -> None:
    """List dead letters, newest first."""
    letters, where = current_container().dead_letters, chosen(None if every else "open", tenant, code, stage, hours)
    if groups:
        table = Table("code", "stage", "count", "newest")
        for one in letters.groups(where, limit):
            table.add_row(one.code, one.stage or "", str(one.count), f"{one.newest:%Y-%m-%d %H:%M:%S}")
    else:
        table = Table("id", "failed at", "tenant", "stage", "code", "replays", "state")
        for letter in letters.page(where, None, limit):
            table.add_row(*_cells(letter))
    console.print(table)


@app.command()
def show(letter_id: Annotated[str, typer.Argument(help="dlq_…")]) -> None:
    """Print one dead letter with its event, as JSON."""
    from deeplens.failures.routes import detail

    typer.echo(
        json.dumps(detail(_one(current_container(), letter_id)).model_dump(mode="json", by_alias=True), indent=2)
    )


@app.command()
def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="dlq_…; absent: all open ones that the options choose.")
    ] = None,
    tenant: Tenant = "",
    code: Code = "",
    stage: StageName = "",
    hours: Hours = 0,
    limit: Limit = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what was settled, or has failed again after three replays.")
    ] = False,
) -> None:
    """Replay dead letters: send their records to their topics again."""
    from deeplens.failures.replay import Replay

    if not (ids or tenant or code or stage or hours):
        raise fail("name letters, or choose some with --tenant, --code, --stage or --hours")
    container = current_container()
    where = DeadLetterFilter(ids=tuple(ids)) if ids else chosen("open", tenant, code, stage, hours)
    found = container.dead_letters.page(where, None, max(limit, len(ids or [])))
    verdicts = container.build(Replay)(found, force=force, dry_run=dry_run)
    refused = [one for one in verdicts if one.refused]
    for one in refused:
        console.print(f"{one.letter.entry.id}: {one.refused}", highlight=False)
    console.print(f"{len(verdicts) - len(refused)} {'would be sent' if dry_run else 'sent'} again, {len(refused)} not")
    raise typer.Exit(1 if refused or len(verdicts) < len(ids or []) else 0)


@app.command()
def discard(
    letter_id: Annotated[str, typer.Argument(help="dlq_…")],
    reason: Annotated[str, typer.Option(help="Why; kept with it.")],
) -> None:
    """Discard a dead letter without replaying it."""
    container = current_container()
    letter = _one(container, letter_id)
    if not container.dead_letters.discard(letter_id, reason, datetime.now(UTC)):
        raise fail(f"{letter_id} was {letter.state} already")
    console.print("discarded")


def _one(container: Container, letter_id: str) -> KeptDeadLetter:
    found = container.dead_letters.page(DeadLetterFilter(ids=(letter_id,)), None, 1)
    if not found:
        raise fail(f"there is no dead letter {letter_id}")
    return found[0]


def _cells(letter: KeptDeadLetter) -> list[str]:
    entry = letter.entry
    failed_at, replays = f"{entry.failed_at:%Y-%m-%d %H:%M:%S}", str(letter.replays_in_all)
    return [entry.id, failed_at, entry.tenant_id or "", entry.stage or "", entry.error_code, replays, letter.state]
