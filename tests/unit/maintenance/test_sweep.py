"""A sweep finds contradictions, checks each twice, repairs it once, and changes nothing else."""

import pytest
from deeplens.embedding.model import ModelProfile
from deeplens.images.model import StageResult, Step, Tombstone
from deeplens.maintenance import sweep
from deeplens.maintenance import sweep as sweep_module
from deeplens.vectors.ports import Point

from tests.harness.flow import TARGET, Flow
from tests.unit.maintenance.conftest import DAY, complete_images, orphan_point, snapshot_of, sweep_to_end


def test_a_sound_tenant_has_no_findings_and_changes_nothing(flow: Flow, page_size: int) -> None:
    complete_images(flow, *(f"img_{n}" for n in range(7)))
    flow.clock.skip(3 * DAY)
    before = snapshot_of(flow)
    run = sweep_to_end(flow)
    assert (run.report.found, run.report.repaired, run.report.bytes_freed) == ({}, {}, 0)
    assert run.report.checked == {"rows": 7, "objects": 28, "vectors": 7}
    assert snapshot_of(flow) == before
    assert not flow.publisher.sent


def test_a_row_without_its_vector_is_embedded_again_and_metered_once(flow: Flow, page_size: int) -> None:
    complete_images(flow, "img_1", "img_2", "img_3", "img_4")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_2", "img_4"])
    run = sweep_to_end(flow)
    assert run.report.found == run.report.repaired == {"row-without-vector": 2}
    assert flow.index.existing(flow.acme, ["img_2", "img_4"]) == {"img_2", "img_4"}
    assert flow.usage.of("images.completed") == 4


