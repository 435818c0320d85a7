"""No command prints a traceback: an error is one or two lines with what happened and what to do next."""

import errno
import json
import os
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import typer
from botocore.exceptions import ClientError, EndpointConnectionError
from confluent_kafka import KafkaError, KafkaException
from deeplens.errors import ApiError, BrokerUnavailable, DatabaseUnavailable, TenantNotFound
from pydantic import ValidationError
from qdrant_client.http.exceptions import ResponseHandlingException

from local.cli import container
from local.cli.app import app
from local.cli.errors import explain
from local.runner.template import TemplateError
from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import Stack
from tests.harness.cli import deeplens

ARGUMENTS = {
    "bench": ["pipeline", "--images", "1"],
    "clients create": ["Importer", "--grant", "client_credentials", "--scope", "deeplens.api.read"],
    "clients delete": ["cli_1", "--yes"],
    "clients rotate": ["cli_1", "--yes"],
    "dlq discard": ["dlq_1", "--reason", "test data"],
    "dlq replay": ["dlq_1"],
    "dlq show": ["dlq_1"],
    "invoke": ["on_schedule", "--event", "{file}"],
    "keys create": ["tenant_demo"],
    "keys list": ["tenant_demo"],
    "keys revoke": ["dl_abc"],
    "keys revoke-signing": ["a-kid"],
    "mail show": ["ada@example.com"],
    "maintenance show": ["mnt_1"],
    "maintenance start": ["tenant_demo"],
    "models add": ["{missing}"],
    "models export": ["no-such-model", "--out", "{folder}"],
    "probe": ["--key", "dl_abc_def"],
    "tenants adopt": ["tenant_demo", "--yes"],
    "tenants create": ["Demo"],
    "tenants delete": ["tenant_demo", "--yes"],
    "tenants limits": ["tenant_demo"],
    "tenants resume": ["tenant_demo"],
    "tenants show": ["tenant_demo"],
    "tenants suspend": ["tenant_demo"],
    "topics create": ["scratch"],
    "topics delete": ["scratch", "--yes"],
    "topics describe": ["scratch"],
    "topics recreate": ["scratch", "--yes"],
    "topics reset": ["a-group", "--to", "latest"],
    "topics tail": ["scratch", "--from-beginning"],
    "users change": ["usr_1", "--name", "Ada"],
    "users create": ["ada@example.com", "--name", "Ada", "--role", "editor"],
    "users delete": ["usr_1", "--yes"],
    "users disable": ["usr_1"],
    "users email": ["usr_1", "ada@example.com"],
    "users enable": ["usr_1"],
    "users invite": ["usr_1"],
    "upload": ["{file}", "--key", "dl_abc_def", "--url", "http://127.0.0.1:9", "--journal", "{file}/journal"],
}
"""What commands are called with that cannot do without; with these, each gets as far as it can without a stack."""
STARTS_A_STACK = {"up", "demo", "bench", "chaos"}
RUNS_WITHOUT = {"down", "logs", "mail list", "models list"}


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command of the CLI."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands without a stack and addresses, in an empty folder; a stack that starts finds its ports in use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(tmp_path / "state"))
    for name in ("DATABASE_URL", "DEEPLENS_KEY", "DEEPLENS_URL", "KAFKA_BROKERS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("{}")
    (tmp_path / "folder").mkdir()

    def taken(*_: object) -> None:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    monkeypatch.setattr("local.services.process._try_port", taken)
    # As its process, which is none of this test's, would have ended.
    monkeypatch.setattr("local.cli.app.start_detached", lambda _: Stack(LocalConfig()).start())


def called(command: str, folder: Path) -> list[str]:
    paths = {name: str(folder / name) for name in ("file", "folder", "missing")}
    return [*command.split(), *(argument.format(**paths) for argument in ARGUMENTS.get(command, []))]


@pytest.mark.parametrize("command", [*commands()])
def test_without_a_stack_a_command_says_what_to_do(command: str, tmp_path: Path) -> None:
    ended = deeplens(*called(command, tmp_path))

    assert "Traceback" not in ended.output
    assert ended.exit_code == (0 if command in RUNS_WITHOUT else 2 if command == "upload" else 1), ended.output
    assert "not foreseen" not in ended.output
    if ended.exit_code == 1:
        assert ended.output.count("error: ") == 1
    if command in STARTS_A_STACK:
        assert "port" in ended.output


@pytest.mark.parametrize("command", [*commands()])
def test_with_json_an_error_is_one_document(command: str, tmp_path: Path) -> None:
    ended = deeplens(*called(command, tmp_path), "--json")

    if ended.exit_code == 2:
        # Wrong arguments: the usage, on standard error.
        assert ended.stdout == ""
        return
    document = json.loads(ended.stdout)
    if ended.exit_code == 1:
        assert (list(document), bool(document["error"])) == (["error"], True)


@pytest.mark.parametrize("command", [*commands()])
def test_the_help_ends_with_an_example(command: str) -> None:
    group: Any = typer.main.get_command(app)
    for name in command.split():
        group = group.commands[name]
    words = shlex.split(group.epilog.removeprefix("Example: "))

    assert " ".join(words).startswith(f"deeplens {command}")
    options = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options
    assert group.help


@pytest.mark.parametrize("command", [*commands()])
def test_wrong_arguments_end_with_the_usage(command: str) -> None:
    ended = deeplens(*command.split(), "--no-such-option")
    assert (ended.exit_code, "no-such-option" in ended.output) == (2, True)


@pytest.mark.parametrize("command", [command for command in commands() if command != "upload"])
def test_a_wrong_setting_is_named(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPLENS_API_PORT", "eight")
    ended = deeplens(*called(command, tmp_path))
    assert "Traceback" not in ended.output
    assert "not foreseen" not in ended.output
    assert ended.exit_code == 1
    assert "DEEPLENS_API_PORT=eight" in ended.output or command in ("bench", "chaos", "models export")


def refused(error: Exception) -> Callable[[], Any]:
    def current_container(*_: str) -> Any:
        raise error

    return current_container


def wrong_setting() -> Exception:
    try:
        LocalConfig(api_port=70_000)
    except ValidationError as error:
        return error
    raise AssertionError


REQUEST = httpx.Request("GET", "http://127.0.0.1:9/v1")
FAULTS = [
    (ServiceFailed("postgres: it did not start"), "it did not start"),
    (TemplateError("no function nope"), "no function nope"),
    (DatabaseUnavailable("connection refused"), "deeplens status"),
    (BrokerUnavailable(), "broker unavailable"),
    (TenantNotFound("tenant_x"), "TENANT_NOT_FOUND: tenant_x"),
    (ApiError(409, "already-running", "A sweep runs already"), "A sweep runs already"),
    (psycopg.OperationalError("connection to 127.0.0.1 failed:\nrefused"), "database failed: connection to"),
    (KafkaException(KafkaError(KafkaError._TRANSPORT)), "broker failed"),
    (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), "AWS endpoint failed"),
    (ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"), "AccessDenied"),
    (ResponseHandlingException(ConnectionError("refused")), "vector index failed"),
    (httpx.ConnectError("refused", request=REQUEST), "HTTP request failed: refused"),
    (sqlite3.OperationalError("database or disk is full"), "disk is full"),
    (OSError(28, os.strerror(28), "/data/x"), "No space left on device (/data/x)"),
    (PermissionError(13, os.strerror(13), "/root/x"), "Permission denied (/root/x)"),
    (OSError(98, os.strerror(98)), "Address already in use"),
    (json.JSONDecodeError("Expecting value", "", 0), "no valid JSON"),
    (subprocess.CalledProcessError(1, "mvn"), "mvn"),
    (wrong_setting(), "DEEPLENS_API_PORT=70000"),
]


@pytest.mark.parametrize(("error", "said"), FAULTS, ids=[type(error).__name__ for error, _ in FAULTS])
def test_an_operational_fault_is_printed_in_one_or_two_lines(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said in (explain(error) or "")

    monkeypatch.setattr("local.cli.topics.current_container", refused(error))
    ended = deeplens("topics", "apply")

    assert ended.exit_code == 1
    assert said in ended.output
    assert len(ended.output.strip().splitlines()) <= 2
    assert not (tmp_path / "state" / "logs" / "cli.log").exists()


def test_an_unexpected_error_is_a_line_and_a_traceback_in_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.cli.topics.current_container", refused(KeyError("[/]")))
    ended = deeplens("topics", "apply")

    log = tmp_path / "state" / "logs" / "cli.log"
    assert ended.exit_code == 1
    assert "KeyError: '[/]'" in ended.output
    assert str(log) in ended.output.replace("\n", "")
    assert "Traceback" not in ended.output
    assert "Traceback" in log.read_text()


def test_where_the_state_cannot_be_written_the_log_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPLENS_STATE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr("local.cli.topics.current_container", refused(KeyError("x")))
    ended = deeplens("topics", "apply")
    _, _, path = ended.output.strip().rpartition(" ")
    assert "Traceback" in Path(path).read_text()


def test_an_unavailable_database_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@127.0.0.1:9/platform")
    for command in ("keys revoke dl_abc", "dlq list", "maintenance list"):
        ended = deeplens(*command.split())
        assert (ended.exit_code, "database" in ended.output) == (1, True)
        assert "password" not in ended.output
    assert container.current_container().settings.database_url


def test_a_command_on_a_deployed_stack_reads_nothing_of_the_local_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def deployed(name: str) -> dict[str, str]:
        asked.append(name)
        return {"DATABASE_URL": "postgresql://user:password@127.0.0.1:9/of_the_stack"}

    # What the option sets ends with the test.
    monkeypatch.setenv(container.STACK_VARIABLE, "")
    monkeypatch.setenv("DATABASE_URL", "postgresql://of-another")
    monkeypatch.setattr(container, "deployed_environment", deployed)
    monkeypatch.setattr(container, "running_stack", lambda _: pytest.fail("the local stack was read"))
    ended = deeplens("--stack", "prod", "dlq", "list")
    assert (ended.exit_code, "database" in ended.output, asked) == (1, True, ["prod"])
    assert container.current_container().settings.database_url.endswith("of_the_stack")


def test_an_event_file_without_json_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.cli.invoke.running_stack", lambda _: {"environment": {}})
    (tmp_path / "file").write_bytes(b"\xff\xfe{")
    ended = deeplens("invoke", "on_schedule", "--event", str(tmp_path / "file"))
    assert (ended.exit_code, "is not valid JSON" in ended.output) == (1, True)
