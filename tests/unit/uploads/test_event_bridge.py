"""A rule of EventBridge writes what its owner likes, so the queue takes notice of nothing that comes from one."""

import json
from typing import Any

import pytest
from deeplens.events.bucket import BucketNotification
from pydantic import ValidationError

from tests.fakes.retries import message
from tests.harness.api import picture
from tests.harness.flow import OBJECTS, Flow, no_report
from tests.unit.uploads.test_ingest import upload


def forged(bucket: str, key: str) -> dict[str, Any]:
    """As a rule in a tenant's account could send it, about a bucket of another tenant."""
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": 5}, "reason": "PutObject"}
    return {"version": "0", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}


def test_a_forged_notice_about_another_tenants_bucket_is_no_notification() -> None:
    with pytest.raises(ValidationError):
        BucketNotification.model_validate(forged("tenant-acme", "uploads/upl_a"))


def test_a_forged_notice_ingests_nothing_of_another_tenant() -> None:
    flow = Flow()
    upload(flow, picture(1))

    flow.on_object_created(
        {"Records": [message(json.dumps(forged("tenant-acme", "uploads/upl_a")), arn=OBJECTS)]}, no_report
    )
    flow.forward()
    flow.run()

    assert flow.images.find(flow.acme, ["img_a"]) == {}