def test_lost_derived_files_are_made_again(flow: Flow, page_size: int) -> None:
    complete_images(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    everything = flow.objects()
    flow.stores.for_tenant(flow.acme).delete(["processed/img_1.jpg", "thumbnails/small/img_2.jpg"])
    run = sweep_to_end(flow)
    assert run.report.repaired == {"row-without-derived": 2}
    assert flow.objects() == everything
    assert flow.row("img_1").step is Step.COMPLETED


def test_an_image_whose_original_is_gone_fails_and_is_not_found_any_more(flow: Flow, page_size: int) -> None:
    complete_images(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    flow.stores.for_tenant(flow.acme).delete(["images/img_1.jpg"])
    run = sweep_to_end(flow)
    assert run.report.repaired == {"row-without-object": 1}
    row = flow.row("img_1")
    assert (row.step, row.error_code, row.generation) == (Step.FAILED, "OBJECT_NOT_FOUND", 2)
    assert flow.index.existing(flow.acme, ["img_1", "img_2"]) == {"img_2"}
    assert sweep_to_end(flow).report.found == {}


def test_leftovers_of_nobody_are_removed(flow: Flow, page_size: int) -> None:
    complete_images(flow, "img_1")
    store = flow.stores.for_tenant(flow.acme)
    store.put("images/img_orphan.jpg", b"12345", "image/jpeg")
    store.put("thumbnails/small/img_orphan.jpg", b"123", "image/jpeg")
    store.put("reports/of the tenant.pdf", b"1", "application/pdf")
    orphan_point(flow, "img_orphan")
    flow.clock.skip(3 * DAY)
    run = sweep_to_end(flow)
    assert run.report.repaired == {"object-without-row": 1, "derived-without-row": 1, "vector-without-row": 1}
    assert run.report.bytes_freed == 8
    assert not [key for key in flow.objects() if "orphan" in key]
    assert "reports/of the tenant.pdf" in flow.objects()
    assert flow.index.count(flow.acme) == 1


@pytest.mark.parametrize("mark", [None, "another installation"])
def test_in_a_bucket_that_is_not_proved_ours_nothing_is_swept(flow: Flow, mark: str | None) -> None:
    complete_images(flow, "img_1")
    store = flow.stores.for_tenant(flow.acme)
    store.put("images/img_theirs.jpg", b"12345", "image/jpeg")
    store.mark = mark
    flow.clock.skip(3 * DAY)
    dry = sweep_to_end(flow, dry_run=True)
    run = sweep_to_end(flow)
    assert dry.report.found == {"object-without-row": 1}
    assert run.error is not None
    assert run.error.startswith("STORE_NOT_OWNED: ")
    assert "images/img_theirs.jpg" in flow.objects()
    store.mark = "ours"
    assert sweep_to_end(flow).report.repaired == {"object-without-row": 1}
    assert "images/img_theirs.jpg" not in flow.objects()


def test_a_half_done_deletion_is_completed_with_its_receipt(flow: Flow, page_size: int) -> None:
    complete_images(flow, "img_1", "img_2")
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.clock.skip(3 * DAY)
    run = sweep_to_end(flow)
    assert run.report.repaired == {"half-done-delete": 1}
    row = flow.row("img_1")
    assert isinstance(row, Tombstone)
    assert row.receipt
    assert len(row.receipt["objects"]) == 4
    assert not [key for key in flow.objects() if "img_1" in key]


def test_what_a_finished_deletion_left_behind_is_removed(flow: Flow) -> None:
    complete_images(flow, "img_1", "img_2")
    flow.images.mark_deleted(flow.acme, "img_1", flow.clock.now())
    flow.images.delete_rows(flow.acme, {"img_1": {"objects": [], "vectors": 0}})
    flow.clock.skip(3 * DAY)
    assert sweep_to_end(flow).report.repaired == {
        "object-without-row": 1,
        "derived-without-row": 3,
        "vector-without-row": 1,
    }
    assert flow.index.count(flow.acme) == 1


def test_a_dry_run_says_the_same_and_touches_nothing(flow: Flow) -> None:
    complete_images(flow, "img_1", "img_2", "img_3")
    flow.stores.for_tenant(flow.acme).put("images/img_orphan.jpg", b"12345", "image/jpeg")
    orphan_point(flow, "img_orphan")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme, ["img_2"])
    flow.stores.for_tenant(flow.acme).delete(["images/img_3.jpg"])
    before = snapshot_of(flow)
    dry = sweep_to_end(flow, dry_run=True)
    assert snapshot_of(flow) == before
    wet = sweep_to_end(flow)
    assert (dry.report.found, dry.report.bytes_freed) == (wet.report.repaired, 5)
    assert (dry.report.repaired, dry.report.examples) == ({}, wet.report.examples)
    assert dry.report.examples[0] == {"kind": "row-without-vector", "subject": "img_2", "detail": "deeplens-visual 1"}


def test_what_is_younger_than_the_grace_period_is_left_alone(flow: Flow) -> None:
    complete_images(flow, "img_1", "img_2", "img_3")
    store = flow.stores.for_tenant(flow.acme)
    store.put("images/img_orphan.jpg", b"12345", "image/jpeg")
    orphan_point(flow, "img_orphan", flow.clock.now())
    flow.index.delete(flow.acme, ["img_1"])
    store.delete(["images/img_2.jpg"])
    flow.images.mark_deleted(flow.acme, "img_3", flow.clock.now())
    assert sweep_to_end(flow).report.found == {}


def test_a_finding_that_is_gone_at_the_second_look_is_none(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    complete_images(flow, "img_1")
    flow.clock.skip(3 * DAY)
    store = flow.stores.for_tenant(flow.acme)
    # A listing that lags behind: what is there, it does not show.
    monkeypatch.setattr(sweep, "listed_keys", lambda *_: set())
    assert sweep_to_end(flow).report.found == {}
    assert flow.row("img_1").step is Step.COMPLETED
    # And one that shows what is gone.
    store.put("images/img_orphan.jpg", b"1", "image/jpeg")
    flow.clock.skip(3 * DAY)
    monkeypatch.setattr(sweep_module, "latest", lambda *_: [])
    assert sweep_to_end(flow).report.found == {}


def test_the_other_model_is_swept_as_well(flow: Flow) -> None:
    flow.rollouts.register(ModelProfile(TARGET))
    flow.index.create_collection(flow.acme.using(TARGET))
    assert flow.rollouts.start(flow.acme, TARGET, "rol_1", flow.clock.now())
    complete_images(flow, "img_1", "img_2")
    flow.clock.skip(3 * DAY)
    flow.index.delete(flow.acme.using(TARGET), ["img_1"])
    owner = flow.acme.using(TARGET)
    flow.index.upsert(owner, [Point("img_orphan", [1.0] * TARGET.dimensions, {"image_id": "img_orphan"})])
    assert sweep_to_end(flow).report.repaired == {"row-without-vector": 1, "vector-without-row": 1}
    assert flow.index.existing(owner, ["img_1", "img_2", "img_orphan"]) == {"img_1", "img_2"}


def test_an_image_that_its_model_cannot_embed_is_no_finding(flow: Flow) -> None:
    complete_images(flow, "img_1")
    result = StageResult("img_9", 1, Step.FAILED, "embed", flow.clock.now(), error_code="IMAGE_CORRUPT")
    flow.accept("img_9")
    flow.images.advance(flow.acme, [result])
    flow.records.clear()
    flow.clock.skip(3 * DAY)
    assert sweep_to_end(flow).report.found == {}


def test_storage_is_optimised_of_what_failed_images_left(flow: Flow) -> None:
    complete_images(flow, "img_1", "img_2")
    lost = StageResult("img_2", 2, Step.FAILED, "embed", flow.clock.now(), error_code="IMAGE_CORRUPT")
    flow.images.advance(flow.acme, [lost])
    flow.clock.skip(3 * DAY)
    kept = {key for key in flow.objects() if "img_2" not in key} | {"images/img_2.jpg"}
    dry = sweep_to_end(flow, "storage-optimisation", dry_run=True)
    assert dry.report.found == {"derived-of-failed": 3}
    run = sweep_to_end(flow, "storage-optimisation")
    assert run.report.repaired == {"derived-of-failed": 3}
    assert run.report.bytes_freed == dry.report.bytes_freed > 0
    assert flow.objects() == kept
    assert sweep_to_end(flow).report.found == {}
