"""Fault points: where they are, when they strike, and that a deployment has none."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deeplens.bootstrap.container import Container
from deeplens.bootstrap.faults import FaultyContainer, Watched, at_random, effects_by_name, watched
from deeplens.bootstrap.handlers import container
from deeplens.common.effects import effects_of
from deeplens.settings import Settings, settings
from deeplens.storage.ports import ObjectStore
from pydantic import ValidationError

from local.stack.config import LocalConfig
from tests.fakes.storage import MemoryStores
from tests.harness.api import tenant
from tests.unit.common.test_resolve import provided

ROOT = Path(__file__).resolve().parents[3]
READS = {
    "budgets": {"of_tenant", "unnotified"},
    "dead_letters": {"page", "groups"},
    "duplicates": {"hashes", "images_with_same_bytes", "pair", "page", "group", "merge_of", "last_merge", "merges"},
    "images": {"totals", "find", "page", "after", "timeline", "with_digests"},
    "index": {"search", "neighbours", "vector_of", "existing", "scroll", "count", "ping"},
    "maintenance_runs": {"find", "of_tenant", "sweeps_due"},
    "merge_deadlines": set[str](),
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


def marked() -> dict[str, frozenset[str]]:
    """Methods with side effects by port, as the fault points see them."""
    found = {name: effects_by_name(name) for name in Container.providers.values()}
    return {name: effects for name, effects in found.items() if effects} | {"store": effects_of(ObjectStore)}


@pytest.mark.parametrize("name", READS)
def test_every_side_effect_of_a_port_is_a_fault_point(name: str) -> None:
    port = ObjectStore if name == "store" else provided()[name]
    methods = {method for method, _ in inspect.getmembers(port, inspect.isfunction) if method[0] != "_"}
    assert marked()[name] == methods - READS[name]


def test_every_port_with_side_effects_is_watched() -> None:
    assert set(marked()) == set(READS)


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
    program = "from deeplens.bootstrap.faults import die; import atexit; atexit.register(print, 'ended'); die('here')"
    environment = {"PYTHONPATH": str(ROOT / "layers" / "core")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert "ended" not in done.stdout


@pytest.mark.parametrize(
    ("environment", "faults", "plan"),
    [
        ("local", "7:0.01", ("7", 0.01)),
        ("local", "a-seed:1", ("a-seed", 1.0)),
        ("local", "", None),
        ("production", "7:0.01", None),
        (None, "7:0.01", None),
    ],
)
def test_only_the_local_platform_has_faults(
    monkeypatch: pytest.MonkeyPatch, environment: str | None, faults: str, plan: Any
) -> None:
    monkeypatch.delenv("DEEPLENS_ENVIRONMENT", raising=False)
    if environment:
        monkeypatch.setenv("DEEPLENS_ENVIRONMENT", environment)
    monkeypatch.setenv("DEEPLENS_FAULTS", faults)
    settings.cache_clear()
    container.cache_clear()
    try:
        assert settings().fault_plan == plan
        built = container()
        assert isinstance(built, FaultyContainer) == (plan is not None)
        assert isinstance(built.stores, Container) is False
        assert isinstance(built.pending, Watched) == (plan is not None)
    finally:
        settings.cache_clear()
        container.cache_clear()


@pytest.mark.parametrize("faults", ["7", "7:2", "7:-0.1", ":0.5", "7:often", "7:0.1:0.2"])
def test_a_plan_that_is_none_is_refused(faults: str) -> None:
    with pytest.raises(ValidationError):
        Settings(DEEPLENS_ENVIRONMENT="local", DEEPLENS_FAULTS=faults)  # type: ignore[call-arg]


def test_the_template_deploys_no_faults() -> None:
    class Loader(yaml.SafeLoader):
        """Reads CloudFormation's short forms as what stands behind them."""

    Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node) if isinstance(
        node, yaml.ScalarNode) else loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode)
        else loader.construct_mapping(node))  # fmt: skip
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader)
    shared = template["Globals"]["Function"]["Environment"]["Variables"]
    functions = [
        resource for resource in template["Resources"].values() if resource["Type"] == "AWS::Serverless::Function"
    ]
    own = [function["Properties"].get("Environment", {}).get("Variables", {}) for function in functions]

    assert shared["DEEPLENS_ENVIRONMENT"] == "production"
    assert len(functions) > 10
    assert not [one for one in (shared, *own) if "DEEPLENS_FAULTS" in one]
    assert not [one for one in own if "DEEPLENS_ENVIRONMENT" in one]
    assert "DEEPLENS_FAULTS" not in (ROOT / "template.yaml").read_text()


def test_the_local_platform_has_none_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPLENS_FAULTS", raising=False)
    assert LocalConfig().faults == ""
