"""``deeplens upload``: read the options, show the progress and a summary, and set the exit status."""

import hashlib
import math
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from local.cli.screen import console, print_error, show
from local.stack.config import LocalConfig
from local.upload.client import Api, ClientCredentials
from local.upload.files import find_files, printable, total
from local.upload.journal import Entry, Journal
from local.upload.run import MAX_BATCH_FILES, Run, tally
from local.upload.sender import Sender

INTERRUPTED = 130
MAX_PRINTED_FAILURES = 20
ACCEPTED = "accepted; GET /v1/images?status=failed lists images whose processing failed (videos: /v1/videos)"
LABELS = {
    "sent": "sent",
    "sending": "would be sent",
    "known": "known to the server",
    "same": "same bytes as another file",
    "done before": "done in an earlier run",
    "skipped": "left out",
    "failed": "failed",
}


def upload(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, and folders of files.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also files in subfolders.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="Tag of every image; repeat for several.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of batches that are sent in parallel.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent.")] = False,
    url: Annotated[str, typer.Option(envvar="DEEPLENS_URL", help="URL of the API; default: the local stack.")] = "",
    key: Annotated[str, typer.Option(envvar="DEEPLENS_KEY", help="API key.", show_default=False)] = "",
    client_id: Annotated[str, typer.Option(envvar="DEEPLENS_CLIENT_ID", help="Client id, instead of a key.")] = "",
    client_secret: Annotated[str, typer.Option(envvar="DEEPLENS_CLIENT_SECRET", show_default=False)] = "",
    journal: Annotated[Path | None, typer.Option(help="File of the journal; default: one per API and key.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also send files that the journal lists as done.")] = False,
) -> None:
    """Send images and videos to an API. After Ctrl-C, the same command resumes where it stopped.

    The command hashes each file once, asks the server which files it has, and sends only the others. Exit status: 0 if
    the server has all files, 1 if a file failed, 2 if the server could not be asked, 130 after Ctrl-C.

    "Sent" means that the server accepted a file. `GET /v1/images?status=failed` lists images whose processing failed.
    """
    if not key and not (client_id and client_secret):
        raise typer.BadParameter("give --key or DEEPLENS_KEY, or --client-id with --client-secret")
    base = (url or f"http://{LocalConfig().host}:{LocalConfig().api_port}").rstrip("/").removesuffix("/v1")
    stopping = threading.Event()
    auth = None if key else ClientCredentials(base, client_id, client_secret)
    path = journal or default_journal(base, key.split("_")[1] if key.count("_") > 1 else client_id)
    with open_journal(path, dry_run=dry_run) as opened:
        api = Api(base, stopping, {"X-API-Key": key} if key else {}, auth, workers + 1)
        sender = Sender(api, opened, tag or [], dry_run=dry_run)
        try:
            code = _run(paths, recursive, sender, opened, stopping, workers, again)
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            api.close()
    raise typer.Exit(code)


def default_journal(base: str, caller: str) -> Path:
    """Return the journal's default path, one per API and caller."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "deeplens" / f"upload-{hashlib.sha256(f'{base} {caller}'.encode()).hexdigest()[:16]}.sqlite"


@contextmanager
def open_journal(path: Path, *, dry_run: bool) -> Iterator[Journal]:
    """Open the journal; a dry run uses a temporary one."""
    with tempfile.TemporaryDirectory(prefix="deeplens-upload-") as folder:
        try:
            journal = Journal(Path(folder) / "journal.sqlite" if dry_run else path)
        except (OSError, sqlite3.Error) as error:
            raise typer.BadParameter(
                printable(f"cannot open the journal {path}: {error}"), param_hint="--journal"
            ) from None
        try:
            yield journal
        finally:
            journal.close()


def _run(
    paths: list[Path],
    recursive: bool,
    sender: Sender,
    journal: Journal,
    stopping: threading.Event,
    workers: int,
    again: bool,
) -> int:
    files, size = total(paths, recursive=recursive)
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")),
        *(TimeElapsedColumn(), TextColumn("remaining"), TimeRemainingColumn()),
    )
    interrupted = False
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("files", total=files, rate="")

        def advance(_: Entry) -> None:
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.1f}/s" if speed else "")

        run = Run(sender, journal, advance, stopping, workers=workers, resume=not again)
        try:
            batch_files = max(1, min(MAX_BATCH_FILES, math.ceil(files / workers)))
            run(find_files(paths, recursive=recursive), batch_files=batch_files)
        except KeyboardInterrupt:
            interrupted = True
        seconds = progress.tasks[0].elapsed or 0.0
    return report(run, journal, files, size, seconds, interrupted=interrupted)


def report(run: Run, journal: Journal, files: int, size: int, seconds: float, *, interrupted: bool) -> int:
    """Print the summary and return the exit status."""
    counts = tally(journal.counts(), run.done_before)
    pending = counts.pop("sending", 0) if interrupted or run.fatal else 0
    table = Table("files", "", title=f"{files} files, {size / 1e6:,.1f} MB, {seconds:.1f} s", title_justify="left")
    for state, label in LABELS.items():
        if counts[state]:
            table.add_row(str(counts[state]), label)
    unfinished = files - sum(counts.values())
    if unfinished:
        table.add_row(str(unfinished), "not done yet" + (f", {pending} of them in progress" if pending else ""))
    shown = {"files": files, "bytes": size, "seconds": round(seconds, 1), "notDone": unfinished, "states": dict(counts)}
    failures = [{"path": printable(entry.path), "code": entry.code} for entry in journal.failures(MAX_PRINTED_FAILURES)]
    fatal = {"code": run.fatal.code, "reason": run.fatal.reason} if run.fatal else None
    show({**shown, "failures": failures, "error": fatal, "interrupted": interrupted}, table)
    if counts["sent"]:
        console.print(f"sent: {ACCEPTED}", highlight=False, markup=False, soft_wrap=True)
    _print_reasons(journal)
    if run.fatal:
        if not console.stderr:
            print_error(f"{run.fatal.code}: {run.fatal.reason}")
        return 2
    if interrupted:
        path = printable(str(journal.path))
        console.print(f"interrupted; the same command resumes (journal: {path})", highlight=False)
        return INTERRUPTED
    return 1 if counts["failed"] else 0


def _print_reasons(journal: Journal) -> None:
    for state in ("skipped", "failed"):
        for code, count, reason in journal.reasons(state):
            console.print(f"{LABELS[state]}: {count} × {code}, e.g. {reason}", highlight=False, markup=False)
    for entry in journal.failures(MAX_PRINTED_FAILURES):
        line = f"  {printable(entry.path)}: {entry.code}: {entry.reason}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
