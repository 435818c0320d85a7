"""What runs in a function has the secrets and the database role of its grant, and no others."""

from pathlib import Path

import psycopg
import pytest
from deeplens.bootstrap.container import Container

from local.checks.grants import ALL_SECRET_VARIABLES, GRANTS, secret_variables_of
from local.stack.stack import Stack
from tests.e2e.conftest import eventually


def variables_of(stack: Stack, function: str) -> dict[str, str]:
    """The environment of a process of the function, as whoever takes the process over reads it."""
    assert stack.runner is not None
    pool = stack.runner.pools[function]
    if not pool.pids and not pool.spec.events:
        # Nothing invokes it here: the prober is switched off.
        pool.warm()
    pids = eventually(lambda: stack.runner.pools[function].pids, seconds=30)  # type: ignore[union-attr]
    pairs = Path(f"/proc/{pids[0]}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


@pytest.mark.parametrize("function", GRANTS)
def test_a_functions_process_holds_only_the_secrets_of_its_grant(stack: Stack, function: str) -> None:
    variables = variables_of(stack, function)
    held = {name for name in ALL_SECRET_VARIABLES if variables.get(name)}
    assert held <= secret_variables_of(function)
    secrets = {name: value for name, value in stack.environment.items() if name in ALL_SECRET_VARIABLES and value}
    leaked = {
        name
        for name, value in secrets.items()
        if name not in secret_variables_of(function) or name == "DATABASE_URL"
        for variable, text in variables.items()
        if value in text and variable != "DATABASE_ADMIN_URL"
    }
    assert leaked == set()


@pytest.mark.parametrize("function", [name for name, granted in GRANTS.items() if granted.database])
def test_a_functions_database_role_owns_nothing_and_reads_no_other_functions_secrets(
    stack: Stack, parts: Container, function: str
) -> None:
    url = variables_of(stack, function)["DATABASE_URL"]
    refused = ["DROP TABLE audit_log", "ALTER TABLE tenants DROP COLUMN name", "CREATE DATABASE mine"]
    if GRANTS[function].database not in ("deeplens_identity", "deeplens_operations"):
        refused += ["SELECT password_hash FROM nextgen_identity.users", "SELECT * FROM audit_log"]
        refused += ["INSERT INTO tenant_api_keys (prefix, name, secret_sha256, scopes) VALUES ('a', 'a', '', '{}')"]
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.info.user == GRANTS[function].database
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_what_takes_requests_of_strangers_or_opens_their_files_holds_no_key_of_others(stack: Stack) -> None:
    webhook = variables_of(stack, "whatsapp_webhook")
    assert {name for name in ALL_SECRET_VARIABLES if webhook.get(name) and not name.startswith("WHATSAPP_")} == set()
    for decoder in ("on_image_uploaded", "on_video_uploaded"):
        variables = variables_of(stack, decoder)
        assert "deeplens_decoders" in variables["DATABASE_URL"]
        assert not {"DATABASE_ADMIN_URL", "WEBHOOK_KEY", "DATABASE_ROLE_URLS"} & variables.keys()
