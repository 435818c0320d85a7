"""Fault points: where they are, when they strike, and that a deployment has none."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from deeplens.bootstrap import handlers
from deeplens.bootstrap.container import SystemClock
from deeplens.storage.ports import ObjectStore
from pydantic import ValidationError

from local.chaos.faults import EFFECTS, FaultyContainer, Watched, at_random, faulty_container, main, watched
from local.stack.config import LocalConfig
from tests.fakes.storage import MemoryStores
from tests.harness.api import tenant
from tests.unit.common.test_resolve import provided

ROOT = Path(__file__).resolve().parents[4]
READS = {
    "budgets": {"of_tenant", "unnotified"},
    "dead_letters": {"page", "groups"},
    "duplicates": {"hashes", "images_with_same_bytes", "pair", "page", "group", "merge_of", "last_merge", "merges"},
    "images": {"totals", "find", "page", "after", "timeline", "with_digests"},
    "index": {"search", "neighbours", "vector_of", "existing", "scroll", "count", "ping"},
    "maintenance_runs": {"find", "of_tenant", "sweeps_due"},
    "mailer": set[str](),
    "merge_deadlines": set[str](),
    "outbox": set[str](),
    "pending": {"count"},
    "pending_videos": set[str](),
    "publisher": {"connect", "ping"},
    "registered_stores": {"find", "of_tenant", "of_container"},
    "retries": set[str](),
    "rollouts": {"find", "of_tenant", "unfinished"},
    "object_queue": set[str](),
    "store": {"get", "get_range", "head", "list", "presign_get", "uploads", "uri", "key_of", "require_ours"},
    "store_objects": {"find", "unseen", "in_state", "counts"},
    "uploads": {"find", "reserved"},
    "usage": {"days", "overview", "rows", "due_for_measurement"},
    "vector_states": {"indexed", "counts", "sample"},
    "videos": {"find", "ended", "page", "names", "segments", "frames", "frame_ids"},
    "webhooks": {"of_tenant", "find", "overdue", "deliveries"},
}
"""Methods that change nothing; every other one of a port is a fault point."""


@pytest.mark.parametrize("name", READS)
def test_every_side_effect_of_a_port_is_a_fault_point(name: str) -> None:
    port = ObjectStore if name == "store" else provided()[name]
    methods = {method for method, _ in inspect.getmembers(port, inspect.isfunction) if method[0] != "_"}
    assert EFFECTS[name] == methods - READS[name]


def test_every_port_with_side_effects_is_watched() -> None:
    assert set(EFFECTS) == set(READS)


def test_a_side_effect_has_a_point_before_and_one_after() -> None:
    seen: list[str] = []
    stores = watched("stores", MemoryStores(), lambda point: bool(seen.append(point)))
    store = stores.for_tenant(tenant("acme"))

    store.put("a", b"1", "text/plain")
    assert (store.get("a"), store.uri("a")) == (b"1", "s3://tenant-acme/a")
    assert seen == ["store.put:before", "store.put:after"]


def test_whichever_way_a_store_is_reached_its_side_effects_are_fault_points() -> None:
    seen: list[str] = []
    acme, stores = tenant("acme"), watched("stores", MemoryStores(), lambda point: bool(seen.append(point)))
    stores.holding(acme, "s3://tenant-acme/a").delete(["a"])
    assert seen == ["store.delete:before", "store.delete:after"]


@pytest.mark.parametrize(("when", "stored"), [("before", []), ("after", ["a"])])
def test_a_process_dies_with_or_without_its_effect(when: str, stored: list[str]) -> None:
    def die(point: str) -> None:
        raise SystemExit(point)

    stores = MemoryStores()
    store = watched("stores", stores, lambda point: point == f"store.put:{when}", die).for_tenant(tenant("acme"))
    with pytest.raises(SystemExit, match=f"store.put:{when}"):
        store.put("a", b"1", "text/plain")
    assert [entry.key for entry in stores.for_tenant(tenant("acme")).list()] == stored


def test_dying_is_a_function_of_the_seed() -> None:
    def deaths(seed: str) -> list[bool]:
        fault = at_random(seed, 0.3)
        return [fault("x") for _ in range(100)]

    assert deaths("7/on_image_uploaded/local/0/1") == deaths("7/on_image_uploaded/local/0/1")
    assert deaths("7/on_image_uploaded/local/0/1") != deaths("7/on_image_uploaded/local/0/2")
    assert 10 < sum(deaths("7")) < 50
    assert not any(at_random("7", 0)("x") for _ in range(100))
    assert all(at_random("7", 1)("x") for _ in range(100))


def test_death_is_kill_9() -> None:
    program = "from local.chaos.faults import die; import atexit; atexit.register(print, 'ended'); die('here')"
    environment = {"PYTHONPATH": f"{ROOT / 'layers' / 'core'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert "ended" not in done.stdout


def test_the_processes_of_a_function_die_at_other_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaths(process: str) -> list[bool]:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "on_image_uploaded")
        monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", process)
        container = faulty_container("7:0.3")
        assert isinstance(container.pending, Watched)
        assert isinstance(container.clock, SystemClock)
        return [container._fault("x") for _ in range(100)]

    assert deaths("local/0/1") == deaths("local/0/1") != deaths("local/0/2")


def test_a_function_runs_on_a_container_with_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(handlers, "container", handlers.container)
    monkeypatch.setattr("awslambdaric.__main__.main", ran.append)
    monkeypatch.setattr(sys, "argv", ["faults.py", "7:0", "handler.handler"])
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "on_image_uploaded")
    monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", "local/0/1")
    main()
    assert ran == [["faults.py", "handler.handler"]]
    assert isinstance(handlers.container(), FaultyContainer)


@pytest.mark.parametrize("faults", ["7", "7:2", "7:-0.1", ":0.5", "7:often", "7:0.1:0.2"])
def test_a_plan_that_is_none_is_refused(faults: str) -> None:
    with pytest.raises(ValidationError):
        LocalConfig(faults=faults)


@pytest.mark.parametrize("folder", ["layers", "functions"])
def test_what_is_deployed_has_no_faults(folder: str) -> None:
    deployed = [path.read_text() for path in (ROOT / folder).rglob("*.py")]
    assert len(deployed) > 10
    assert not [source for source in deployed if "DEEPLENS_FAULTS" in source or "local.chaos" in source]
    assert "DEEPLENS_FAULTS" not in (ROOT / "template.yaml").read_text()


def test_the_local_platform_has_none_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPLENS_FAULTS", raising=False)
    assert LocalConfig().faults == ""
