"""Import direction: shared code knows no function and no platform; stages know no vendor; few know the environment."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.runner.template import load

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "layers" / "core" / "deeplens"
SOURCES = sorted(CORE.rglob("*.py"))
STAGES = sorted((CORE / "pipeline").glob("*.py"))
HANDLERS = sorted((ROOT / "functions").glob("*/handler.py"))
STAGES_KNOW = {
    "alerts",
    "budgets",
    "contracts",
    "dead_letters",
    "direct_uploads",
    "domain",
    "duplicates",
    "errors",
    "imaging",
    "limits",
    "maintenance",
    "metering",
    "outgoing",
    "pipeline",
    "ports",
    "retries",
    "rollouts",
    "store_messages",
    "tenant_stores",
    "video",
    "video_errors",
    "videos",
    "webhooks",
    "whatsapp",
}
PURE = {"deeplens.auth.ports", "deeplens.vectors.payload"}
OWNERS = {
    "PIL": {"imaging"},
    "alembic": {"db"},
    "argon2": {"auth"},
    "authlib": {"identity"},
    "azure": {"storage"},
    "av": {"video"},
    "aws_lambda_powertools": {"kafka", "telemetry.py"},
    "aws_msk_iam_sasl_signer": {"kafka"},
    "boto3": {"aws.py"},
    "botocore": {"aws.py", "egress", "inference", "secret_store.py", "sns", "sqs", "storage"},
    "confluent_kafka": {"kafka"},
    "cryptography": {"auth"},
    "fastapi": {"api", "identity"},
    "httpx": {"vectors"},
    "jinja2": {"identity"},
    "joserfc": {"identity"},
    "jwt": {"auth", "identity"},
    "localstack_client": {"aws.py"},
    "numpy": {"imaging", "inference", "ports.py", "vectors"},
    "pillow_heif": {"imaging"},
    "psycopg": {"auth", "db", "tenants.py"},
    "pydantic": {"api", "contracts", "kafka", "settings.py"},
    "requests": {"egress"},
    "pydantic_settings": {"settings.py"},
    "qdrant_client": {"vectors"},
    "sqlalchemy": {"db"},
    "starlette": {"api", "identity"},
    "urllib3": {"egress", "inference"},
}
"""Where in shared code a third-party package may be imported; anywhere else it is behind a port."""
HEAVY = {
    "azure",
    "requests",
    "qdrant_client",
    "sqlalchemy",
    "alembic",
    "authlib",
    "cryptography",
    "fastapi",
    "PIL",
    "av",
    "onnxruntime",
    "skimage",
}
ALLOWED_HEAVY = {
    "search_api": {"fastapi"},
    "admin_api": {"fastapi"},
    "whatsapp_webhook": {"fastapi"},
    "identity_api": {"authlib", "cryptography", "fastapi"},
    "on_image_uploaded": {"PIL"},
    "on_object_created": {"PIL"},
    "on_video_uploaded": {"PIL", "av"},
    "on_schedule": {"cryptography"},
    "on_indexing_requested": {"qdrant_client"},
    "on_image_indexed": {"qdrant_client"},
    "on_image_maintenance": {"qdrant_client"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def within(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*SOURCES, *HANDLERS], ids=within)
def test_deployed_code_imports_no_platform_test_or_function(path: Path) -> None:
    assert not packages(path) & {"functions", "local", "tests"}


@pytest.mark.parametrize("path", sorted((ROOT / "local").rglob("*.py")), ids=within)
def test_the_platform_imports_no_test_and_no_handler(path: Path) -> None:
    assert "tests" not in packages(path)
    assert not {name for name in imported(path) if name.startswith("functions.") and name.endswith("handler")}


@pytest.mark.parametrize("path", STAGES, ids=within)
def test_stages_know_contracts_and_ports_only(path: Path) -> None:
    ours = {name for name in imported(path) if name.startswith("deeplens.")} - PURE
    assert {name.split(".")[1] for name in ours} <= STAGES_KNOW
    assert packages(path) <= {"deeplens"} | sys.stdlib_module_names - {"os", "socket", "subprocess"}


@pytest.mark.parametrize("path", SOURCES, ids=within)
def test_a_package_is_imported_only_where_it_is_adapted(path: Path) -> None:
    place = path.relative_to(CORE).parts[0]
    foreign = packages(path) - sys.stdlib_module_names - {"deeplens"}
    assert not {package for package in foreign if place not in OWNERS.get(package, set())}


@pytest.mark.parametrize("path", [*SOURCES, *HANDLERS], ids=within)
def test_only_settings_read_the_environment(path: Path) -> None:
    words = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    words |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not words & {"environ", "environb", "getenv"}
    assert "BaseSettings" not in words or path.name == "settings.py"


@pytest.mark.parametrize("name", [spec.name for spec in load(ROOT / "template.yaml", {}, {}).functions])
def test_a_cold_start_imports_only_what_the_function_uses(name: str) -> None:
    program = "import sys, handler; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    folder = ROOT / "functions" / name
    environment = {"PYTHONPATH": f"{folder}:{ROOT / 'layers' / 'core'}", "INFERENCE_URL": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & HEAVY <= ALLOWED_HEAVY.get(name, set())
