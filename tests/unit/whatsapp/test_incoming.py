"""What Meta posts: signatures, messages of every kind, and whatever else anyone could write."""

import hashlib
import hmac
from typing import Any

import pytest
from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.whatsapp.incoming import Media, is_signed, media_of, messages_of
from hypothesis import given, settings
from hypothesis import strategies as st

BODY = b'{"object": "whatsapp_business_account"}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["entry", "changes", "value", "field", "messages", "id", "from", "type", "text"]), inner
        )
    ),
    max_leaves=30,
)


def payload(*messages: Any, field: str = "messages") -> dict[str, Any]:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001", "phone_number_id": "106540352242922"},
        "contacts": [{"profile": {"name": "Ada"}, "wa_id": "491511234567"}],
        "messages": [*messages],
    }
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"value": value, "field": field}]}],
    }


def text(body: str = "hello", **changes: Any) -> dict[str, Any]:
    return {
        "from": "491511234567",
        "id": "wamid.1",
        "timestamp": "1795170600",
        "type": "text",
        "text": {"body": body},
    } | changes


def photo(**changes: Any) -> dict[str, Any]:
    image = {"id": "media-1", "mime_type": "image/jpeg", "sha256": "x", "caption": "find"}
    return text(type="image", image=image) | changes


@pytest.mark.parametrize(
    ("signature", "good"),
    [
        ("sha256=" + hmac.new(b"secret", BODY, hashlib.sha256).hexdigest(), True),
        ("sha256=" + hmac.new(b"another", BODY, hashlib.sha256).hexdigest(), False),
        ("sha256=" + hmac.new(b"secret", BODY + b" ", hashlib.sha256).hexdigest(), False),
        (hmac.new(b"secret", BODY, hashlib.sha256).hexdigest(), False),
        ("sha1=" + hmac.new(b"secret", BODY, hashlib.sha1).hexdigest(), False),
        ("sha256=é\udcff", False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_apps_secret_signs(signature: str | None, good: bool) -> None:
    assert is_signed(BODY, signature, "secret") is good


def test_a_text_is_read() -> None:
    ((message,), strange) = messages_of(payload(text()))
    assert strange == 0
    assert message == WhatsAppMessage(
        message_id="wamid.1",
        chat_jid="491511234567@s.whatsapp.net",
        from_me=False,
        message_type="text",
        content="hello",
        timestamp=1795170600,
        metadata={
            "isGroup": False,
            "sender": "491511234567",
            "senderName": "Ada",
            "phoneNumberId": "106540352242922",
        },
    )
    assert media_of(message) is None


def test_a_photo_and_a_document_bring_their_files() -> None:
    document = {"id": "media-2", "mime_type": "image/png", "filename": "plan.png"}
    found, _ = messages_of(payload(photo(), text(id="wamid.2", type="document", document=document)))
    assert [media_of(message) for message in found] == [
        Media("media-1", "image/jpeg"),
        Media("media-2", "image/png", "plan.png"),
    ]
    assert [message.content for message in found] == ["find", None]


def test_a_group_is_a_chat_of_its_own() -> None:
    ((message,), _) = messages_of(payload(text(group_id="Y2FwaV9n==")))
    assert (message.chat_jid, message.metadata["isGroup"]) == ("Y2FwaV9n==@g.us", True)
    assert message.key == "Y2FwaV9n==@g.us"


@pytest.mark.parametrize(
    "broken",
    [
        None,
        7,
        {},
        text(id=""),
        text(id=None),
        text(id="with blank"),
        text(timestamp="soon"),
        text(timestamp="-1"),
        text(**{"from": "two words"}),
        text(type="weird type"),
        text(type=["image"]),
    ],
    ids=repr,
)
def test_one_message_that_is_not_understood_stops_no_other(broken: Any) -> None:
    found, strange = messages_of(payload(text(id="wamid.0"), broken, text(id="wamid.2")))
    assert [message.message_id for message in found] == ["wamid.0", "wamid.2"]
    assert strange == 1


@pytest.mark.parametrize(
    "other", [{}, [], None, 7, {"entry": 1}, {"entry": [None, {"changes": "x"}]}, payload(text(), field="statuses")]
)
def test_what_holds_no_message_gives_none(other: Any) -> None:
    assert messages_of(other) == ([], 0)


@settings(max_examples=200, deadline=None)
@given(value=JSON)
def test_whatever_is_posted_is_read_without_an_error(value: Any) -> None:
    messages_of(value)
    messages_of({"entry": [{"changes": [{"field": "messages", "value": {"messages": [value], "metadata": value}}]}]})


@pytest.mark.parametrize("media", [None, 7, {}, {"id": ""}, {"id": 7}, [], {"mimeType": "image/jpeg"}])
def test_metadata_that_names_no_file_has_none(media: Any) -> None:
    message = WhatsAppMessage(
        message_id="m", chat_jid="c", from_me=False, message_type="image", timestamp=0, metadata={"media": media}
    )
    assert media_of(message) is None
