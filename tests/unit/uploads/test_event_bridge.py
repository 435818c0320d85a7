"""Buckets that tell EventBridge of their objects, and EventBridge our queue."""

import json
from typing import Any

import pytest
from deeplens.events.bucket import BucketNotification, ObjectLocation
from deeplens.images.model import Step
from pydantic import ValidationError

from tests.fakes.retries import message
from tests.harness.api import picture
from tests.harness.flow import OBJECTS, Flow, no_report
from tests.unit.uploads.test_ingest import upload


def event(kind: str = "Object Created", key: str = "photos/a b+ü.jpg", **detail: Any) -> dict[str, Any]:
    """As EventBridge gives it to a queue."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "region": "eu-central-1",
        "resources": ["arn:aws:s3:::acme-photos"],
        "detail": {
            "bucket": {"name": "acme-photos"},
            "object": {"key": key, "size": 5},
            "reason": "PutObject",
            **detail,
        },
    }


@pytest.mark.parametrize(
    ("kind", "created", "changed"),
    [
        ("Object Created", 1, 1),
        ("Object Deleted", 0, 1),
        ("Object Tags Added", 0, 0),
        ("Object Restore Completed", 0, 0),
    ],
)
def test_an_event_names_its_object(kind: str, created: int, changed: int) -> None:
    told, place = (
        BucketNotification.model_validate(event(kind)),
        ObjectLocation("aws:s3", "acme-photos", "photos/a b+ü.jpg"),
    )
    assert (told.created, told.changed) == ([place] * created, [place] * changed)


@pytest.mark.parametrize(
    "broken",
    [
        event(bucket=None),
        event(object={"key": 7}),
        event(key="\ud800"),
        event(key=""),
        event() | {"source": "acme.photos"},
        event() | {"detail": "none"},
    ],
)
def test_what_names_none_breaks_the_contract(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BucketNotification.model_validate(broken)


def test_an_uploaded_file_that_event_bridge_tells_of_becomes_an_image() -> None:
    flow = Flow()
    upload(flow, picture(1))
    bridge_event = event(key="uploads/upl_a", bucket={"name": "tenant-acme"})

    answer = flow.on_object_created({"Records": [message(json.dumps(bridge_event), arn=OBJECTS)]}, no_report)
    flow.forward()
    flow.run()

    assert answer == {"batchItemFailures": []}
    assert flow.row("img_a").step is Step.COMPLETED
