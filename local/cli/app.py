"""``deeplens``: run and operate DeepLens on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.live import Live

from local.cli import dead_letters, keys, maintenance, models, tenants, topics
from local.cli.invoke import invoke
from local.cli.screen import console, fail, status_view
from local.cli.upload import upload
from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import Stack, running

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(models.app, name="models")
app.add_typer(maintenance.app, name="maintenance")
app.command()(upload)
app.command()(invoke)

Storage = Annotated[str, typer.Option(help="Store of new tenants: nfs (a directory) or s3 (LocalStack).")]


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all is ready; stop with `down`.")] = False,
) -> None:
    """Start brokers, databases, LocalStack, vector index, inference endpoint and functions, and show their status.

    Ports and folders are environment variables: DEEPLENS_API_PORT, DEEPLENS_IDENTITY_PORT, DEEPLENS_KAFKA_PORT,
    DEEPLENS_POSTGRES_PORT, DEEPLENS_AWS_PORT, DEEPLENS_QDRANT_PORT, DEEPLENS_INFERENCE_PORT (0 means any free one),
    DEEPLENS_STATE_DIR, DEEPLENS_STORAGE. A service whose address is set (KAFKA_BROKERS, DATABASE_URL, AWS_ENDPOINT_URL,
    QDRANT_URL, INFERENCE_URL) is used where it is and not started.
    """
    config = LocalConfig()
    if state := running(config.state_dir):
        console.print(f"already running: {state['api']}/v1 (process {state['pid']})")
        return
    if detach:
        console.print(f"running: {start_detached(config)['api']}/v1; stop it with `deeplens down`")
    else:
        run_in_foreground(Stack(config))


def run_in_foreground(stack: Stack) -> None:
    """Start, show the live status until Ctrl-C or SIGTERM, stop."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with console.status("starting") as spinner:
            stack.start(lambda service, state: spinner.update(f"{service}: {state}"))
        with Live(status_view(stack.status()), console=console, refresh_per_second=2, transient=True) as live:
            while True:
                time.sleep(0.5)
                stack.write_status()
                live.update(status_view(stack.status()))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with console.status("stopping"):
            stack.stop()
        console.print("stopped")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def start_detached(config: LocalConfig, patience_seconds: float = 900) -> dict[str, Any]:
    """Start the stack as a process of its own and wait until it is ready; returns its state."""
    config.log_dir.mkdir(parents=True, exist_ok=True)
    log_path = config.log_dir / "stack.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.cli.main", "up"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=dict(os.environ) | {"DEEPLENS_STATE_DIR": str(config.state_dir.absolute())},
        )
    deadline = time.monotonic() + patience_seconds
    with console.status("starting the stack; the first time fetches Kafka and LocalStack"):
        while time.monotonic() < deadline:
            if (state := running(config.state_dir)) and state["pid"] == process.pid:
                return state
            if process.poll() is not None:
                raise ServiceFailed(log_path.read_text(errors="replace").strip().rpartition("error: ")[2])
            time.sleep(0.1)
    process.terminate()
    raise ServiceFailed(f"the stack was not ready within {patience_seconds:.0f} s; see {log_path}")


@app.command()
def down() -> None:
    """Stop the stack. Its data stays in its folder."""
    config = LocalConfig()
    state = running(config.state_dir)
    if state is None:
        console.print("nothing is running")
        return
    stop_detached(state)
    console.print("stopped")


def stop_detached(state: dict[str, Any], patience_seconds: float = 30) -> None:
    os.kill(state["pid"], signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        try:
            os.kill(state["pid"], 0)
            os.waitpid(state["pid"], os.WNOHANG)
        except ChildProcessError:
            time.sleep(0.05)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(state["pid"], signal.SIGKILL)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False) -> None:
    """Show services and functions of the running stack."""
    config = LocalConfig()
    if running(config.state_dir) is None:
        raise fail("nothing is running; start with `deeplens up`")
    found = json.loads((config.state_dir / "status.json").read_text())
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        console.print(status_view(found))


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A service or function, e.g. kafka or on_image_uploaded.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines from the end.")] = 50,
) -> None:
    """Print logs; without a name, list them."""
    folder = LocalConfig().log_dir
    found = {path.stem: path for path in sorted(folder.rglob("*.log"))}
    if not name:
        for stem, path in found.items():
            console.print(f"{stem:28} {path}")
        return
    if name not in found:
        raise fail(f"no log {name}; there are {', '.join(found) or 'none'}")
    options = ["-f"] if follow else []
    raise typer.Exit(subprocess.call(["tail", *options, "-n", str(lines), str(found[name])]))


