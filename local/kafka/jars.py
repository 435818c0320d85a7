"""Download Apache Kafka and its logging backend from Maven Central; each jar must have the checksum in ``jars.lock``.

``python -m local.kafka.lock`` updates the lock.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen
from xml.etree import ElementTree

from local.setup.tools import FetchFailed, tool_folder

LOCK = Path(__file__).with_name("jars.lock")
CENTRAL = "https://repo.maven.apache.org/maven2"
MAVEN_SETTINGS = Path("~/.m2/settings.xml")
PARALLEL_DOWNLOADS = 8
MAX_ATTEMPTS = 3
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar's coordinates, checksum and size: one line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Path in a Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version} sha256:{self.sha256} {self.size}"


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """Return the jars in the order of the class path."""
    return [_parse(line) for line in lock.read_text().splitlines() if line and not line.startswith("#")]


def jars_folder(tools_dir: Path) -> Path:
    return tool_folder(tools_dir, "kafka", LOCK.read_text())


def fetch_jars(jars: Sequence[Jar], target: Path, repository: str) -> None:
    """Download every jar into ``target``; raise ``FetchFailed`` unless all of them have the locked checksums."""

    def fetch(jar: Jar) -> None:
        (target / jar.name).write_bytes(_download_checked(jar, f"{repository}/{jar.path}"))

    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as downloads:
        list(downloads.map(fetch, jars))


def repository_url(settings: Path = MAVEN_SETTINGS) -> str:
    """Return the URL of Maven Central, or of its mirror in the user's ``settings.xml``."""
    try:
        root = ElementTree.parse(settings.expanduser()).getroot()  # noqa: S314  (the user's own file)
    except FileNotFoundError:
        return CENTRAL
    except (OSError, ElementTree.ParseError) as error:
        raise FetchFailed(f"{settings} cannot be read: {error}. Repair it or move it away.") from None
    return next(_mirrors_of_central(root), CENTRAL).rstrip("/")


def download(url: str) -> bytes:
    """Return the body of ``url``; retry a failed download. Raises ``FetchFailed``."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                return bytes(response.read())
        except (OSError, HTTPException) as error:
            if attempt == MAX_ATTEMPTS:
                raise FetchFailed(f"{url} could not be fetched: {error}.") from None
    raise AssertionError


def _mirrors_of_central(settings: ElementTree.Element) -> Iterator[str]:
    for mirror in settings.iterfind("{*}mirrors/{*}mirror"):
        repositories = {name.strip() for name in mirror.findtext("{*}mirrorOf", "").split(",")}
        url = mirror.findtext("{*}url", "").strip()
        if url and repositories & {"*", "external:*", "central"} and "!central" not in repositories:
            yield url


def _parse(line: str) -> Jar:
    coordinates, checksum, size = line.split()
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, checksum.removeprefix("sha256:"), int(size))


def _download_checked(jar: Jar, url: str) -> bytes:
    body = download(url)
    checksum = hashlib.sha256(body).hexdigest()
    if checksum != jar.sha256:
        raise FetchFailed(
            f"{url} has the SHA-256 checksum {checksum}, but {LOCK.name} expects {jar.sha256}: the download was "
            "modified, or the repository has another file. Nothing was installed."
        )
    return body
