"""The inference server keeps its protocols and limits, and starts and stops cleanly."""

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from deeplens.embedding.wire import HEADER_LENGTH, SAGEMAKER_TYPE, encode_request

from functions.inference_endpoint.manifest import MODELS
from local.services.process import ServiceFailed
from local.setup.tools import REPOSITORY
from tests.integration.inference_endpoint.conftest import Server, StartServer, picture

MODEL = "/v2/models/deeplens-visual/versions/1"
MEGABYTE = 1 << 20


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=30, maxsize=32) as pool:
        yield pool


def get(http: urllib3.PoolManager, url: str) -> tuple[int, Any]:
    answer = http.request("GET", url)
    return answer.status, answer.json()


def infer(
    http: urllib3.PoolManager, server: Server, images: list[bytes], path: str = MODEL
) -> urllib3.BaseHTTPResponse:
    body, length = encode_request(images)
    return http.request("POST", f"{server.url}{path}/infer", body=body, headers={HEADER_LENGTH: str(length)})


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", "/ping", f"{MODEL}/ready", "/v2/models/deeplens-visual/ready"],
)
def test_a_started_server_is_ready(http: urllib3.PoolManager, server: Server, path: str) -> None:
    assert get(http, server.url + path)[0] == 200


@pytest.mark.parametrize("path", ["/v2/models/deeplens-visual", MODEL])
def test_a_model_tells_its_tensors_and_threshold(http: urllib3.PoolManager, server: Server, path: str) -> None:
    _, found = get(http, server.url + path)

    assert (found["name"], found["versions"]) == ("deeplens-visual", ["1", "2"])
    assert {"name": "pixels", "datatype": "FP32", "shape": [-1, 3, 128, 128]} in found["inputs"]
    assert found["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 512]}]
    assert 0 < found["parameters"]["default_threshold"] < 1


@pytest.mark.parametrize(
    "path",
    ["/v2/models/clip", "/v2/models/deeplens-visual/versions/9", f"{MODEL}/labels", "/v2/models/clip/ready", "/"],
)
def test_an_unknown_model_or_route_is_404_with_a_reason(http: urllib3.PoolManager, server: Server, path: str) -> None:
    status, found = get(http, server.url + path)
    assert status == 404
    assert found["error"]


def test_images_pixels_json_and_binary_agree(http: urllib3.PoolManager, server: Server) -> None:
    from functions.inference_endpoint.manifest import read_manifest
    from functions.inference_endpoint.model import pixels_of

    image = picture(1)
    pixels = pixels_of(image, read_manifest(MODELS / "deeplens-visual" / "1"))
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, *pixels.shape], "data": pixels.reshape(-1).tolist()}
    as_json = http.request("POST", f"{server.url}{MODEL}/infer", json={"id": "7", "inputs": [tensor]})
    as_bytes = infer(http, server, [image])

    length = int(as_bytes.headers[HEADER_LENGTH])
    document = as_json.json()
    assert as_bytes.headers["Content-Type"] == "application/octet-stream"
    assert document["id"] == "7"
    assert document["outputs"][0]["shape"] == [1, 512]
    assert document["outputs"][0]["data"] == pytest.approx(np.frombuffer(as_bytes.data[length:], "<f4"), abs=1e-6)


@pytest.mark.parametrize("attributes", [None, "model=deeplens-visual", "model=deeplens-visual;version=1"])
def test_sagemakers_route_names_the_model_in_its_attributes(
    http: urllib3.PoolManager, server: Server, attributes: str | None
) -> None:
    body, length = encode_request([picture(1), picture(2)])
    headers = {"Content-Type": f"{SAGEMAKER_TYPE}{length}"}
    if attributes:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    answer = http.request("POST", f"{server.url}/invocations", body=body, headers=headers)

    length = int(answer.headers["Content-Type"].removeprefix(SAGEMAKER_TYPE))
    assert json.loads(answer.data[:length])["outputs"][0]["shape"] == [2, 512]
    assert len(answer.data) - length == 2 * 512 * 4


