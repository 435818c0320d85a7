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

from local.cli import clients, dead_letters, keys, mail, maintenance, models, tenants, topics, users
from local.cli.commands import Commands
from local.cli.container import STACK_VARIABLE
from local.cli.invoke import invoke
from local.cli.probe import probe
from local.cli.screen import console, fail, show, show_line, status_view
from local.cli.top import top
from local.cli.trace import trace
from local.cli.upload import upload
from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import Stack, running_stack

app = Commands(help=__doc__)
app.add_typer(tenants.app, name="tenants")
app.add_typer(users.app, name="users")
app.add_typer(clients.app, name="clients")
app.add_typer(keys.app, name="keys")
app.add_typer(mail.app, name="mail")
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(models.app, name="models")
app.add_typer(maintenance.app, name="maintenance")
app.command(example="deeplens upload ~/Pictures --recursive --tag holiday --key dl_…")(upload)
app.command(example="deeplens probe --key dl_…")(probe)
app.command(example="deeplens invoke on_schedule --event events/on_schedule.json")(invoke)
app.command(example="deeplens trace img_…")(trace)
app.command(example="deeplens top --once")(top)


@app.callback()
def options(
    stack: Annotated[
        str, typer.Option("--stack", envvar=STACK_VARIABLE, help="Work on this deployed stack of CloudFormation.")
    ] = "",
) -> None:
    """Run and operate DeepLens: on this machine, or with --stack on AWS."""
    if stack:
        os.environ[STACK_VARIABLE] = stack


Storage = Annotated[str, typer.Option(help="Store of new tenants: nfs (a directory) or s3 (LocalStack).")]


@app.command(example="deeplens up --detach")
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the stack is ready; stop it with `down`.")
    ] = False,
) -> None:
    """Start brokers, databases, LocalStack, vector index, inference endpoint and functions, and show their status.

    Environment variables set ports and folders: DEEPLENS_API_PORT, DEEPLENS_IDENTITY_PORT, DEEPLENS_KAFKA_PORT,
    DEEPLENS_POSTGRES_PORT, DEEPLENS_AWS_PORT, DEEPLENS_QDRANT_PORT, DEEPLENS_INFERENCE_PORT, DEEPLENS_TELEMETRY_PORT
    (0 means any free port), DEEPLENS_STATE_DIR, DEEPLENS_STORAGE. A service whose address is set (KAFKA_BROKERS,
    DATABASE_URL, AWS_ENDPOINT_URL, QDRANT_URL, INFERENCE_URL) is not started; the one at that address is used.
    """
    config = LocalConfig()
    if state := running_stack(config.state_dir):
        show(_addresses(state), f"already running: {state['api']}/v1 (process {state['pid']})")
        return
    if detach:
        state = start_detached(config)
        show(_addresses(state), f"running: {state['api']}/v1; stop it with `deeplens down`")
    else:
        run_in_foreground(Stack(config))


def _addresses(state: dict[str, Any]) -> dict[str, Any]:
    """What may be shown of the stack's state: its environment has keys."""
    addresses = {"api": f"{state['api']}/v1", "identity": state["environment"]["IDENTITY_URL"]}
    return {**addresses, "metrics": state["metrics"], "pid": state["pid"]}


