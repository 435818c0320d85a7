"""Requests to endpoints of tenants against real listeners: what is refused sends nothing, not even a connection."""

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from deeplens.egress import http
from deeplens.egress.http import EgressPool, guard
from deeplens.egress.rules import EgressRules, check_endpoint
from deeplens.errors import EndpointRefused, TenantStoreDenied
from deeplens.storage.s3 import S3Store
from deeplens.webhooks.sender import EgressWebhookSender
from urllib3.exceptions import NewConnectionError, SSLError

PUBLIC = "93.184.215.14"
HOST = "hooks.example.com"
STRICT = EgressRules(http=True)
LOOPBACK_ALLOWED = EgressRules.of(["127.0.0.1/32"], http=True)


class Listener(ThreadingHTTPServer):
    """Counts connections and requests; answers what ``location`` says, or with its own name."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.connections, self.requests, self.location = 0, [], ""  # type: ignore[var-annotated]
        super().__init__((address, 0), Answer)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def verify_request(self, *_: Any) -> bool:
        self.connections += 1
        return True

    def handle_error(self, *_: Any) -> None:
        """A client that refuses our certificate is expected."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def _answer(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers["Host"]))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(307 if self.server.location else 200)
        if self.server.location:
            self.send_header("Location", self.server.location)
        body = b"" if self.command == "PUT" else b"ok"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def serving(listener: Listener) -> Iterator[Listener]:
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with serving(Listener()) as one:
        yield one


class Rebinding:
    """A resolver that says ``first`` once, and ``then`` ever after."""

    def __init__(self, first: str, then: str) -> None:
        self.answers, self.then, self.asked = [first], then, 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return [self.answers.pop() if self.answers else self.then]


def to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def test_a_name_that_leads_elsewhere_after_the_check_is_refused_when_connecting(listener: Listener) -> None:
    url, resolve = f"http://{HOST}:{listener.port}/", Rebinding(PUBLIC, "127.0.0.1")
    check_endpoint(url, STRICT, resolve)
    pool = EgressPool(STRICT, resolve)
    with pytest.raises(EndpointRefused, match="public"):
        pool.request("POST", url, body=b"secret")
    assert resolve.asked == 2
    assert (listener.connections, listener.requests) == (0, [])


