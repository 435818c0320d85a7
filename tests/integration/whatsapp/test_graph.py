"""The Graph API's client against one on this machine: files, messages, and what every answer means."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from deeplens.egress.rules import EgressRules
from deeplens.errors import FileTooLarge, MediaExpired, WhatsAppUnavailable
from deeplens.whatsapp.chats import Sent
from deeplens.whatsapp.graph import GraphApi

from tests.fakes.graph import ACCESS_TOKEN, GraphDouble, graph_double

HERE = EgressRules((ip_network("127.0.0.1/32"),), http=True)
PHONE, CHAT = "106540352242922", "491511234567@s.whatsapp.net"


@pytest.fixture
def graph() -> Iterator[GraphDouble]:
    with graph_double() as made:
        yield made


def client(graph: GraphDouble, token: str = ACCESS_TOKEN, rules: EgressRules = HERE) -> GraphApi:
    return GraphApi(rules, f"{graph.url}/v1/", lambda: token)


def test_a_file_is_fetched(graph: GraphDouble) -> None:
    graph.files["media-1"] = bytes(range(256)) * 5000
    assert client(graph).fetch("media-1", 2_000_000) == graph.files["media-1"]
    assert client(graph).fetch("media-1", len(graph.files["media-1"])) == graph.files["media-1"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_whose_address_has_expired_is_asked_for_once_more(graph: GraphDouble, status: int) -> None:
    graph.files["media-1"], graph.expired["media-1"] = b"x", status
    with pytest.raises(MediaExpired, match=str(status)):
        client(graph).fetch("media-1", 10)
    assert graph.looked_up == ["media-1", "media-1"]


@pytest.mark.parametrize("media_id", ["gone", "unknown-1", "../../me", "a?b=c"])
def test_a_file_that_is_not_there_has_expired(graph: GraphDouble, media_id: str) -> None:
    with pytest.raises(MediaExpired, match="does not exist"):
        client(graph).fetch(media_id, 10)


def test_a_file_is_not_read_beyond_what_is_taken(graph: GraphDouble) -> None:
    graph.files["media-1"] = b"x" * 1000
    with pytest.raises(FileTooLarge, match="1000 bytes"):
        client(graph).fetch("media-1", 999)
    graph.sizes["media-1"] = 1
    with pytest.raises(FileTooLarge, match="999 bytes"):
        client(graph).fetch("media-1", 999)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_answer_that_passes_is_no_fault_of_the_file(graph: GraphDouble, status: int) -> None:
    graph.files["media-1"], graph.expired["media-1"] = b"x", status
    with pytest.raises(WhatsAppUnavailable, match=str(status)):
        client(graph).fetch("media-1", 10)


@pytest.mark.parametrize("token", ["revoked", ""])
def test_a_token_that_is_not_accepted_is_no_fault_of_the_file(graph: GraphDouble, token: str) -> None:
    graph.files["media-1"] = b"x"
    with pytest.raises(WhatsAppUnavailable):
        client(graph, token).fetch("media-1", 10)
    sent = client(graph, token).send(PHONE, CHAT, "hello", "wamid.1")
    assert sent.transient
    assert graph.sent == []


def test_nothing_leaves_for_somewhere_inside(graph: GraphDouble) -> None:
    graph.files["media-1"] = b"x"
    with pytest.raises(WhatsAppUnavailable):
        client(graph, rules=EgressRules(http=True)).fetch("media-1", 10)
    assert client(graph, rules=EgressRules()).send(PHONE, CHAT, "hello", "wamid.1").transient
    assert graph.looked_up == []


def test_an_api_that_is_away_passes() -> None:
    with graph_double() as gone:
        api = client(gone)
    with pytest.raises(WhatsAppUnavailable):
        api.fetch("media-1", 10)
    assert api.send(PHONE, CHAT, "hello", "wamid.1").transient


@pytest.mark.parametrize(
    ("chat", "kind", "to"), [(CHAT, "individual", "491511234567"), ("Y2Fw=@g.us", "group", "Y2Fw=")]
)
def test_a_text_quotes_the_message_that_it_answers(graph: GraphDouble, chat: str, kind: str, to: str) -> None:
    assert client(graph).send(PHONE, chat, "x" * 5000, "wamid.1") == Sent()
    (message,) = graph.sent
    assert (message["recipient_type"], message["to"], message["context"]) == (kind, to, {"message_id": "wamid.1"})
    assert message["text"] == {"preview_url": False, "body": "x" * 4096}


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, 131056, True),
        (400, 131047, False),
        (403, 131031, False),
        (401, 190, True),
        (429, 80007, True),
        (500, 131000, True),
        (503, None, True),
        (404, None, False),
    ],
)
def test_refusals_pass_or_do_not(graph: GraphDouble, status: int, code: int | None, transient: bool) -> None:
    body = {"error": {"message": "(#1) no", "code": code}} if code else {}
    graph.refusals["491511234567"] = [(status, body)]
    sent = client(graph).send(PHONE, CHAT, "hello", "wamid.1")
    assert sent == Sent(f"HTTP {status}: (#1) no" if code else f"HTTP {status}", transient)


def test_json_that_is_nested_too_deeply_is_an_answer_without_an_address(graph: GraphDouble) -> None:
    graph.get = lambda _: (200, b"[" * 100_000)  # type: ignore[method-assign]
    with pytest.raises(WhatsAppUnavailable, match="HTTP 200"):
        client(graph).fetch("media-1", 10)
