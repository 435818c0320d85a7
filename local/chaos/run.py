"""``deeplens chaos``: kill and freeze a separate stack while clients upload, then check that no photo was lost."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from deeplens.bootstrap.container import Container
from deeplens.common.ids import keyed_id
from deeplens.errors import DeepLensError
from deeplens.images.model import Step
from deeplens.tenants.model import Tenant
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.chaos.audit import Audit, Expected, audit, metered_of, rows_of
from local.chaos.clients import Account, Clients, Load, Uploads
from local.chaos.photos import is_broken
from local.chaos.schedule import plan
from local.chaos.striker import Striker
from local.cli.screen import console
from local.runner.schedule_source import schedule_event
from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import Stack

PENDING_DUE_SECONDS = 35
"""Age at which unfinished images are sent again; it must exceed the longest request."""
TICK_SECONDS = 5
"""Interval of the schedule after the uploads; by default it is a minute."""
TENANTS = 3
PORTS = (
    "api_port",
    "identity_port",
    "inference_port",
    "kafka_port",
    "postgres_port",
    "aws_port",
    "qdrant_port",
    "telemetry_port",
)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a chaos run.

    Attributes
    ----------
    seconds : duration of the uploads and strikes.
    faults : probability that a function's process dies before, and after, each of its side effects.
    settle_seconds : time limit for processing after the uploads.
    """

    photos: int = 1000
    clients: int = 6
    seconds: float = 120
    seed: int = 1
    storage: Literal["nfs", "s3"] = "nfs"
    faults: float = 0.002
    settle_seconds: float = 240

    @property
    def command(self) -> str:
        counts = f"--photos {self.photos} --clients {self.clients} --seconds {self.seconds:g} --seed {self.seed}"
        return f"deeplens chaos {counts} --faults {self.faults:g} --storage {self.storage}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of ``chaos.json``, and a description of each violation."""

    figures: dict[str, Any]
    violations: Sequence[str]


def services_to_strike(storage: str) -> tuple[str, ...]:
    """Return the services to strike; LocalStack loses its data, so it is excluded when it stores the photos."""
    return ("kafka", "postgres", "inference", "vectors", *(("localstack",) if storage == "nfs" else ()))


@contextmanager
def chaos_stack(options: Options) -> Iterator[Stack]:
    """Yield a stack whose functions crash at random; after an error its folder is kept."""
    # Not TemporaryDirectory, which the user that PostgreSQL runs as could not enter.
    folder = Path(tempfile.mkdtemp(prefix="deeplens-chaos-"))
    ports: dict[str, Any] = dict.fromkeys(PORTS, 0)
    config = LocalConfig(
        state_dir=folder,
        storage=options.storage,
        pending_due_seconds=PENDING_DUE_SECONDS,
        faults=f"{options.seed}:{options.faults:.6f}",
        **ports,
    )
    stack = Stack(config, environment={})
    try:
        with console.status("starting a stack for chaos"):
            stack.start()
        yield stack
    except BaseException:
        console.print(f"logs and data of this run are in {folder}")
        raise
    finally:
        stack.stop()
    shutil.rmtree(folder, ignore_errors=True)


class ViolationsFound(Exception):
    """The run has violations. Raising it keeps the stack's folder; it carries the outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{len(outcome.violations)} violations")
        self.outcome = outcome


def run_chaos(options: Options) -> Outcome:
    """Run chaos and return the outcome; keep the stack's folder if there are violations."""
    try:
        with chaos_stack(options) as stack:
            outcome = strike_and_check(stack, options)
            if outcome.violations:
                raise ViolationsFound(outcome)
            return outcome
    except ViolationsFound as error:
        return error.outcome


def strike_and_check(stack: Stack, options: Options) -> Outcome:
    """Upload under strikes, wait until all work has ended, and audit the stack."""
    assert stack.runner is not None
    container = stack.container()
    tenants = [provision(container, number, options.storage) for number in range(TENANTS)]
    accounts = [Account(tenant.id, container.api_keys.create(tenant.id, "chaos")) for tenant in tenants]
    url = f"{stack.api_url}/v1"
    load = Load(url, accounts, options.photos, options.clients, options.seconds, options.seed)
    started = time.monotonic()
    with progress_bars() as bars:
        uploads, striker = upload_under_strikes(stack, load, options, bars)
        uploaded = time.monotonic()
        expected = [expected_of(tenant, load, uploads) for tenant in tenants]
        settled = settle(stack, container, expected, options.settle_seconds, bars)
    result = audit(container, expected, pending_images(container))
    _audit_answers(result, uploads, load, settled)
    ended = time.monotonic()
    figures = {
        "photos": options.photos,
        "accepted": len(uploads.accepted),
        **{name: result.counts[name] for name in ("completed", "failed_with_reason", "lost", "stuck")},
        **{name: result.counts[name] for name in ("duplicate_vectors", "orphans", "dead_letters", "wrong_ends")},
        "repeated_requests": sum(uploads.retries.values()),
        "kills": striker.done["kill"],
        "freezes": striker.done["freeze"],
        "parts_restarted": stack.supervisor.restarts,
        "functions_restarted": sum(pool.restarts for pool in stack.runner.pools.values()),
        "upload_seconds": round(uploaded - started, 1),
        "settle_seconds": round(ended - uploaded, 1),
        "seed": options.seed,
    }
    return Outcome(figures, result.violations)