def run_in_foreground(stack: Stack) -> None:
    """Start the stack, show its status until Ctrl-C or SIGTERM, and stop it."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with console.status("starting") as spinner:
            stack.start(lambda service, state: spinner.update(f"{service}: {state}"))
        if console.stderr:
            addresses = {"api": f"{stack.api_url}/v1", "identity": stack.identity_url, "metrics": stack.metrics_url}
            show_line({**addresses, "pid": os.getpid()}, "")
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


def start_detached(config: LocalConfig, timeout_seconds: float = 900) -> dict[str, Any]:
    """Start the stack in a separate process, wait until it is ready, and return its state."""
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
    deadline = time.monotonic() + timeout_seconds
    with console.status("starting the stack; the first start downloads Kafka and LocalStack"):
        while time.monotonic() < deadline:
            if (state := running_stack(config.state_dir)) and state["pid"] == process.pid:
                return state
            if process.poll() is not None:
                raise ServiceFailed(log_path.read_text(errors="replace").strip().rpartition("error: ")[2])
            time.sleep(0.1)
    process.terminate()
    raise ServiceFailed(f"the stack was not ready within {timeout_seconds:.0f} s; see {log_path}")


@app.command(example="deeplens down")
def down() -> None:
    """Stop the stack. Its data remains in its folder."""
    config = LocalConfig()
    state = running_stack(config.state_dir)
    if state is None:
        show({"stopped": False}, "nothing is running")
        return
    stop_detached(state)
    show({"stopped": True}, "stopped")


def stop_detached(state: dict[str, Any], timeout_seconds: float = 30) -> None:
    os.kill(state["pid"], signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
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


@app.command(example="deeplens status --json")
def status() -> None:
    """Show services and functions of the running stack."""
    config = LocalConfig()
    if running_stack(config.state_dir) is None:
        raise fail("nothing is running; start with `deeplens up`")
    state = json.loads((config.state_dir / "status.json").read_text())
    show(state, lambda: status_view(state))


@app.command(example="deeplens logs on_image_uploaded --follow")
def logs(
    name: Annotated[str, typer.Argument(help="A service or function, e.g. kafka or on_image_uploaded.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Number of lines from the end.")] = 50,
) -> None:
    """Print logs; without a name, list them. With --json each line is a string of JSON, or the JSON that it is."""
    folder = LocalConfig().log_dir
    paths = {path.stem: path for path in sorted(folder.rglob("*.log"))}
    if not name:
        show(paths, *(f"{stem:28} {path}" for stem, path in paths.items()))
        return
    if name not in paths:
        raise fail(f"there is no log {name}; logs: {', '.join(paths) or 'none'}")
    options = ["-f"] if follow else []
    tail = ["tail", *options, "-n", str(lines), str(paths[name])]
    if not console.stderr:
        raise typer.Exit(subprocess.call(tail))
    with subprocess.Popen(tail, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout or ():
            show_line(_parsed(line.rstrip("\n")), "")
    raise typer.Exit(process.returncode)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


@app.command(example="deeplens demo --photos ~/Pictures --limit 50")
def demo(
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of your photos, instead of the built-in ones."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of photos from that folder.")] = 200,
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop the stack at the end; exit with 1 if an image failed or was not found.")
    ] = False,
) -> None:
    """Upload photos and copies of them, search with the copies, and write the result as a web page."""
    from local.demo.run import run_demo

    config = LocalConfig()
    running = running_stack(config.state_dir)
    try:
        state = running or start_detached(config)
        succeeded = run_demo(state, config, photos, limit, stays_up=not leave)
    finally:
        if leave and (running := running_stack(config.state_dir)):
            stop_detached(running)
    if console.stderr:
        show({"succeeded": succeeded})
    if leave:
        raise typer.Exit(0 if succeeded else 1)


@app.command(example="deeplens bench pipeline --images 200")
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="pipeline, search, telemetry, cold_start (all: these), model, duplicates, inference, neighbours, "
            "upload, video"
        ),
    ] = "all",
    images: Annotated[
        int | None, typer.Option(min=1, help="Number of images of the pipeline bench; default 500.")
    ] = None,
    vectors: Annotated[int | None, typer.Option(min=1, help="Vectors of the search bench; default 10,000.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Duration of each measurement of the inference bench; default 3.")
    ] = None,
    flood: Annotated[
        int | None, typer.Option(min=1, help="Backlog of the other tenant in the neighbours bench; default 20,000.")
    ] = None,
    files: Annotated[int | None, typer.Option(min=10, help="Files of the upload bench; default 5,000.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Only check that benches work, in small sizes; here all means every bench.")
    ] = False,
) -> None:
    """Measure, print tables and write .bench/NAME.json; with --smoke, .bench/smoke/NAME.json."""
    from local.bench.run import run_benches

    options: dict[str, dict[str, float | None]] = {
        "pipeline": {"count": images},
        "search": {"count": vectors},
        "inference": {"seconds": seconds},
        "neighbours": {"flood": flood},
        "upload": {"count": files},
    }
    sizes = {
        bench_name: {key: size for key, size in arguments.items() if size is not None}
        for bench_name, arguments in options.items()
    }
    figures = run_benches(name, sizes, smoke=smoke)
    if console.stderr:
        show(figures)


@app.command(example="deeplens chaos --photos 500 --seconds 60 --seed 7")
def chaos(
    photos: Annotated[int, typer.Option(min=1, help="Number of photos; every 25th is corrupt and must fail.")] = 1000,
    clients: Annotated[int, typer.Option(min=1, help="Number of clients that upload at the same time.")] = 6,
    seconds: Annotated[float, typer.Option(min=5, help="Duration of uploads and strikes.")] = 120,
    seed: Annotated[int, typer.Option(help="Seed of strikes, photos and faults.")] = 1,
    faults: Annotated[
        float,
        typer.Option(min=0, max=0.2, help="Probability that a function dies before, and after, each side effect."),
    ] = 0.002,
    storage: Annotated[
        Literal["nfs", "s3"], typer.Option(help="Store of the photos; with s3, LocalStack is not killed or frozen.")
    ] = "nfs",
) -> None:
    """Upload photos while services and functions crash, then check that none was lost, stuck or duplicated.

    The command starts a separate stack on free ports. Clients upload over HTTP, with an Idempotency-Key and retries.
    Meanwhile it kills (SIGKILL) or freezes (SIGSTOP, later SIGCONT) broker, PostgreSQL, inference endpoint, vector
    index, LocalStack and functions, and functions die between two side effects. Services that die are restarted, as
    always.

    In the end, every upload with the answer 202 must be completed, or failed with a reason that the tenant can read
    and a dead letter that an operator can replay. Each completed image must have one vector and one set of files,
    database, store and index must contain nothing else, and no outage may have caused a dead letter. The figures are
    written to .bench/chaos.json.

    After a violation the command prints it, keeps the stack's folder, exits with 1, and prints the command that
    repeats the run. The repetition is similar, not identical, because signals meet other work.
    """
    from local.chaos.report import report
    from local.chaos.run import Options, run_chaos

    options = Options(photos, clients, seconds, seed, storage, faults)
    outcome = run_chaos(options)
    succeeded = report(options, outcome)
    if console.stderr:
        show({"violations": outcome.violations, "repeatWith": options.command, "figures": outcome.figures})
    raise typer.Exit(0 if succeeded else 1)
