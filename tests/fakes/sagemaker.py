"""SageMaker's runtime as a client sees it: the REST path in front of a container's ``/invocations``."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import urllib3

ENDPOINT = "deeplens"
FORWARDED = ("Content-Type", "X-Amzn-SageMaker-Custom-Attributes")


class SageMakerDouble:
    """Forwards ``POST /endpoints/deeplens/invocations`` to the container at ``target``, and wraps its errors."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.http = urllib3.PoolManager(retries=False, timeout=20)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"double": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    double: SageMakerDouble

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != f"/endpoints/{ENDPOINT}/invocations":
            self._refuse(400, "ValidationError", {"Message": "Endpoint not found"})
            return
        headers = {name: self.headers[name] for name in FORWARDED if self.headers[name]}
        try:
            answer = self.double.http.request("POST", f"{self.double.target}/invocations", body=body, headers=headers)
        except urllib3.exceptions.HTTPError:
            self._refuse(503, "ServiceUnavailable", {"Message": "no healthy instance"})
            return
        if answer.status == 200:
            self._send(200, answer.data, {"Content-Type": answer.headers["Content-Type"]})
        else:
            original = {"OriginalStatusCode": answer.status, "OriginalMessage": answer.data.decode()}
            self._refuse(424, "ModelError", {"Message": "the container refused", **original})

    def _refuse(self, status: int, code: str, document: dict[str, object]) -> None:
        headers = {"x-amzn-ErrorType": code, "Content-Type": "application/json"}
        self._send(status, json.dumps(document).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return
