"""Models are found by name and version, loaded once, and unloaded above the limit."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from functions.inference_endpoint.manifest import ModelRefused
from functions.inference_endpoint.repository import Repository, UnknownModel
from tests.unit.inference_endpoint.conftest import NewModel

type Loads = list[str]


class Loaded:
    """A fake of a loaded model."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.closed, self.depth = folder, False, 0

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def close(self) -> None:
        self.closed = True


def serving(folder: Path, loads: Loads, max_loaded: int = 2, **more: Any) -> Repository:
    def load(found: Path) -> Any:
        loads.append(f"{found.parent.name}/{found.name}")
        return Loaded(found)

    return Repository([folder], load, max_loaded, **more)


def used(models: Repository, name: str, version: str | None = None) -> Any:
    async def use() -> Any:
        async with models.use(name, version) as model:
            return model

    return asyncio.run(use())


@pytest.fixture
def loads() -> Loads:
    return []


def test_versions_compare_as_numbers_and_the_highest_is_the_default(
    new_model: NewModel, tmp_path: Path, loads: Loads
) -> None:
    for version in ("1", "1.9", "1.10", "10", "2"):
        new_model(version=version)
    models = serving(tmp_path, loads)

    assert models.versions("tiny") == ["1", "1.9", "1.10", "2", "10"]
    assert models.find("tiny").manifest.version == "10"
    assert models.find("tiny", "1.9").manifest.version == "1.9"


@pytest.mark.parametrize(("name", "version"), [("tiny", "7"), ("other", None), ("tiny", ""), ("../tiny", "1")])
def test_an_unknown_model_is_named(
    new_model: NewModel, tmp_path: Path, loads: Loads, name: str, version: str | None
) -> None:
    new_model()
    with pytest.raises(UnknownModel, match=name):
        serving(tmp_path, loads).find(name, version)


def test_the_built_in_model_is_the_default_beside_others(new_model: NewModel, tmp_path: Path, loads: Loads) -> None:
    new_model("clip-vit-base")
    assert serving(tmp_path, loads).default == "clip-vit-base"
    new_model("deeplens-visual")
    assert serving(tmp_path, loads).default == "deeplens-visual"


def test_the_default_is_loaded_first_and_others_up_to_the_limit(
    new_model: NewModel, tmp_path: Path, loads: Loads
) -> None:
    for name in ("a", "b", "deeplens-visual"):
        new_model(name)
    serving(tmp_path, loads, max_loaded=2)

    assert loads == ["deeplens-visual/1", "a/1"]


def test_the_least_recently_used_model_is_unloaded_but_never_the_default(
    new_model: NewModel, tmp_path: Path, loads: Loads
) -> None:
    for name in ("a", "b", "c", "deeplens-visual"):
        new_model(name)
    evicted: list[int] = []
    models = serving(tmp_path, loads, max_loaded=3, on_eviction=lambda: evicted.append(1))
    first = used(models, "a")
    used(models, "b")
    used(models, "a")

    used(models, "c")
    assert {model.name for model in models.loaded} == {"deeplens-visual/1", "a/1", "c/1"}  # type: ignore[attr-defined]
    assert not first.closed
    used(models, "b")
    assert first.closed
    assert len(evicted) == 2
    assert len(models.loaded) == 3


def test_a_model_in_use_is_never_unloaded(new_model: NewModel, tmp_path: Path, loads: Loads) -> None:
    for name in ("a", "b", "deeplens-visual"):
        new_model(name)
    models = serving(tmp_path, loads, max_loaded=2)

    async def scene() -> tuple[bool, int]:
        async with models.use("a") as first, models.use("b"):
            return first.closed, len(models.loaded)  # type: ignore[attr-defined]

    assert asyncio.run(scene()) == (False, 3)
    assert len(models.loaded) == 2


def test_the_model_in_use_is_not_unloaded_if_the_default_fills_the_limit(
    new_model: NewModel, tmp_path: Path, loads: Loads
) -> None:
    for name in ("a", "deeplens-visual"):
        new_model(name)
    models = serving(tmp_path, loads, max_loaded=1)

    assert used(models, "a") is used(models, "a")
    assert loads == ["deeplens-visual/1", "a/1"]


def test_many_first_requests_load_once(new_model: NewModel, tmp_path: Path) -> None:
    new_model("a")
    new_model("deeplens-visual")
    loads: Loads = []
    slow = threading.Event()

    def load(folder: Path) -> Any:
        loads.append(folder.parent.name)
        if folder.parent.name == "a":
            assert slow.wait(10)
        return Loaded(folder)

    models = Repository([tmp_path], load, max_loaded=1)

    async def scene() -> int:
        async def use() -> Any:
            async with models.use("a") as model:
                return model

        waiting = [asyncio.ensure_future(use()) for _ in range(8)]
        await asyncio.sleep(0.05)
        slow.set()
        return len(set(await asyncio.gather(*waiting)))

    assert asyncio.run(scene()) == 1
    assert loads == ["deeplens-visual", "a"]


def test_a_model_that_appears_later_is_found(
    new_model: NewModel, tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_model("deeplens-visual")
    models = serving(tmp_path, loads)
    monkeypatch.setattr("functions.inference_endpoint.repository.RESCAN_SECONDS", 0)
    with pytest.raises(UnknownModel):
        models.find("late")

    new_model("late")

    assert used(models, "late").name == "late/1"


def test_a_broken_folder_that_appears_later_changes_nothing(
    new_model: NewModel, tmp_path: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_model("deeplens-visual")
    models = serving(tmp_path, loads)
    monkeypatch.setattr("functions.inference_endpoint.repository.RESCAN_SECONDS", 0)
    (new_model("broken") / "manifest.json").write_text("{")
    new_model("late")

    with pytest.raises(UnknownModel):
        models.find("broken")
    assert models.names == ["deeplens-visual", "late"]


def test_another_model_that_cannot_be_loaded_stops_neither_start_nor_the_default(
    new_model: NewModel, tmp_path: Path
) -> None:
    for name in ("broken", "deeplens-visual"):
        new_model(name)

    def load(folder: Path) -> Any:
        if folder.parent.name == "broken":
            raise ModelRefused("broken: wrong sha256")
        return Loaded(folder)

    models = Repository([tmp_path], load)

    assert used(models, "deeplens-visual").name == "deeplens-visual/1"
    with pytest.raises(ModelRefused, match="sha256"):
        used(models, "broken")


def test_several_folders_serve_together(new_model: NewModel, tmp_path: Path) -> None:
    make: Callable[..., Path] = new_model
    first = make("deeplens-visual").parents[1]
    second = tmp_path / "operator"
    second.mkdir()
    (make("clip").parent).rename(second / "clip")

    models = Repository([first, second], lambda folder: Loaded(folder))  # type: ignore[arg-type, return-value]

    assert models.names == ["clip", "deeplens-visual"]
