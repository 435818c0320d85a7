"""From a completed image to groups, merges and notifications, with events that come twice, late or out of order."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.common.ids import event_id
from deeplens.duplicates.merge import TickMerges
from deeplens.duplicates.model import Merge, pair_id
from deeplens.events.duplicates import DuplicatesFound
from deeplens.events.maintenance import ImageMaintenance
from deeplens.events.notifications import TenantNotification
from deeplens.images.model import ImageRecord, Step, Tombstone
from deeplens.maintenance.model import MaintenanceRun
from deeplens.tenants.model import DuplicatePolicy
from deeplens.vectors.ports import SearchFilter
from deeplens.webhooks.model import Webhook

from tests.harness.api import START, TickingClock
from tests.harness.flow import Flow
from tests.harness.hashable_pictures import re_encoded, scene

COMPLETED, FOUND = "deeplens.processing.completed", "deeplens.duplicates.found"
DAY = timedelta(days=1)


@pytest.fixture
def flow() -> Flow:
    return Flow()


def groups(flow: Flow, owner: Any = None) -> list[set[str]]:
    return [{image.id for image in group.members} for group in flow.duplicates.page(owner or flow.acme, 99, None)]


def policy(flow: Flow, action: Any, undo: timedelta = DAY) -> None:
    chosen = DuplicatePolicy(action, int(undo.total_seconds()))
    flow.acme = replace(flow.acme, duplicates=chosen)
    flow.tenants.add(flow.acme)


def published(flow: Flow, topic: str) -> list[str]:
    """Ids of the events that reached a topic, in order."""
    return flow.event_ids.get(topic, [])


def live(flow: Flow, *image_ids: str) -> list[str]:
    return [image_id for image_id in image_ids if isinstance(flow.row(image_id), ImageRecord)]


def test_copies_are_grouped_and_other_pictures_are_not(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.accept("img_c", re_encoded(scene(1)))
    flow.accept("img_d", scene(2))
    flow.run()
    assert groups(flow) == [{"img_a", "img_b", "img_c"}]
    verdicts = {pair.id: pair.verdict for pair in flow.duplicates.page(flow.acme, 1, None)[0].pairs}
    assert verdicts[pair_id("img_a", "img_b")] == "exact"
    assert verdicts[pair_id("img_a", "img_c")] in ("re-encoded", "near")


def test_a_picture_that_is_only_similar_is_no_duplicate(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1, mirrored=True))
    flow.run()
    assert flow.index.neighbours(flow.acme, {"img_a": SearchFilter()}, limit=9, threshold=0.8)["img_a"]
    assert groups(flow) == []


def test_another_tenants_copy_is_not_seen(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1), flow.other)
    flow.run()
    assert groups(flow) == groups(flow, flow.other) == []
    assert published(flow, FOUND) == []


def test_a_pair_is_told_with_one_id_whoever_finds_it(flow: Flow) -> None:
    for image_id in ("img_a", "img_b"):
        flow.accept(image_id, scene(1))
    flow.run()
    expected = event_id("duplicate-pair", flow.acme.id, pair_id("img_a", "img_b"))
    assert set(published(flow, FOUND)) == {expected}


def test_events_that_come_again_tell_nothing_new(flow: Flow) -> None:
    flow.webhooks.save(Webhook("whk_1", flow.acme.id, "https://acme.example/hook", ("duplicates.found",), START))
    flow.acme = flow.tenants.get(flow.acme.id)
    for image_id in ("img_a", "img_b", "img_c"):
        flow.accept(image_id, scene(1))
    flow.run()
    sent = len(flow.webhook_sender.sent)
    assert sent == 3  # pairs
    for topic in (COMPLETED, FOUND):
        for value in list(flow.values[topic]):
            flow.put(topic, value)
    flow.run()
    assert len(flow.webhook_sender.sent) == sent
    assert groups(flow) == [{"img_a", "img_b", "img_c"}]


def test_what_was_found_is_told_again_until_it_is_recorded(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    lose = iter([True])

    def losing(topic: str) -> None:
        if topic == COMPLETED and next(lose, False):
            # Both consumers' follow-ups are lost once.
            flow.publisher.away = 2

    flow.run(before=losing)
    assert groups(flow) == [{"img_a", "img_b"}]


def test_a_deleted_image_is_no_duplicate_however_late_its_events_come(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))

    def delete(topic: str) -> None:
        if topic == FOUND:
            flow.images.mark_deleted(flow.acme, "img_b", flow.clock.now())

    flow.run(before=delete)
    assert groups(flow) == []
    flow.put(COMPLETED, flow.values[COMPLETED][0])
    flow.run()
    assert groups(flow) == []
    assert flow.dead_letters.letters == {}


def test_an_event_about_pairs_that_nobody_found_changes_nothing(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(2))
    flow.run()
    found = DuplicatesFound.model_validate(
        {
            "tenantId": flow.acme.id,
            "imageId": "img_a",
            "duplicates": [{"imageId": "img_b", "score": 1.0, "verdict": "exact", "pairId": pair_id("img_a", "img_b")}],
            "foundAt": START.isoformat(),
        }
    )
    policy(flow, "auto-merge-exact")
    flow.send(found)
    flow.run()
    assert live(flow, "img_a", "img_b") == ["img_a", "img_b"]


def test_a_decision_survives_new_events_and_scans(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.run()
    flow.duplicates.decide(flow.acme, ["img_a", "img_b"], "not-duplicate", "usr_1", START)
    for value in list(flow.values[COMPLETED]):
        flow.put(COMPLETED, value)
    scan(flow)
    assert groups(flow) == []


def maintenance(flow: Flow, type: str, job: str) -> ImageMaintenance:
    return ImageMaintenance(
        maintenance_type=type, tenant_id=flow.acme.id, subject="tenant", job=job, requested_at=START
    )


def scan(flow: Flow, *, dry_run: bool = False) -> MaintenanceRun:
    run = MaintenanceRun("mnt_1", flow.acme.id, "duplicate-scan", dry_run, START, START)
    flow.maintenance_runs.runs.pop(run.id, None)
    assert flow.maintenance_runs.start(run, DAY)
    flow.send(maintenance(flow, run.type, run.id))
    flow.run()
    ended = flow.maintenance_runs.find(run.id)
    assert ended
    assert ended.ended_at
    return ended


def test_a_scan_finds_what_older_images_lack(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_c", re_encoded(scene(1)))
    # As if from before hashes were kept.
    flow.duplicates.keep_hashes = lambda *_: None  # type: ignore[method-assign]
    flow.run()
    del flow.duplicates.keep_hashes
    assert groups(flow) == []
    dry = scan(flow, dry_run=True)
    assert (groups(flow), dry.report.checked) == ([], {"expected": 2, "images": 2, "hashes-made": 0})
    run = scan(flow)
    assert run.report.checked == {"expected": 2, "images": 2, "hashes-made": 2}
    assert sum(run.report.found.values()) == 1
    assert groups(flow) == [{"img_a", "img_c"}]
    published_before = len(published(flow, FOUND))
    scan(flow)
    assert len(published(flow, FOUND)) == published_before


def test_exact_copies_are_merged_by_policy_and_removed_when_it_cannot_be_undone(flow: Flow) -> None:
    policy(flow, "auto-merge-exact")
    for image_id in ("img_b", "img_a", "img_c"):
        flow.accept(image_id, scene(1))
    flow.accept("img_d", re_encoded(scene(1)))
    flow.run()
    assert live(flow, "img_a", "img_b", "img_c", "img_d") == ["img_b", "img_d"]
    assert groups(flow) == [{"img_b", "img_d"}]
    assert flow.row("img_a") == Tombstone("img_a", flow.row("img_a").deleted_at, None, "img_b")
    tick = TickMerges(flow.merge_deadlines, flow.clock)
    assert tick() == []
    flow.clock.skip(DAY)
    for event in tick():
        flow.send(event)
    flow.run()
    for gone in ("img_a", "img_c"):
        assert flow.row(gone).receipt["vectors"] == 1
        assert not [key for key in flow.objects() if gone in key]
    assert flow.row("img_a").merged_into == "img_b"
    assert flow.merge_deadlines.due == {}


def test_a_policy_that_comes_later_merges_with_the_next_scan(flow: Flow) -> None:
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.run()
    policy(flow, "auto-merge-exact")
    scan(flow)
    assert live(flow, "img_a", "img_b") == ["img_a"]


def test_a_merge_without_a_way_back_is_settled_at_once(flow: Flow) -> None:
    policy(flow, "auto-merge-exact", undo=timedelta())
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.run()
    assert flow.row("img_b").receipt["vectors"] == 1
    assert flow.index.count(flow.acme) == 1


def test_an_undone_merge_is_not_settled(flow: Flow) -> None:
    policy(flow, "auto-merge-exact")
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.run()
    (merge,) = flow.duplicates.merges(flow.acme, 9, None)
    assert flow.duplicates.undo(flow.acme, merge.id, flow.clock.now())
    flow.clock.skip(2 * DAY)
    for event in TickMerges(flow.merge_deadlines, flow.clock)():
        flow.send(event)
    flow.run()
    assert live(flow, "img_a", "img_b") == ["img_a", "img_b"]
    assert (flow.index.count(flow.acme), flow.merge_deadlines.due) == (2, {})


def test_a_sweep_leaves_what_can_come_back(flow: Flow) -> None:
    policy(flow, "auto-merge-exact", undo=9 * DAY)
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.run()
    flow.clock.skip(3 * DAY)
    run = MaintenanceRun("mnt_s", flow.acme.id, "sweep", dry_run=False, created_at=START, due=START)
    assert flow.maintenance_runs.start(run, DAY)
    flow.send(
        ImageMaintenance(
            maintenance_type="sweep", tenant_id=flow.acme.id, subject="tenant", job=run.id, requested_at=START
        )
    )
    flow.run()
    assert flow.row("img_b").receipt is None
    assert flow.index.count(flow.acme) == 2


def test_a_kept_image_that_changed_is_indexed_once_more(flow: Flow) -> None:
    for image_id in ("img_a", "img_b"):
        flow.accept(image_id, scene(1))
    flow.images.amend(flow.acme, "img_b", tags=["sea"], metadata={"iso": 100})
    policy(flow, "auto-merge-exact")
    flow.run()
    payload = flow.index.payload_of(flow.acme, "img_a")
    assert (payload["tags"], payload["metadata"]) == (["sea"], {"iso": 100})
    assert flow.row("img_a").step is Step.COMPLETED
    counted = {metric: total for (_, _, metric), total in flow.usage.totals.items() if metric.startswith("images")}
    assert counted == {"images.uploaded": 2, "images.completed": 2}  # nothing is metered twice


def test_a_merge_that_was_planned_and_not_made_loses_its_deadline(flow: Flow) -> None:
    flow.merge_deadlines.add([(flow.acme.id, "mrg_planned", START)])
    for event in TickMerges(flow.merge_deadlines, TickingClock())():
        flow.send(event)
    flow.run()
    assert flow.merge_deadlines.due == {}


def test_a_merge_of_another_tenant_is_not_settled(flow: Flow) -> None:
    flow.accept("img_a", scene(1), flow.other)
    flow.accept("img_b", scene(1), flow.other)
    flow.run()
    theirs = Merge("mrg_1", None, "img_a", ("img_b",), START, START, "usr_1")
    assert flow.duplicates.merge(flow.other, theirs)
    flow.send(
        ImageMaintenance(
            maintenance_type="merge", tenant_id=flow.acme.id, subject="tenant", job="mrg_1", requested_at=START
        )
    )
    flow.run()
    assert flow.images.find(flow.other, ["img_b"])["img_b"].receipt is None  # type: ignore[union-attr]


def test_a_notification_names_the_pair_and_its_group(flow: Flow) -> None:
    flow.webhooks.save(Webhook("whk_1", flow.acme.id, "https://acme.example/hook", ("duplicates.found",), START))
    flow.accept("img_a", scene(1))
    flow.accept("img_b", scene(1))
    flow.run()
    (told,) = [TenantNotification.model_validate_json(v) for v in flow.values["deeplens.tenant.notifications"]][:1]
    (group,) = flow.duplicates.page(flow.acme, 9, None)
    assert told.details["duplicateId"] == group.id
    assert told.details["imageIds"] == ["img_a", "img_b"]
    assert told.details["verdict"] == "exact"
