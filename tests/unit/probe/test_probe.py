"""A probe measures each step, says which one failed, and leaves no image behind."""

from io import BytesIO

import numpy as np
import pytest
from deeplens.probe.model import Probe
from deeplens.probe.picture import new_picture
from deeplens.probe.tick import TickProbe
from deeplens.telemetry import metrics
from deeplens.telemetry.metrics import Meter, Point
from PIL import Image

from tests.fakes.probe import FakeProbedApi


def probed(api: FakeProbedApi) -> Probe:
    return Probe(api, api.monotonic, api.sleep)


def test_a_probe_measures_each_step() -> None:
    api = FakeProbedApi(process_seconds=3, delete_seconds=2)

    result = probed(api)()

    assert (result.failed, result.reason) == (None, "")
    assert result.seconds == {"upload": 0, "process": 3, "search": 0, "delete": 2}
    assert api.images == set()


@pytest.mark.parametrize(
    ("api", "failed", "reason"),
    [
        (FakeProbedApi(broken="upload"), "upload", "upload was answered with 503"),
        (FakeProbedApi(broken="status"), "process", "status was answered with 503"),
        (FakeProbedApi(final_status="failed"), "process", "img_1 failed; GET /v1/images/img_1/events says why"),
        (FakeProbedApi(process_seconds=61), "process", "img_1 was not searchable within 60 s"),
        (FakeProbedApi(broken="search"), "search", "search was answered with 503"),
        (FakeProbedApi(finds=False), "search", "a search for the file of img_1 did not find it"),
        (FakeProbedApi(broken="is_deleted"), "delete", "is_deleted was answered with 503"),
        (FakeProbedApi(delete_seconds=61), "delete", "img_1 was not deleted within 60 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_probe_names_the_step_that_failed_and_deletes_its_image(api: FakeProbedApi, failed: str, reason: str) -> None:
    result = probed(api)()

    assert (result.failed, result.reason) == (failed, reason)
    assert failed not in result.seconds
    assert api.images == set()


def test_an_image_that_cannot_be_deleted_is_reported_once() -> None:
    api = FakeProbedApi(broken="delete")

    assert probed(api)().failed == "delete"
    assert api.calls.count("delete") == 1


def test_a_step_at_its_limit_passes() -> None:
    assert probed(FakeProbedApi(process_seconds=60, delete_seconds=60))().failed is None


def test_each_picture_is_a_png_of_its_own() -> None:
    first, second = (np.asarray(Image.open(BytesIO(new_picture()))) for _ in range(2))

    assert first.shape == (256, 256, 3)
    assert len({tuple(first[y, x]) for y in range(16, 256, 32) for x in range(16, 256, 32)}) > 32
    assert (first != second).any()


@pytest.mark.parametrize(
    ("api", "outcome", "measured"),
    [
        (FakeProbedApi(0, 0), ("passed", "none"), {"upload", "process", "search", "delete"}),
        (FakeProbedApi(0, finds=False), ("failed", "search"), {"upload", "process"}),
    ],
    ids=["passed", "failed"],
)
def test_the_job_counts_a_probe_and_measures_the_steps_that_passed(
    api: FakeProbedApi, outcome: tuple[str, str], measured: set[str]
) -> None:
    points: list[Point] = []
    metrics.configure(Meter([lambda exported, *_: points.extend(exported)]))
    try:
        assert TickProbe(api)() == []
        metrics.flush()
    finally:
        metrics.configure(None)

    assert [(p.labels, p.value) for p in points if p.instrument.name == "deeplens.probe.runs"] == [(outcome, 1)]
    assert {p.labels[0] for p in points if p.instrument.name == "deeplens.probe.duration"} == measured
