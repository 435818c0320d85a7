"""The Admin API in this process, called by the person at the shell."""

import asyncio
import getpass
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from secrets import token_hex
from typing import Any

import httpx
from deeplens.access.audited import outcome_of
from deeplens.access.caller import principal_of
from deeplens.access.model import AuditEntry, Principal
from deeplens.access.scopes import ADMIN
from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.container import Container

from local.services import ServiceFailed

PAGE = 200
RETRYABLE = 503


def operator() -> Principal:
    """Whoever runs a command has the credentials of the database, so is an operator; the audit log has the name."""
    return Principal(None, f"shell:{getpass.getuser()}@{socket.gethostname()}"[:100], frozenset({ADMIN}))


class AdminApi:
    """Requests to the Admin API without a network: the same routes, with their rules, checks and audit log."""

    def __init__(self, container: Container) -> None:
        self._audit = container.audit
        self._app = create_admin_app(container)
        self._app.dependency_overrides[principal_of] = operator

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's JSON, or None. ``path`` is below ``/v1/admin``. Raises ``ServiceFailed`` for a problem."""
        # The API's log lines are of a server; a command prints its result.
        with redirect_stdout(io.StringIO()) as log:
            answer = asyncio.run(self._send(method, path, body, query))
        if answer.status_code >= 500 and answer.status_code != RETRYABLE:
            raise RuntimeError(f"the Admin API failed\n{log.getvalue()}")
        if answer.is_error:
            raise ServiceFailed(explanation(answer.json()))
        return answer.json() if answer.content else None

    def pages(self, path: str, name: str, limit: int, **query: Any) -> list[dict[str, Any]]:
        """At most ``limit`` items of a list, over as many pages as that takes."""
        items: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None and len(items) < limit:
            page = self("GET", path, after=after, limit=min(PAGE, limit - len(items)), **query)
            items, after = items + page[name], page.get("next")
        return items

    @contextmanager
    def recorded(self, command: str, target: str, tenant_id: str | None = None, detail: Any = None) -> Iterator[None]:
        """Record in the audit log what a command does without a route."""
        entry = AuditEntry(operator(), tenant_id, f"deeplens {command}", target[:500], detail, token_hex(16))
        self._audit.append(entry, "begun")
        outcome = "done"
        try:
            yield
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._audit.append(entry, outcome)

    async def _send(self, method: str, path: str, body: Any, query: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        given = {name: value for name, value in query.items() if value not in (None, "")}
        async with httpx.AsyncClient(transport=transport, base_url="http://shell", trust_env=False) as client:
            return await client.request(method, f"/v1/admin{path}", json=body, params=given)


def explanation(problem: dict[str, Any]) -> str:
    """A problem in words: what is wrong, and with which member of the request."""
    lines = [": ".join(filter(None, (problem["title"], problem.get("detail"))))]
    lines += [f"{fault['pointer'].strip('/')}: {fault['detail']}" for fault in problem.get("errors") or []]
    if problem["status"] == RETRYABLE:
        lines.append("See `deeplens status`, and repeat the command in a minute.")
    return "\n".join(lines)
