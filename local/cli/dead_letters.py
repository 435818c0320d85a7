"""``deeplens dlq``: list, replay and discard dead letters."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from deeplens.bootstrap.container import Container
from deeplens.failures.model import DeadLetterEntry, DeadLetterFilter, DeadLetterState

from local.cli.admin import admin_api, in_path
from local.cli.commands import Commands
from local.cli.container import current_container
from local.cli.screen import fail, plain, show, show_json, table

app = Commands(help="List, show, replay and discard dead letters: records that processing gave up.")

Tenant = Annotated[str, typer.Option(help="Only dead letters of this tenant, e.g. tenant_demo.")]
Code = Annotated[str, typer.Option(help="Only dead letters with this error code, e.g. STAGE_FAILED.")]
StageName = Annotated[str, typer.Option(help="Only dead letters of this stage, e.g. extract.")]
Hours = Annotated[float, typer.Option(help="Only dead letters of the last N hours; 0 for all.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="Maximum number of dead letters.")]


def filter_of(state: DeadLetterState | None, tenant: str, code: str, stage: str, hours: float) -> DeadLetterFilter:
    since = datetime.now(UTC) - timedelta(hours=hours) if hours else None
    return DeadLetterFilter((), tenant or None, code or None, stage or None, state, failed_from=since)


@app.command("list", example="deeplens dlq list --tenant tenant_demo --hours 24")
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
        counts = letters.groups(where, limit)
        made = table("code", "stage", "count", "newest")
        for group in counts:
            made.add_row(group.code, group.stage or "", str(group.count), f"{group.newest:%Y-%m-%d %H:%M:%S}")
        show(counts, made)
        return
    page = letters.page(where, None, limit)
    made = table("id", "failed at", "tenant", "stage", "code", "replays", "state")
    for letter in page:
        made.add_row(*_cells(letter))
    show([_document(letter) for letter in page], made)


@app.command("show", example="deeplens dlq show dlq_01kd1v8q")
def show_letter(letter_id: Annotated[str, typer.Argument(help="dlq_…")]) -> None:
    """Print one dead letter with its event, as JSON. It may contain personal data."""
    from deeplens.failures.routes import detail

    show_json(detail(_find(current_container(), letter_id)))


@app.command(example="deeplens dlq replay --tenant tenant_demo --code STAGE_FAILED --dry-run")
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
    detail = {"ids": ids, "tenantId": tenant, "code": code, "stage": stage, "hours": hours, "limit": limit}
    target = ids[0] if ids and len(ids) == 1 else "dead letters"
    with admin_api().recorded("dlq replay", target, tenant or None, detail | {"force": force, "dryRun": dry_run}):
        verdicts = container.build(Replay)(letters, force=force, dry_run=dry_run)
    refused = [verdict for verdict in verdicts if verdict.refused]
    lines = [f"{verdict.letter.id}: {verdict.refused}" for verdict in refused]
    lines += [f"{len(verdicts) - len(refused)} {'would be sent' if dry_run else 'sent'} again, {len(refused)} not"]
    results = [{"id": verdict.letter.id, "refused": verdict.refused} for verdict in verdicts]
    show({"letters": results, "dryRun": dry_run}, "\n".join(lines))
    raise typer.Exit(1 if refused or len(verdicts) < len(ids or []) else 0)


@app.command(example='deeplens dlq discard dlq_01kd1v8q --reason "test data"')
def discard(
    letter_id: Annotated[str, typer.Argument(help="dlq_…")],
    reason: Annotated[str, typer.Option(help="Reason, which is stored with the dead letter.")],
) -> None:
    """Discard a dead letter without replaying it."""
    admin_api()("POST", f"/dead-letters/{in_path(letter_id)}/discard", {"reason": reason})
    show({"discarded": letter_id}, "discarded")


def _find(container: Container, letter_id: str) -> DeadLetterEntry:
    letters = container.dead_letters.page(DeadLetterFilter(ids=(letter_id,)), None, 1)
    if not letters:
        raise fail(f"there is no dead letter {letter_id}")
    return letters[0]


def _document(letter: DeadLetterEntry) -> dict[str, Any]:
    """A letter without its record, which `deeplens dlq show` has."""
    names = ("id", "failedAt", "tenantId", "imageId", "stage", "errorCode", "state")
    return {name: value for name, value in plain(letter).items() if name in names} | {"replays": letter.replays_in_all}


def _cells(letter: DeadLetterEntry) -> list[str]:
    failed_at, replays = f"{letter.failed_at:%Y-%m-%d %H:%M:%S}", str(letter.replays_in_all)
    return [letter.id, failed_at, letter.tenant_id or "", letter.stage or "", letter.error_code, replays, letter.state]
