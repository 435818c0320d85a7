"""`make audit` fails for a known vulnerability, and only says so where the database cannot be reached."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.services.process import free_port
from local.setup.tools import find_uv

ROOT = Path(__file__).resolve().parents[3]
VULNERABILITY = {
    "id": "OSV-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "requests of others",
    "affected": [{"package": {"name": "starlette", "ecosystem": "PyPI"}}],
}


@contextmanager
def database(*vulnerable: str) -> Iterator[str]:
    """A database like osv.dev, in which these packages have a vulnerability."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            found = {"vulns": [{"id": "OSV-1", "modified": VULNERABILITY["modified"]}]}
            self._answer({"results": [found if query["package"]["name"] in vulnerable else {} for query in queries]})

        def do_GET(self) -> None:
            self._answer(VULNERABILITY)

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "audit", f"UV={find_uv()}", f"AUDIT_OPTIONS=--service-url {url}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_known_vulnerability_fails_the_check() -> None:
    with database("starlette") as url:
        done = audit(url)
    assert done.returncode != 0
    assert "OSV-1" in done.stdout + done.stderr


def test_without_one_the_check_passes() -> None:
    with database() as url:
        done = audit(url)
    assert done.returncode == 0
    assert "Not audited" not in done.stdout


@pytest.mark.long
def test_the_bills_of_materials_have_the_packages_of_functions_and_of_the_inference_container() -> None:
    command = ["make", "sbom", f"UV={find_uv()}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    wanted = {
        "sbom": {"authlib", "psycopg", "av"},
        "sbom-inference-requirements": {"onnxruntime", "starlette"},
        "sbom-inference-requirements-gpu": {"onnxruntime-gpu", "starlette"},
    }
    for name, packages in wanted.items():
        document = json.loads((ROOT / "dist" / f"{name}.cdx.json").read_text())
        found = {part["name"]: part.get("purl", "") for part in document["components"]}
        assert packages <= found.keys(), name
        assert all("@" in found[package] for package in packages), "versions are known"


def test_offline_the_check_says_that_nothing_was_audited() -> None:
    done = audit(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 0
    assert "Not audited" in done.stdout