def provision(container: Container, number: int, storage: str) -> Tenant:
    return container.provisioning.provision(f"tenant_chaos_{number}", f"Chaos {number}", storage)


def progress_bars() -> Progress:
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def upload_under_strikes(stack: Stack, load: Load, options: Options, bars: Progress) -> tuple[Uploads, Striker]:
    """Upload while the schedule strikes; return when both have ended and all services answer again."""
    assert stack.runner is not None
    task = bars.add_task("uploaded", total=load.photos)
    clients = Clients(load, lambda: bars.advance(task))
    pools = stack.runner.pools.items()
    functions = [name for name, pool in pools if pool.spec.events and name not in ("identity_api", "admin_api")]
    strikes = plan(options.seed, options.seconds, services_to_strike(options.storage), functions)
    striker = Striker(stack, strikes, lambda line: bars.console.print(line, style="dim", highlight=False))
    clients.start()
    striker.start()
    try:
        clients.join()
        striker.join()
    finally:
        striker.stop()
    for service in stack.services:
        _until(lambda service=service: service.ready(), 90, f"{service.name} does not answer")  # type: ignore[misc]
    return clients.uploads, striker


def expected_of(tenant: Tenant, load: Load, uploads: Uploads) -> Expected:
    ids = {
        number: keyed_id("img", tenant.id, load.key_of(number))
        for number in range(load.photos)
        if load.account_of(number).tenant_id == tenant.id
    }
    return Expected(
        tenant,
        frozenset(ids.values()),
        frozenset(uploads.accepted[number] for number in ids.keys() & uploads.accepted.keys()),
        frozenset(image_id for number, image_id in ids.items() if is_broken(number)),
    )


def settle(stack: Stack, container: Container, expected: Sequence[Expected], seconds: float, bars: Progress) -> bool:
    """Run the schedule and wait until all work has ended; return False after ``seconds``."""
    assert stack.runner is not None
    task = bars.add_task("ended", total=sum(len(photos.accepted) for photos in expected))
    deadline, tick = time.monotonic() + seconds, 0.0
    while time.monotonic() < deadline:
        if time.monotonic() >= tick:
            stack.runner.pools["on_schedule"].invoke(schedule_event())
            tick = time.monotonic() + TICK_SECONDS
        try:
            ended, all_ended = _count_ended(container, expected)
        except DeepLensError:
            continue
        bars.update(task, completed=ended)
        if all_ended and not any(row["lag"] for row in stack.runner.status()):
            return True
        time.sleep(0.5)
    return False


def _count_ended(container: Container, expected: Sequence[Expected]) -> tuple[int, bool]:
    """Return the number of images that ended, and whether all did, none is pending and all are metered."""
    ended, completed, metered = 0, 0, 0.0
    for photos in expected:
        steps = [row.step for row in rows_of(container, photos.tenant).values()]
        ended += sum(step in (Step.COMPLETED, Step.FAILED) for step in steps)
        completed += steps.count(Step.COMPLETED)
        metered += metered_of(container, photos.tenant)
    accepted = sum(len(photos.accepted) for photos in expected)
    return ended, not pending_images(container) and completed == metered and ended >= accepted


def pending_images(container: Container) -> list[str]:
    """Return the ids of all tenants' accepted and unfinished images."""
    with container.connections.platform() as connection:
        return [row["image_id"] for row in connection.execute("SELECT image_id FROM pending_images")]


def _audit_answers(result: Audit, uploads: Uploads, load: Load, settled: bool) -> None:
    """Check the answers to clients: no upload was refused, and each failed image has a reason."""
    if not settled:
        result.violations.append("processing did not end in time")
    for number, answer in sorted(uploads.refused.items()):
        result.add_violation("wrong_ends", f"photo {number}", f"was refused: {answer}")
    for number in sorted(uploads.unanswered):
        result.add_violation("wrong_ends", f"photo {number}", "was never accepted")
    for number, image_id in uploads.accepted.items():
        if is_broken(number):
            headers = {"X-API-Key": load.account_of(number).key}
            response = httpx.get(f"{load.url}/images/{image_id}", headers=headers, timeout=30, trust_env=False)
            error = (response.json().get("error") or {}) if response.status_code == 200 else {}
            if not (error.get("code") and error.get("message")):
                result.add_violation("wrong_ends", image_id, f"does not say why it failed: {response.text[:200]}")


def _until(condition: Callable[[], bool], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{problem} after {seconds:.0f} s")
        time.sleep(0.1)
