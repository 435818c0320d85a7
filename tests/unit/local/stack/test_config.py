"""Environment variables with one prefix configure the local platform."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from local.services import ServiceFailed
from local.stack.config import LocalConfig
from local.stack.stack import check_host

PORTS = (
    "api_port",
    "identity_port",
    "inference_port",
    "kafka_port",
    "postgres_port",
    "aws_port",
    "qdrant_port",
    "telemetry_port",
)


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LocalConfig.model_fields:
        monkeypatch.delenv(f"DEEPLENS_{name.upper()}", raising=False)


def test_without_settings_everything_has_its_usual_port_on_this_machine_only() -> None:
    config = LocalConfig()
    assert [getattr(config, name) for name in PORTS] == [8000, 5198, 8001, 9092, 5433, 4566, 6333, 4318]
    assert (config.host, config.state_dir, config.storage) == ("127.0.0.1", Path(".deeplens"), "nfs")
    assert config.max_processes >= 1


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        *((f"DEEPLENS_{name.upper()}", "0", name, 0) for name in PORTS),
        ("DEEPLENS_KAFKA_PORT", "19092", "kafka_port", 19092),
        ("DEEPLENS_STATE_DIR", "/srv/deeplens", "state_dir", Path("/srv/deeplens")),
        ("DEEPLENS_STORAGE", "s3", "storage", "s3"),
        ("DEEPLENS_PENDING_DUE_SECONDS", "2.5", "pending_due_seconds", 2.5),
        ("DEEPLENS_MAX_PROCESSES", "7", "max_processes", 7),
        ("deeplens_api_port", "1234", "api_port", 1234),
    ],
)
def test_each_setting_is_an_environment_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: Any
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(LocalConfig(), field) == expected


@pytest.mark.parametrize(
    ("variable", "value", "field"),
    [
        ("DEEPLENS_API_PORT", "65536", "api_port"),
        ("DEEPLENS_API_PORT", "-1", "api_port"),
        ("DEEPLENS_KAFKA_PORT", "nine", "kafka_port"),
        ("DEEPLENS_STORAGE", "floppy", "storage"),
        ("DEEPLENS_MAX_PROCESSES", "0", "max_processes"),
    ],
)
def test_an_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        LocalConfig()
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_variables_that_are_not_settings_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPLENS_ENVIRONMENT", "local")
    assert "environment" not in LocalConfig().model_dump()


def test_logs_are_kept_with_the_state() -> None:
    assert LocalConfig(state_dir=Path("/srv/deeplens")).log_dir == Path("/srv/deeplens/logs")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "workstation.example.com"])
def test_the_documented_administrator_is_not_served_to_other_machines(host: str) -> None:
    with pytest.raises(ServiceFailed, match=rf"DEEPLENS_HOST={re.escape(host)} .* DEEPLENS_ALLOW_REMOTE=true"):
        check_host(LocalConfig(host=host))
    check_host(LocalConfig(host=host, allow_remote=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_is_served(host: str) -> None:
    check_host(LocalConfig(host=host))
