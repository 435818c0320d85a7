"""A chat's messages have one effect each, whatever comes twice; answers, rules, and the border between tenants."""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from deeplens.errors import FileTooLarge, InferenceBusy, WhatsAppUnavailable
from deeplens.events.failures import ProcessingFailed
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.images.model import Step
from deeplens.tenants.limits import ResourceLimits
from deeplens.webhooks.model import Webhook
from deeplens.whatsapp.answers import EXPIRED, FIND_WHAT, HELP, HINT, NOTHING_FOUND, UNSUPPORTED
from deeplens.whatsapp.chats import RETRY_DELAYS, Chat, Rule, Sent, chat_id
from deeplens.whatsapp.deliver_replies import LEASE, RETENTION, TickWhatsApp

from tests.harness.api import MP4_HEAD, START, picture
from tests.harness.films import film
from tests.harness.flow import Flow
from tests.harness.uploads import jpeg_upload, refuse_next_row, send_upload

TOPIC = "whatsapp-ready-messages"
CHAT, OTHERS_CHAT, GROUP = "491511234567@s.whatsapp.net", "491519999999@s.whatsapp.net", "Y2Fw=@g.us"
PHOTO = {"media": {"id": "media-1", "mimeType": "image/jpeg"}}


@pytest.fixture
def flow() -> Iterator[Flow]:
    flow = Flow()
    link(flow)
    flow.whatsapp.files["media-1"] = picture(1)
    yield flow
    flow.workers.shutdown(wait=False)


def link(flow: Flow, jid: str = CHAT, tenant_id: str = "tenant_acme") -> None:
    flow.chats.link(Chat(jid, tenant_id, "", START))


def message(content: str | None = None, id: str = "wamid.1", chat: str = CHAT, **changes: Any) -> WhatsAppMessage:
    metadata = {"isGroup": chat.endswith("g.us"), "sender": "491511234567", "phoneNumberId": "1"}
    return WhatsAppMessage(
        message_id=id,
        chat_jid=chat,
        from_me=False,
        message_type=changes.pop("message_type", "image" if "media" in changes else "text"),
        content=content,
        timestamp=int(START.timestamp()),
        metadata=metadata | changes,
    )


def post(flow: Flow, *messages: WhatsAppMessage) -> None:
    for message in messages:
        flow.send(message, f"event-{message.message_id}")
    flow.run_with_retries()


def told(flow: Flow, chat: str = CHAT) -> list[str]:
    return [text for jid, text, _ in flow.whatsapp.sent if jid == chat]


def tick(flow: Flow) -> None:
    for event in TickWhatsApp(flow.chats, flow.replies, flow.clock)():
        flow.send(event)
    flow.run_with_retries()


def image_of(flow: Flow, id: str = "wamid.1") -> Any:
    return flow.row(flow.chats.done[id].image_id or "")


def rule(flow: Flow, *actions: Any, **conditions: Any) -> None:
    number = len(flow.chats.kept_rules)
    flow.chats.save_rule(Rule(f"rul_{number}", "tenant_acme", number, actions, **conditions))


def test_a_photo_becomes_searchable_and_the_chat_is_told(flow: Flow) -> None:
    post(flow, message("At the harbour", senderName="Ada", **PHOTO))
    row = image_of(flow)
    assert row.step is Step.COMPLETED
    assert row.file_name == "whatsapp-20261120-103000.jpg"
    assert row.metadata == {
        "source": "whatsapp",
        "chat": CHAT,
        "sender": "491511234567",
        "senderName": "Ada",
        "caption": "At the harbour",
    }
    assert flow.whatsapp.sent == [(CHAT, "whatsapp-20261120-103000.jpg is searchable now.", "wamid.1")]


def test_a_message_that_comes_again_has_no_second_effect(flow: Flow) -> None:
    for _ in range(3):
        flow.send(message(**PHOTO), "event-1")
        flow.send(message("help", "wamid.2"), "event-2")
    flow.run()
    post(flow, message(**PHOTO), message("help", "wamid.2"))
    assert sorted(told(flow)) == sorted([HELP, "whatsapp-20261120-103000.jpg is searchable now."])
    assert flow.images.totals(flow.acme).images == 1
    assert flow.whatsapp.fetched == ["media-1"]


