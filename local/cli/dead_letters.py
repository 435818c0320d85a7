"""``deeplens dlq``: list, replay and discard dead letters."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from deeplens.bootstrap.container import Container
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, DeadLetterState
from rich.table import Table

from local.cli.container import current_container
from local.cli.screen import console, fail

app = typer.Typer(
    no_args_is_help=True, help="List, show, replay and discard dead letters: records that processing gave up."
)

Tenant = Annotated[str, typer.Option(help="Only dead letters of this tenant, e.g. tenant_demo.")]
Code = Annotated[str, typer.Option(help="Only dead letters with this error code, e.g. STAGE_FAILED.")]
StageName = Annotated[str, typer.Option(help="Only dead letters of this stage, e.g. extract.")]
Hours = Annotated[float, typer.Option(help="Only dead letters of the last N hours; 0 for all.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Maximum number of dead letters.")]


def filter_of(state: DeadLetterState | None, tenant: str, code: str, stage: str, hours: float) -> DeadLetterFilter:
    since = datetime.now(UTC) - timedelta(hours=hours) if hours else None
    return DeadLetterFilter((), tenant or None, code or None, stage or None, state, failed_from=since)


@app.command("list")
def list_letters(
    tenant: Tenant = "",
    code: Code = "",
    stage: StageName = "",
    hours: Hours = 0,
    every: Annotated[bool, typer.Option("--all", help="Also replayed and discarded ones.")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="Count by error code and stage instead.")] = False,
    limit: Limit = 50,
) -> None:
    """List dead letters, newest first."""
    where = filter_of(None if every else "open", tenant, code, stage, hours)
    letters = current_container().dead_letters
    if groups:
        table = Table("code", "stage", "count", "newest")
        for group in letters.groups(where, limit):
            table.add_row(group.code, group.stage or "", str(group.count), f"{group.newest:%Y-%m-%d %H:%M:%S}")
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
        json.dumps(detail(_find(current_container(), letter_id)).model_dump(mode="json", by_alias=True), indent=2)
    )


@app.command()
def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="dlq_…; without ids, all open ones that match the options.")
    ] = None,
    tenant: Tenant = "",
    code: Code = "",
    stage: StageName = "",
    hours: Hours = 0,
    limit: Limit = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would happen.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also closed ones, and those that failed again after three replays.")
    ] = False,
) -> None:
    """Replay dead letters: send their records to their topics again."""
    from deeplens.failures.replay import Replay

    if not (ids or tenant or code or stage or hours):
        raise fail("give the ids of dead letters, or choose some with --tenant, --code, --stage or --hours")
    container = current_container()
    where = DeadLetterFilter(ids=tuple(ids)) if ids else filter_of("open", tenant, code, stage, hours)
    letters = container.dead_letters.page(where, None, max(limit, len(ids or [])))
    verdicts = container.build(Replay)(letters, force=force, dry_run=dry_run)
    refused = [verdict for verdict in verdicts if verdict.refused]
    for verdict in refused:
        console.print(f"{verdict.letter.id}: {verdict.refused}", highlight=False)
    console.print(f"{len(verdicts) - len(refused)} {'would be sent' if dry_run else 'sent'} again, {len(refused)} not")
    raise typer.Exit(1 if refused or len(verdicts) < len(ids or []) else 0)


@app.command()
def discard(
    letter_id: Annotated[str, typer.Argument(help="dlq_…")],
    reason: Annotated[str, typer.Option(help="Reason, which is stored with the dead letter.")],
) -> None:
    """Discard a dead letter without replaying it."""
    container = current_container()
    letter = _find(container, letter_id)
    if not container.dead_letters.discard(letter_id, reason, datetime.now(UTC)):
        raise fail(f"{letter_id} is already {letter.state}")
    console.print("discarded")


def _find(container: Container, letter_id: str) -> DeadLetterEntry:
    letters = container.dead_letters.page(DeadLetterFilter(ids=(letter_id,)), None, 1)
    if not letters:
        raise fail(f"there is no dead letter {letter_id}")
    return letters[0]


def _cells(letter: DeadLetterEntry) -> list[str]:
    failed_at, replays = f"{letter.failed_at:%Y-%m-%d %H:%M:%S}", str(letter.replays_in_all)
    return [letter.id, failed_at, letter.tenant_id or "", letter.stage or "", letter.error_code, replays, letter.state]