def test_sagemakers_route_knows_no_other_model(http: urllib3.PoolManager, server: Server) -> None:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "model=clip", "Content-Type": "application/json"}
    answer = http.request("POST", f"{server.url}/invocations", body=b"{}", headers=headers)
    assert (answer.status, answer.json()["error"]) == (404, "no model clip")


def test_a_broken_image_is_400_with_its_index(http: urllib3.PoolManager, server: Server) -> None:
    answer = infer(http, server, [picture(1), picture(2), b"not an image"])
    assert answer.status == 400
    assert answer.json() == {"error": "image 2 cannot be decoded", "index": 2}


def test_pixels_of_another_size_or_without_values_are_400(http: urllib3.PoolManager, server: Server) -> None:
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": [0.0] * 12}
    wrong_size = http.request("POST", f"{server.url}{MODEL}/infer", json={"inputs": [tensor]})
    values = np.zeros((2, 3, 128, 128), "<f4")
    values[1, 0, 0, 0] = np.nan
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [2, 3, 128, 128]}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": values.nbytes}}]}).encode()
    headers = {HEADER_LENGTH: str(len(head))}
    not_finite = http.request("POST", f"{server.url}{MODEL}/infer", body=head + values.tobytes(), headers=headers)

    assert (wrong_size.status, not_finite.status) == (400, 400)
    assert "128" in wrong_size.json()["error"]
    assert "image 1" in not_finite.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"inputs": [{"name": "image"}]}'])
def test_a_request_that_breaks_the_protocol_is_400(http: urllib3.PoolManager, server: Server, body: bytes) -> None:
    answer = http.request("POST", f"{server.url}{MODEL}/infer", body=body)
    assert answer.status == 400
    assert answer.json()["error"]


def test_too_many_images_or_bytes_are_413(http: urllib3.PoolManager, server: Server) -> None:
    many = infer(http, server, [b""] * 257)
    declared = http.request("POST", f"{server.url}{MODEL}/infer", body=bytes(65 * MEGABYTE))
    # Chunks have no declared length: the server must count.
    counted = http.request("POST", f"{server.url}{MODEL}/infer", body=iter([bytes(MEGABYTE)] * 65), chunked=True)

    assert (many.status, declared.status, counted.status) == (413, 413, 413)
    assert get(http, f"{server.url}/ping")[0] == 200


def test_a_full_queue_answers_429_with_retry_after(http: urllib3.PoolManager, start_server: StartServer) -> None:
    server = start_server("--queue-images", "200")
    images = [picture(1)] * 200
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda _: infer(http, server, images), range(16)))

    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {200, 429}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 and answer.json()["error"] for answer in refused)
    assert infer(http, server, images[:1]).status == 200


def metric(http: urllib3.PoolManager, server: Server, line: str) -> float:
    """Return the value of a line of ``/metrics``; 0 if it is missing."""
    page = http.request("GET", f"{server.url}/metrics").data.decode()
    return next((float(one.rpartition(" ")[2]) for one in page.splitlines() if one.startswith(f"{line} ")), 0.0)


def test_metrics_count_answers_images_and_batches(http: urllib3.PoolManager, start_server: StartServer) -> None:
    server = start_server()
    assert infer(http, server, [picture(seed) for seed in range(6)]).status == 200
    assert infer(http, server, [b"broken"]).status == 400
    http.request("GET", f"{server.url}/v2/models/made-up-{time.time_ns()}")

    def count(name: str, **labels: str) -> float:
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return metric(http, server, f"deeplens_inference_{name}{{{inside}}}")

    assert count("requests_total", model="deeplens-visual", status="200") == 1
    assert count("requests_total", model="deeplens-visual", status="400") == 1
    # Warm-up calls count as well.
    assert count("images_total", model="deeplens-visual") == 6 + 2 * (1 + 4)
    assert metric(http, server, "deeplens_inference_decode_seconds_count") == 7
    assert metric(http, server, "deeplens_inference_models_loaded") == 2
    assert metric(http, server, "deeplens_inference_images_under_way") == 0
    assert "made-up" not in http.request("GET", f"{server.url}/metrics").data.decode()