def test_a_message_whose_events_were_lost_is_taken_up_again(flow: Flow) -> None:
    flow.publisher.away = 1
    post(flow, message(**PHOTO))
    assert image_of(flow).step is Step.COMPLETED
    assert told(flow) == ["whatsapp-20261120-103000.jpg is searchable now."]
    assert flow.whatsapp.fetched == ["media-1"]


def test_a_broken_image_is_told_with_the_reason(flow: Flow) -> None:
    body = picture(1, size=(600, 400))
    flow.whatsapp.files["media-1"] = body[: len(body) * 2 // 3]
    post(flow, message(**PHOTO))
    (text,) = told(flow)
    assert text.startswith("whatsapp-20261120-103000.jpg could not be processed: ")
    flow.whatsapp.files["media-2"] = b"%PDF-1.4"
    post(flow, message(id="wamid.2", media={"id": "media-2"}, message_type="image"))
    assert "this looks like a PDF" in told(flow)[1]
    assert flow.chats.done["wamid.2"].code == "FORMAT_UNSUPPORTED"


def test_expired_media_are_answered_and_kept_as_refused(flow: Flow) -> None:
    post(flow, message(media={"id": "media-gone"}, message_type="image"))
    assert told(flow) == [EXPIRED]
    handled = flow.chats.done["wamid.1"]
    assert (handled.outcome, handled.code) == ("refused", "MEDIA_EXPIRED")
    assert "404" in (handled.reason or "")
    assert flow.dead_letters.letters == {}


def test_a_file_that_is_too_large_is_refused(flow: Flow) -> None:
    flow.tenants.add(replace(flow.tenants.get("tenant_acme"), limits=ResourceLimits(max_file_bytes=10)))
    post(flow, message(**PHOTO))
    assert "at most 10" in told(flow)[0]
    flow.whatsapp.failure = FileTooLarge("the file has 99 bytes; at most 10 are taken")
    post(flow, message(id="wamid.2", **PHOTO))
    assert "99 bytes" in told(flow)[1]


def test_a_quota_is_kept_and_told(flow: Flow) -> None:
    flow.tenants.add(replace(flow.tenants.get("tenant_acme"), limits=ResourceLimits(max_images=1)))
    flow.whatsapp.files["media-2"] = picture(2)
    post(flow, message(**PHOTO))
    post(flow, message(id="wamid.2", media={"id": "media-2"}, message_type="image"))
    assert "may keep 1 images" in told(flow)[1]
    assert flow.chats.done["wamid.2"].code == "quota-exceeded"
    assert flow.images.totals(flow.acme).images == 1


def test_what_whatsapp_cannot_give_now_is_tried_again(flow: Flow) -> None:
    flow.whatsapp.failure = WhatsAppUnavailable("HTTP 503")
    flow.send(message(**PHOTO), "event-1")
    flow.run()
    assert flow.chats.done == {}
    flow.whatsapp.failure = None
    flow.run_with_retries()
    assert image_of(flow).step is Step.COMPLETED
    assert flow.dead_letters.letters == {}


def test_a_failure_names_the_topic_as_it_is_registered_whatever_it_is_called_here(flow: Flow) -> None:
    flow.handlers["chats"] = flow.handlers[TOPIC]
    flow.put("chats", b"{}", "event-1")
    flow.deliver("chats")
    failed = ProcessingFailed.model_validate_json(b64decode(flow.records["deeplens.processing.failed"][0]["value"]))
    assert failed.source is not None
    assert (failed.source.topic, failed.subject) == (TOPIC, "record")
    flow.whatsapp.failure = WhatsAppUnavailable("HTTP 503")
    flow.records["deeplens.processing.failed"].clear()
    flow.send(message(**PHOTO))
    flow.deliver(TOPIC)
    failed = ProcessingFailed.model_validate_json(b64decode(flow.records["deeplens.processing.failed"][0]["value"]))
    assert (failed.subject, failed.error.code) == ("message", "WHATSAPP_UNAVAILABLE")


def test_messages_of_a_chat_of_nobody_leave_no_trace(flow: Flow) -> None:
    for number in range(3):
        post(flow, message("help", f"wamid.{number}", OTHERS_CHAT), message(id="wamid.9", chat=OTHERS_CHAT, **PHOTO))
    assert flow.chats.done == {}
    assert flow.whatsapp.sent == []
    assert flow.whatsapp.fetched == []
    assert flow.dead_letters.letters == {}


def test_each_chat_reaches_its_own_tenant_only(flow: Flow) -> None:
    link(flow, OTHERS_CHAT, "tenant_other")
    post(flow, message(**PHOTO), message(id="wamid.2", chat=OTHERS_CHAT, **PHOTO))
    assert flow.images.totals(flow.acme).images == flow.images.totals(flow.other).images == 1
    post(flow, message("find", "wamid.3", **PHOTO), message("find", "wamid.4", OTHERS_CHAT, **PHOTO))
    mine, others = (flow.chats.done[message_id].image_id or "" for message_id in ("wamid.1", "wamid.2"))
    assert mine in told(flow)[-1]
    assert others not in told(flow)[-1]
    assert others in told(flow, OTHERS_CHAT)[-1]
    # The chat moves on; what was said before stays with whom it was said to, and is not said twice.
    flow.chats.unlink("tenant_other", chat_id(OTHERS_CHAT))
    link(flow, OTHERS_CHAT, "tenant_acme")
    post(flow, message(id="wamid.2", chat=OTHERS_CHAT, **PHOTO))
    assert flow.images.totals(flow.acme).images == 1
    assert len(told(flow, OTHERS_CHAT)) == 2


def test_find_answers_with_the_best_matches_and_keeps_nothing(flow: Flow) -> None:
    post(flow, message("FIND ", **PHOTO))
    assert told(flow) == [NOTHING_FOUND]
    flow.accept("img_1", picture(1))
    flow.accept("img_2", picture(2))
    flow.run()
    post(flow, message("find", "wamid.2", **PHOTO))
    first, best, *_ = told(flow)[1].splitlines()
    assert (first, best) == ("Best matches:", "1. a.jpg, exact, 1.00 (img_1)")
    assert flow.images.totals(flow.acme).images == 2
    post(flow, message("find", "wamid.3"))
    assert told(flow)[2] == FIND_WHAT


def test_find_waits_while_the_model_is_busy(flow: Flow) -> None:
    flow.embedder.failure = InferenceBusy()
    flow.send(message("find", **PHOTO))
    flow.deliver(TOPIC)
    assert flow.handled[-1][1]["batchItemFailures"]
    flow.embedder.failure = None
    flow.run()
    assert told(flow) == [NOTHING_FOUND]


def test_status_says_what_is_stored_and_what_became_of_the_chats_images(flow: Flow) -> None:
    post(flow, message(**PHOTO))
    flow.whatsapp.files["media-2"] = picture(2)[:400]
    post(flow, message(id="wamid.2", media={"id": "media-2"}, message_type="image"))
    post(flow, message("Status", "wamid.3"))
    answer = told(flow)[-1]
    assert answer.startswith(f"acme has {flow.images.totals(flow.acme).images} images, ")
    assert "From this chat: 1 searchable, 0 in progress" in answer


@pytest.mark.parametrize(
    ("chat", "content", "kind", "answer"),
    [
        (CHAT, "hello", "text", HINT),
        (GROUP, "hello", "text", None),
        (GROUP, "/help", "text", HELP),
        (CHAT, None, "location", None),
        (CHAT, None, "reaction", None),
    ],
)
def test_other_messages_are_answered_only_where_somebody_talks_to_us(
    flow: Flow, chat: str, content: str | None, kind: str, answer: str | None
) -> None:
    link(flow, GROUP)
    post(flow, message(content, chat=chat, message_type=kind))
    assert told(flow, chat) == ([answer] if answer else [])


def test_documents_are_refused_with_a_text_and_stickers_without(flow: Flow) -> None:
    post(flow, message(id="wamid.1", media={"id": "media-1", "mimeType": "application/pdf"}, message_type="document"))
    post(flow, message(id="wamid.2", media={"id": "media-1"}, message_type="sticker"))
    assert told(flow) == [UNSUPPORTED["document"]]
    assert {flow.chats.done[message_id].outcome for message_id in ("wamid.1", "wamid.2")} == {"refused"}
    assert flow.whatsapp.fetched == []


@pytest.mark.parametrize(("kind", "mime"), [("video", None), ("document", "video/mp4")])
def test_a_video_becomes_searchable_and_the_chat_is_told(flow: Flow, kind: str, mime: str | None) -> None:
    flow.whatsapp.files["media-1"] = film()
    media = {"id": "media-1"} | ({"mimeType": mime, "fileName": "party.mp4"} if mime else {})
    for _ in range(2):
        post(flow, message("At sea", media=media, message_type=kind))
    video_id = flow.chats.done["wamid.1"].image_id or ""
    video = flow.video(video_id)
    assert (video.status, video.metadata["caption"]) == ("completed", "At sea")
    assert told(flow) == [f"{video.file_name} is searchable now."]
    assert flow.chats.tally("tenant_acme", CHAT).searchable == 1


def test_a_video_that_cannot_be_read_is_refused_or_told_of(flow: Flow) -> None:
    flow.whatsapp.files |= {"media-1": b"FLV\x01", "media-2": MP4_HEAD}
    post(flow, message(id="wamid.1", media={"id": "media-1"}, message_type="video"))
    post(flow, message(id="wamid.2", media={"id": "media-2"}, message_type="video"))
    assert flow.chats.done["wamid.1"].code == "VIDEO_FORMAT_UNSUPPORTED"
    refused, failed = told(flow)
    assert refused.startswith("This file was not added: ")
    assert "could not be processed" in failed


def test_a_video_nobody_tells_of_is_looked_at(flow: Flow) -> None:
    flow.whatsapp.files["media-1"] = film()
    flow.tenants.chats.clear()
    post(flow, message(media={"id": "media-1"}, message_type="video"))
    assert told(flow) == []
    flow.clock.skip(timedelta(minutes=30))
    tick(flow)
    assert [text.endswith("is searchable now.") for text in told(flow)] == [True]


def test_the_words_find_beside_a_video_ask_for_a_photo(flow: Flow) -> None:
    post(flow, message("find", media={"id": "media-1"}, message_type="video"))
    assert told(flow) == [FIND_WHAT]
    assert flow.whatsapp.fetched == []


def test_the_first_rule_that_fits_decides(flow: Flow) -> None:
    rule(flow, "ignore", senders=("4900000",))
    rule(flow, "ingest", types=("image",), text="Invoice", tags=("bills", "paper"))
    rule(flow, "ignore", text="invoice")
    post(flow, message("the INVOICE", **PHOTO), message("invoice", "wamid.2"))
    assert image_of(flow).tags == ("bills", "paper")
    assert flow.chats.done["wamid.2"].outcome == "ignored"
    assert [flow.chats.done[message_id].rule_id for message_id in ("wamid.1", "wamid.2")] == ["rul_1", "rul_2"]
    post(flow, message("find invoice", "wamid.3", sender="4900000", **PHOTO))
    assert flow.chats.done["wamid.3"].rule_id == "rul_0"
    assert len(told(flow)) == 1


def test_a_rule_tells_webhooks_once(flow: Flow) -> None:
    flow.webhooks.save(Webhook("whk_1", "tenant_acme", "https://acme.example/hook", ("whatsapp.message",), START))
    rule(flow, "webhook", types=("text",))
    rule(flow, "ingest", "webhook", in_group=False)
    for _ in range(2):
        post(flow, message("order 7"), message(id="wamid.2", **PHOTO))
    bodies = [body.decode() for _, _, body in flow.webhook_sender.sent]
    assert len(bodies) == 2
    assert '"content": "order 7"' in bodies[0]
    assert str(flow.chats.done["wamid.2"].image_id) in bodies[1]
    assert told(flow) == ["whatsapp-20261120-103000.jpg is searchable now."]


def test_a_reply_that_failed_for_now_is_sent_later_and_once(flow: Flow) -> None:
    flow.whatsapp.answers[CHAT] = Sent("HTTP 429", transient=True)
    post(flow, message("help"), message("status", "wamid.2"))
    assert len(told(flow)) == 1
    tick(flow)
    assert len(told(flow)) == 1
    flow.whatsapp.answers.clear()
    flow.clock.skip(RETRY_DELAYS[0] + timedelta(minutes=2))
    tick(flow)
    tick(flow)
    assert len(told(flow)) == 3
    assert {reply.state for reply in flow.replies.kept.values()} == {"sent"}


def test_a_reply_that_whatsapp_refuses_is_given_up(flow: Flow) -> None:
    flow.whatsapp.answers[CHAT] = Sent("HTTP 400: re-engagement message")
    post(flow, message("help"), message("status", "wamid.2"))
    assert {(reply.state, reply.last_error) for reply in flow.replies.kept.values()} == {
        ("failed", "HTTP 400: re-engagement message")
    }
    assert len(told(flow)) == 2


def test_an_image_nobody_tells_of_is_looked_at(flow: Flow) -> None:
    flow.tenants.chats.clear()  # as functions know the tenant that have not heard of the chat yet
    post(flow, message(**PHOTO))
    assert image_of(flow).step is Step.COMPLETED
    assert told(flow) == []
    flow.clock.skip(timedelta(minutes=2))
    tick(flow)
    assert told(flow) == ["whatsapp-20261120-103000.jpg is searchable now."]


def test_an_image_in_work_is_looked_at_less_and_less_often(flow: Flow) -> None:
    flow.send(message(**PHOTO))
    flow.deliver(TOPIC)
    ((_, reply),) = flow.replies.kept.items()
    for minutes in (2, 4):
        flow.clock.skip(timedelta(minutes=minutes))
        for event in TickWhatsApp(flow.chats, flow.replies, flow.clock)():
            flow.send(event)
        flow.deliver(TOPIC)
        assert flow.replies.kept[reply.id].next_at - flow.clock.now() > timedelta(minutes=minutes - 1)
    flow.images.mark_deleted(flow.acme, reply.image_id or "", flow.clock.now())
    flow.clock.skip(timedelta(hours=1))
    flow.records.clear()
    tick(flow)
    assert "deleted" in told(flow)[0]


def test_a_reply_lost_with_its_process_is_sent_by_the_schedule(flow: Flow) -> None:
    flow.send(message("help"))
    flow.deliver(TOPIC)
    flow.records.clear()
    now = flow.clock.now()
    assert flow.replies.claim([*flow.replies.kept], now, now + LEASE)
    tick(flow)
    assert told(flow) == []
    flow.clock.skip(LEASE)
    tick(flow)
    assert told(flow) == [HELP]


def test_nothing_is_written_to_a_chat_that_was_unlinked(flow: Flow) -> None:
    flow.send(message(**PHOTO))
    flow.deliver(TOPIC)
    flow.chats.unlink("tenant_acme", chat_id(CHAT))
    flow.run()
    tick(flow)
    assert image_of(flow).step is Step.COMPLETED
    assert told(flow) == []


def test_a_suspended_or_deleted_tenants_messages_are_ignored(flow: Flow) -> None:
    flow.tenants.add(replace(flow.tenants.get("tenant_acme"), status="suspended"))
    post(flow, message(**PHOTO))
    assert flow.chats.done["wamid.1"].reason == "the tenant is suspended"
    flow.tenants.add(replace(flow.acme, status="deleting"))
    post(flow, message("help", "wamid.2"))
    assert told(flow) == []
    assert flow.dead_letters.letters == {}


def test_a_burst_is_worked_and_answered_once_each(flow: Flow) -> None:
    for number in range(40):
        flow.whatsapp.files[f"media-{number}"] = picture(number)
        flow.send(message(id=f"wamid.{number}", media={"id": f"media-{number}"}, message_type="image"))
    flow.run()
    assert len(told(flow)) == 40
    assert len(set(flow.whatsapp.sent)) == 40
    assert flow.images.totals(flow.acme).images == 40


def test_old_messages_are_forgotten(flow: Flow) -> None:
    post(flow, message("help"))
    flow.clock.skip(RETENTION + timedelta(days=1))
    tick(flow)
    assert flow.chats.done == {}
    assert flow.replies.kept == {}


@pytest.mark.parametrize("handled_elsewhere", [False, True])
def test_an_image_that_takes_the_place_of_a_refused_picture_is_processed_at_once(handled_elsewhere: bool) -> None:
    flow = Flow(window=1)
    link(flow)
    flow.whatsapp.files["media-1"] = picture(1)
    flow.tenants.add(replace(flow.acme, limits=ResourceLimits(max_images=1)))
    refuse_next_row(flow, lambda: send_upload(flow, flow.acme, jpeg_upload("img_waiting", picture(2))))
    record = flow.chats.record
    if handled_elsewhere:
        flow.chats.record = lambda handled, reply: record(handled, reply) and False  # type: ignore[method-assign]

    flow.send(message(**PHOTO), "event-1")
    flow.run()

    assert flow.chats.done["wamid.1"].code == "quota-exceeded"
    assert flow.row("img_waiting").step is Step.COMPLETED
    flow.workers.shutdown(wait=False)