@app.command()
def demo(
    photos: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder of your own instead.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Most photos of that folder.")] = 200,
    leave: Annotated[bool, typer.Option("--exit", help="Stop the stack at the end; exit 0 only if all held.")] = False,
) -> None:
    """Upload photos and copies of them, wait until they are searchable, search, and draw the result."""
    from local.demo.run import run_demo

    config = LocalConfig()
    already = running(config.state_dir)
    try:
        state = already or start_detached(config)
        held = run_demo(state, config, photos, limit, stays_up=not leave)
    finally:
        if leave and (state_now := running(config.state_dir)):
            stop_detached(state_now)
    if leave:
        raise typer.Exit(0 if held else 1)


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="pipeline, search, cold_start (these: all), model, duplicates, inference, neighbours, upload, video"
        ),
    ] = "all",
    images: Annotated[int | None, typer.Option(min=1, help="Images of the pipeline bench; 500 if absent.")] = None,
    vectors: Annotated[int | None, typer.Option(min=1, help="Vectors of the search bench; 10,000 if absent.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of each cell of the inference bench; 3 if absent.")] = None,
    flood: Annotated[
        int | None, typer.Option(min=1, help="Images queued beside the neighbours bench's tenant; 20,000 if absent.")
    ] = None,
    files: Annotated[int | None, typer.Option(min=10, help="Files of the upload bench; 5,000 if absent.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Show that benches work: each small, and all means every one.")
    ] = False,
) -> None:
    """Measure, print tables and write .bench/NAME.json; with --smoke, .bench/smoke/NAME.json."""
    from local.bench.run import run_benches

    given: dict[str, dict[str, float | None]] = {
        "pipeline": {"count": images},
        "search": {"count": vectors},
        "inference": {"seconds": seconds},
        "neighbours": {"flood": flood},
        "upload": {"count": files},
    }
    sizes = {one: {key: size for key, size in named.items() if size is not None} for one, named in given.items()}
    run_benches(name, sizes, smoke=smoke)


@app.command()
def chaos(
    photos: Annotated[int, typer.Option(min=1, help="Photos to upload; every 25th is broken and has to fail.")] = 1000,
    clients: Annotated[int, typer.Option(min=1, help="Clients that upload at the same time.")] = 6,
    seconds: Annotated[float, typer.Option(min=5, help="Over which uploads and strikes are spread.")] = 120,
    seed: Annotated[int, typer.Option(help="Of strikes, photos and faults; the same seed strikes the same.")] = 1,
    faults: Annotated[
        float, typer.Option(min=0, max=0.2, help="Probability of dying before and after each side effect.")
    ] = 0.002,
    storage: Annotated[Literal["nfs", "s3"], typer.Option(help="With s3 LocalStack, forgetful, is spared.")] = "nfs",
) -> None:
    """Upload photos while services and functions crash, then check that none was lost, stuck or duplicated.

    A stack of its own is started on free ports. While clients upload over HTTP, with an Idempotency-Key and repeats
    after errors, broker, PostgreSQL, inference endpoint, vector index, LocalStack and functions are killed (kill -9)
    or frozen (SIGSTOP, later SIGCONT), and functions die between two side effects. Services that die are started again,
    as always.

    When all has settled, every upload that was answered 202 must be completed, or failed with a reason that its tenant
    can read and an operator can replay. Each completed image has one vector and one set of files, nothing else is left
    in database, store or index, and no outage made a dead letter. Figures go to .bench/chaos.json.

    Exits 1 on any violation, says which, keeps the stack's folder and prints the command that runs the same again:
    alike, not identical, as signals hit whatever is running at that moment.
    """
    from local.chaos.report import report
    from local.chaos.run import Options, run_chaos

    options = Options(photos, clients, seconds, seed, storage, faults)
    held = report(options, run_chaos(options))
    raise typer.Exit(0 if held else 1)
