"""A file that ends the process of its function each time: it fails in the end, alone, and may be tried again."""

import pytest
from deeplens.common.stage import Done, Failed
from deeplens.errors import DecoderCrashed
from deeplens.events.images import ImageUploaded
from deeplens.images.model import ImageRecord
from deeplens.images.requests import image_uploaded
from deeplens.pipeline.preprocess import MAX_STARTS, Preprocess

from tests.harness.api import picture
from tests.harness.flow import Flow
from tests.harness.uploads import jpeg_upload, send_upload


@pytest.fixture
def flow() -> Flow:
    return Flow()


def event_of(flow: Flow, image_id: str, seed: int = 1) -> ImageUploaded:
    send_upload(flow, flow.acme, jpeg_upload(image_id, picture(seed)))
    row = flow.images.find(flow.acme, [image_id])[image_id]
    assert isinstance(row, ImageRecord)
    return image_uploaded(flow.acme.id, row)


def die(flow: Flow, image_id: str, times: int) -> None:
    """What processes leave that die in the middle of an image."""
    for _ in range(times):
        flow.images.start(flow.acme, image_id)


def test_an_image_that_ends_its_process_every_time_fails_for_good(flow: Flow) -> None:
    event = event_of(flow, "img_a")
    die(flow, "img_a", MAX_STARTS)
    (outcome,) = flow.build(Preprocess)([event])
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DecoderCrashed)
    assert not outcome.error.retryable


def test_it_can_be_retried(flow: Flow) -> None:
    event = event_of(flow, "img_a")
    die(flow, "img_a", MAX_STARTS)
    flow.build(Preprocess)([event])
    assert isinstance(flow.build(Preprocess)([event])[0], Done)


def test_a_process_may_die_for_other_reasons(flow: Flow) -> None:
    event = event_of(flow, "img_a")
    die(flow, "img_a", MAX_STARTS - 1)
    assert isinstance(flow.build(Preprocess)([event])[0], Done)
    assert flow.images.start(flow.acme, "img_a") == 1


def test_no_image_is_blamed_for_another_one_of_its_batch(flow: Flow) -> None:
    events = [event_of(flow, "img_a", 1), event_of(flow, "img_b", 2)]
    die(flow, "img_a", 10 * MAX_STARTS)
    assert [type(outcome) for outcome in flow.build(Preprocess)(events)] == [Done, Done]