def test_requests_of_one_image_share_calls_under_load(http: urllib3.PoolManager, start_server: StartServer) -> None:
    server = start_server()
    images = [picture(seed) for seed in range(64)]
    whole = infer(http, server, images)
    calls = metric(http, server, 'deeplens_inference_call_seconds_count{model="deeplens-visual"}')
    with ThreadPoolExecutor(32) as clients:
        alone = list(clients.map(lambda image: infer(http, server, [image]), images))
    more = metric(http, server, 'deeplens_inference_call_seconds_count{model="deeplens-visual"}') - calls

    def rows(answer: urllib3.BaseHTTPResponse) -> Any:
        return np.frombuffer(answer.data[int(answer.headers[HEADER_LENGTH]) :], "<f4").reshape(-1, 512)

    assert np.abs(np.concatenate([rows(answer) for answer in alone]) - rows(whole)).max() < 1e-5
    assert more < len(images)


def test_all_requests_in_flight_are_answered_after_sigterm(
    http: urllib3.PoolManager, start_server: StartServer
) -> None:
    server = start_server()
    images = [picture(1)] * 120
    with ThreadPoolExecutor(4) as clients:
        under_way = [clients.submit(infer, http, server, images) for _ in range(4)]
        deadline = time.monotonic() + 20
        while metric(http, server, "deeplens_inference_images_under_way") < 4 * len(images):
            assert time.monotonic() < deadline
        server.process.send_signal(signal.SIGTERM)
        assert [future.result().status for future in under_way] == [200] * 4
    assert server.process.wait(20) == 0


def test_models_of_several_folders_are_served_and_found_later(
    http: urllib3.PoolManager, start_server: StartServer, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    server = start_server("--models", str(MODELS), "--models", str(own), "--max-loaded", "2")
    assert get(http, f"{server.url}/v2/models/late")[0] == 404
    folder = own / "late" / "7"
    shutil.copytree(MODELS / "deeplens-visual" / "2", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": "late", "version": "7"}))

    deadline = time.monotonic() + 10
    while (answer := infer(http, server, [picture(1)], "/v2/models/late")).status == 404:
        assert time.monotonic() < deadline
    assert answer.status == 200
    assert metric(http, server, "deeplens_inference_models_loaded") == 2
    assert metric(http, server, "deeplens_inference_evictions_total") == 1


def test_a_text_is_refused_by_a_model_for_images(http: urllib3.PoolManager, server: Server) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a harbour"]}
    answer = http.request("POST", f"{server.url}{MODEL}/infer", json={"inputs": [tensor]})

    assert (answer.status, "images only" in answer.json()["error"]) == (400, True)


def test_a_request_in_flight_is_answered_after_sigterm(start_server: StartServer) -> None:
    server = start_server()
    body, length = encode_request([picture(1)] * 8)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST {MODEL}/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        head += f"Content-Length: {len(body)}\r\n{HEADER_LENGTH}: {length}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        # The interim answer says that the request is under way.
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        server.process.send_signal(signal.SIGTERM)
        assert stops_listening(server)
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
    assert len(answer) > 8 * 512 * 4
    server.process.wait(10)


def stops_listening(server: Server) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_the_server_runs_in_the_containers_layout_without_the_repository(
    http: urllib3.PoolManager, tmp_path: Path
) -> None:
    """Copy the package as the Dockerfile does, without the rest of the repository."""
    package = tmp_path / "inference_endpoint"
    package.mkdir()
    for source in (REPOSITORY / "functions" / "inference_endpoint").glob("*.py"):
        shutil.copy(source, package)
    shutil.copytree(MODELS, package / "models")
    server = Server(tmp_path, "serve", package="inference_endpoint")
    server.folder = tmp_path
    server.start()
    try:
        assert infer(http, server, [picture(1)]).status == 200
    finally:
        server.stop()


def test_a_broken_model_stops_the_start_and_says_which(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "deeplens-visual" / "1"
    shutil.copytree(MODELS / "deeplens-visual" / "1", folder)
    with (folder / "model.onnx").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0\0\0\0")

    with pytest.raises(ServiceFailed, match="sha256"):
        Server(tmp_path, "--models", str(tmp_path / "models")).start()
