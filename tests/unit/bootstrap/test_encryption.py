"""A deployment encrypts every connection, or does not start."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from deeplens.bootstrap.encryption import URLS, plaintext_settings
from deeplens.bootstrap.handlers import container
from deeplens.database.connections import encryption
from deeplens.errors import DeepLensError
from deeplens.settings import Settings, settings
from psycopg.conninfo import conninfo_to_dict

from local.runner.template import TagLoader

ROOT = Path(__file__).resolve().parents[3]
CA = Path(__file__)
SAFE: dict[str, Any] = {
    "kafka_brokers": "b:9098",
    "kafka_security": "IAM",
    "qdrant_url": "https://qdrant:6333",
    "inference_url": "https://inference",
    "database_secret_arn": "arn",
    "pgsslmode": "verify-full",
    "pgsslrootcert": CA,
}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({}, None),
        ({"kafka_security": "SSL"}, None),
        ({"inference_url": "", "inference_endpoint_name": "deeplens"}, None),
        ({"kafka_security": "PLAINTEXT"}, "KAFKA_SECURITY"),
        ({"pgsslmode": ""}, "PGSSLMODE"),
        ({"pgsslmode": "require"}, "PGSSLMODE"),
        ({"pgsslmode": "prefer", "database_secret_arn": "", "database_url": "postgresql://db/x"}, "PGSSLMODE"),
        ({"pgsslrootcert": None}, "PGSSLROOTCERT"),
        ({"pgsslrootcert": Path("/nowhere.pem")}, "PGSSLROOTCERT"),
        *(
            ({Settings.model_fields[name].alias or name: "http://10.0.0.1"}, variable)
            for variable, name in URLS.items()
        ),
        ({"otel_exporter_otlp_endpoint": "https://collector"}, None),
        ({"otel_exporter_otlp_endpoint": "http://localhost:4318"}, None),
        ({"otel_exporter_otlp_endpoint": "http://collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"otel_exporter_otlp_endpoint": "http://localhost:1@collector"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
    ids=str,
)
def test_a_setting_that_allows_plaintext_is_named(changed: dict[str, Any], named: str | None) -> None:
    found = plaintext_settings(Settings(**SAFE | changed))
    assert [message.split()[0] for message in found] == ([named] if named else [])


@pytest.mark.parametrize("environment", [None, "production", "local"])
def test_a_deployment_with_plaintext_does_not_start(monkeypatch: pytest.MonkeyPatch, environment: str | None) -> None:
    monkeypatch.delenv("DEEPLENS_ENVIRONMENT", raising=False)
    if environment:
        monkeypatch.setenv("DEEPLENS_ENVIRONMENT", environment)
    monkeypatch.setenv("QDRANT_URL", "http://10.0.0.1:6333")
    settings.cache_clear()
    container.cache_clear()
    try:
        if environment == "local":
            assert container().settings.qdrant_url == "http://10.0.0.1:6333"
            return
        with pytest.raises(DeepLensError, match="QDRANT_URL must begin with https://"):
            container()
    finally:
        settings.cache_clear()
        container.cache_clear()


def test_no_url_of_a_database_weakens_the_check_of_its_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert encryption() == {}
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    for url in ("postgresql://db/x?sslmode=disable", "postgresql://db/x?sslmode=require", "postgresql://db/x"):
        assert conninfo_to_dict(url, **encryption())["sslmode"] == "verify-full"


def test_the_template_deploys_nothing_that_allows_plaintext() -> None:
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader=TagLoader)
    common = template["Globals"]["Function"]["Environment"]["Variables"]
    assert (common["DEEPLENS_ENVIRONMENT"], common["PGSSLMODE"]) == ("production", "verify-full")
    assert "PLAINTEXT" not in template["Parameters"]["KafkaSecurity"]["AllowedValues"]
    for name, resource in template["Resources"].items():
        own = resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
        assert not own.keys() & {"DEEPLENS_ENVIRONMENT", "KAFKA_SECURITY", "PGSSLMODE", "PGSSLROOTCERT"}, name
    for name, parameter in template["Parameters"].items():
        if name.endswith("Url") and name != "DatabaseUrl":
            assert parameter.get("AllowedPattern", "").lstrip("(").startswith("https://"), name
