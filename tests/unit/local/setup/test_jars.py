"""Only jars with the locked checksums are installed, from every repository."""

import hashlib
from pathlib import Path

import pytest

from local.kafka.jars import CENTRAL, Jar, fetch_jars, read_lock, repository_url
from local.kafka.lock import ROOTS
from local.setup.tools import FetchFailed

MIRROR = "https://mirror.example/maven"


def in_repository(repository: Path, artifact: str, body: bytes) -> Jar:
    """Write a jar to ``repository`` and return its line of the lock."""
    jar = Jar("org.example.parts", artifact, "1.0", hashlib.sha256(body).hexdigest(), len(body))
    path = repository / jar.path
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    return jar


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    return folder


def test_locked_jars_are_fetched(tmp_path: Path, target: Path) -> None:
    jars = [in_repository(tmp_path, name, name.encode()) for name in ("broker", "log")]
    fetch_jars(jars, target, tmp_path.as_uri())
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        "broker-1.0.jar": b"broker",
        "log-1.0.jar": b"log",
    }


def test_a_jar_with_another_checksum_is_refused_and_not_written(tmp_path: Path, target: Path) -> None:
    jar = in_repository(tmp_path, "broker", b"as locked")
    (tmp_path / jar.path).write_bytes(b"something else")
    checksum = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(FetchFailed) as caught:
        fetch_jars([jar], target, tmp_path.as_uri())
    url = f"{tmp_path.as_uri()}/org/example/parts/broker/1.0/broker-1.0.jar"
    assert str(caught.value).startswith(
        f"{url} has the SHA-256 checksum {checksum}, but jars.lock expects {jar.sha256}"
    )
    assert [*target.iterdir()] == []


def test_a_jar_that_is_missing_is_named(tmp_path: Path, target: Path) -> None:
    jar = in_repository(tmp_path, "broker", b"")
    (tmp_path / jar.path).unlink()
    with pytest.raises(FetchFailed, match=r"/broker/1\.0/broker-1\.0\.jar could not be fetched: "):
        fetch_jars([jar], target, tmp_path.as_uri())


def test_the_lock_names_each_jar_once_and_holds_the_roots() -> None:
    jars = read_lock()
    coordinates = [f"{jar.group}:{jar.artifact}:{jar.version}" for jar in jars]
    assert set(ROOTS) <= set(coordinates)
    assert len({(jar.group, jar.artifact) for jar in jars}) == len({jar.name for jar in jars}) == len(jars)
    assert all(len(jar.sha256) == 64 and jar.size > 1000 for jar in jars)


@pytest.mark.parametrize(
    ("mirrors", "expected"),
    [
        ("", CENTRAL),
        (f"<mirror><mirrorOf>central</mirrorOf><url>{MIRROR}/</url></mirror>", MIRROR),
        (f"<mirror><mirrorOf>*</mirrorOf><url> {MIRROR} </url></mirror>", MIRROR),
        (f"<mirror><mirrorOf>external:*, !ours</mirrorOf><url>{MIRROR}</url></mirror>", MIRROR),
        (f"<mirror><mirrorOf>*,!central</mirrorOf><url>{MIRROR}</url></mirror>", CENTRAL),
        (f"<mirror><mirrorOf>ours</mirrorOf><url>{MIRROR}</url></mirror>", CENTRAL),
        ("<mirror><mirrorOf>central</mirrorOf></mirror>", CENTRAL),
    ],
)
@pytest.mark.parametrize("namespace", ["", ' xmlns="http://maven.apache.org/SETTINGS/1.2.0"'])
def test_a_mirror_in_the_settings_of_maven_is_used(tmp_path: Path, namespace: str, mirrors: str, expected: str) -> None:
    settings = tmp_path / "settings.xml"
    settings.write_text(f"<settings{namespace}><mirrors>{mirrors}</mirrors></settings>")
    assert repository_url(settings) == expected


def test_without_settings_of_maven_the_jars_come_from_central(tmp_path: Path) -> None:
    assert repository_url(tmp_path / "settings.xml") == CENTRAL


def test_settings_of_maven_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    settings = tmp_path / "settings.xml"
    settings.write_text("<settings>")
    with pytest.raises(FetchFailed, match=r"settings\.xml cannot be read"):
        repository_url(settings)