def test_a_resolver_that_the_system_asks_again_changes_nothing(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Connecting by name would ask a second time, after the check; connecting to the checked address does not.
    resolve = Rebinding(PUBLIC, "127.0.0.1")
    tried: list[Any] = []

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        tried.append(address)
        raise OSError("not from here")

    monkeypatch.setattr(http.sockets, "create_connection", connect)
    with pytest.raises(NewConnectionError):
        EgressPool(STRICT, resolve).request("GET", f"http://{HOST}:{listener.port}/")
    assert tried == [(PUBLIC, listener.port)]
    assert resolve.asked == 1


def test_a_connection_that_ends_elsewhere_is_closed_before_anything_is_sent(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = http.sockets.create_connection
    monkeypatch.setattr(
        http.sockets, "create_connection", lambda address, *a, **k: real(("127.0.0.1", listener.port), *a, **k)
    )
    with pytest.raises(EndpointRefused, match="public"):
        EgressPool(STRICT, Rebinding(PUBLIC, PUBLIC)).request("POST", f"http://{HOST}/", body=b"secret")
    assert listener.requests == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://localhost.:{port}/"])
def test_the_systems_own_resolver_opens_no_way_inside(listener: Listener, url: str) -> None:
    with pytest.raises(EndpointRefused):
        EgressPool(STRICT).request("GET", url.format(port=listener.port))
    assert listener.connections == 0


def test_what_the_operator_allows_is_reached_by_its_name(listener: Listener) -> None:
    answer = EgressPool(LOOPBACK_ALLOWED, to_loopback).request("POST", f"http://{HOST}:{listener.port}/a", body=b"{}")
    assert (answer.status, answer.read()) == (200, b"ok")
    assert listener.requests == [("POST", "/a", f"{HOST}:{listener.port}")]


@pytest.mark.parametrize("options", [{}, {"redirect": True}, {"retries": 5}])
def test_a_redirect_is_an_answer_and_not_followed(listener: Listener, options: dict[str, Any]) -> None:
    with serving(Listener()) as other:
        listener.location = f"http://127.0.0.1:{other.port}/latest/meta-data/"
        pool = EgressPool(LOOPBACK_ALLOWED, to_loopback)
        answer = pool.request("GET", f"http://{HOST}:{listener.port}/", **options)
        assert answer.status == 307
        assert other.connections == 0


def test_a_kept_connection_serves_again_and_a_new_one_is_checked_again(listener: Listener) -> None:
    resolve = Rebinding("127.0.0.1", "10.0.0.1")
    pool = EgressPool(LOOPBACK_ALLOWED, resolve)
    for _ in range(2):
        pool.request("GET", f"http://{HOST}:{listener.port}/").read()
    assert (resolve.asked, listener.connections) == (1, 1)
    pool.clear()
    with pytest.raises(EndpointRefused):
        pool.request("GET", f"http://{HOST}:{listener.port}/")


def test_proxies_of_the_environment_are_not_used(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Listener()) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        url = f"http://{HOST}:{listener.port}/"
        assert EgressPool(LOOPBACK_ALLOWED, to_loopback).request("GET", url).status == 200
        s3_store(url, LOOPBACK_ALLOWED, to_loopback).get("a")
        assert proxy.connections == 0


class TestTls:
    def test_the_certificate_is_held_to_the_name_and_not_to_the_address(self, tmp_path: Path) -> None:
        with serving(tls_listener(tmp_path, HOST)) as listener:
            pool = EgressPool(LOOPBACK_ALLOWED, to_loopback, ca_certs=str(tmp_path / "cert.pem"))
            assert pool.request("GET", f"https://{HOST}:{listener.port}/").status == 200
            with pytest.raises(SSLError):
                pool.request("GET", f"https://other.example.com:{listener.port}/")
            assert len(listener.requests) == 1

    def test_a_certificate_of_nobody_is_refused(self, tmp_path: Path) -> None:
        with serving(tls_listener(tmp_path, HOST)) as listener:
            with pytest.raises(SSLError):
                EgressPool(LOOPBACK_ALLOWED, to_loopback).request("GET", f"https://{HOST}:{listener.port}/")
            assert listener.requests == []

    def test_a_rebound_name_is_refused_before_the_handshake(self, tmp_path: Path) -> None:
        with serving(tls_listener(tmp_path, HOST)) as listener:
            url, resolve = f"https://{HOST}:{listener.port}/", Rebinding(PUBLIC, "127.0.0.1")
            check_endpoint(url, EgressRules(), resolve)
            with pytest.raises(EndpointRefused):
                EgressPool(EgressRules(), resolve).request("GET", url)
            assert listener.connections == 0


class TestBoto3:
    def test_a_bucket_behind_a_rebound_name_is_refused_at_once(self, listener: Listener) -> None:
        url, resolve = f"http://{HOST}:{listener.port}", Rebinding(PUBLIC, "127.0.0.1")
        check_endpoint(url, STRICT, resolve)
        store = s3_store(url, STRICT, resolve)
        for call in calls(store):
            with pytest.raises(EndpointRefused):
                call()
        assert listener.connections == 0
        assert resolve.asked == 1 + len(calls(store))  # no call is tried again

    def test_an_endpoint_that_is_allowed_serves_a_bucket(self, listener: Listener) -> None:
        store = s3_store(f"http://{HOST}:{listener.port}", LOOPBACK_ALLOWED, to_loopback)
        store.put("a", b"body", "text/plain")
        assert store.get("a") == b"ok"
        assert [request[:2] for request in listener.requests] == [("PUT", "/bucket/a"), ("GET", "/bucket/a")]

    def test_an_endpoint_without_tls_is_refused_as_well(self, listener: Listener) -> None:
        rules = EgressRules(LOOPBACK_ALLOWED.allowed)
        with pytest.raises(EndpointRefused, match="https://"):
            s3_store(f"http://{HOST}:{listener.port}", rules, to_loopback).get("a")
        assert listener.connections == 0

    def test_a_redirect_is_not_followed(self, listener: Listener) -> None:
        with serving(Listener()) as other:
            listener.location = f"http://127.0.0.1:{other.port}/latest/meta-data/"
            store = s3_store(f"http://{HOST}:{listener.port}", LOOPBACK_ALLOWED, to_loopback)
            with pytest.raises(TenantStoreDenied):
                store.get("a")
            assert other.connections == 0


def s3_store(url: str, rules: EgressRules, resolve: Callable[[str, int], Sequence[str]]) -> S3Store:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="tenants",
        aws_secret_access_key="own",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return S3Store(guard(client, rules, resolve), "s3://bucket", "us-east-1")


def calls(store: S3Store) -> list[Callable[[], object]]:
    return [
        lambda: store.get("a"),
        lambda: store.put("a", b"", "text/plain"),
        lambda: store.delete(["a"]),
        lambda: store.head("a"),
        lambda: store.copy("a", "b"),
        lambda: list(store.list()),
    ]


def tls_listener(folder: Path, host: str) -> Listener:
    """A listener with a certificate of its own for ``host``, written to ``cert.pem``."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listener = Listener()
    # Each connection's handshake in its own thread, so that one that fails stops no other.
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    return listener


def test_a_webhook_is_posted_and_its_status_is_the_answer(listener: Listener) -> None:
    sender = EgressWebhookSender(LOOPBACK_ALLOWED)
    url = f"http://127.0.0.1:{listener.port}/hook?x=1"
    for _ in range(2):
        assert sender.send(url, {"webhook-id": "whd_1"}, b"{}").status == 200
    assert [(method, path) for method, path, _ in listener.requests] == [("POST", "/hook?x=1")] * 2
    listener.location = "http://127.0.0.1:1/"
    assert sender.send(url, {}, b"{}").status == 307


def test_what_a_webhooks_endpoint_does_is_never_raised(listener: Listener) -> None:
    refused = EgressWebhookSender(STRICT).send(f"http://127.0.0.1:{listener.port}/", {}, b"{}")
    assert refused.status is None
    assert "not public" in str(refused.error)
    assert listener.connections == 0
    with serving(Listener()) as gone:
        port = gone.port
    silent = EgressWebhookSender(LOOPBACK_ALLOWED).send(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert (silent.status, silent.error) == (None, "NewConnectionError")
