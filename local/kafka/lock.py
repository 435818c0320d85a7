"""Update ``jars.lock`` after a change of a version in ``ROOTS``: ``.venv/bin/python -m local.kafka.lock``.

jgo resolves the dependencies without Maven. The files are checked against the checksums that Maven Central publishes.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator

from local.kafka.jars import CENTRAL, LOCK, Jar, download
from local.setup.tools import find_uv

# Kafka uses version 1 of SLF4J's API: with log4j-slf4j2-impl, which binds version 2, the broker writes no log.
ROOTS = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    "org.apache.logging.log4j:log4j-api:2.26.1",
    "org.apache.logging.log4j:log4j-core:2.26.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.26.1",
)
JGO = ("tool", "run", "--from", "jgo[cli]==3.2.0", "--python", sys.executable, "jgo", "--resolver", "python")
HEADER = "# Jars of the local broker: Maven coordinates, checksum, bytes. Written by `python -m local.kafka.lock`.\n"


def main() -> None:
    jars = [_lock(coordinates) for coordinates in sorted(_resolve())]
    LOCK.write_text(HEADER + "".join(f"{jar}\n" for jar in jars))
    print(f"{LOCK}: {len(jars)} jars, {sum(jar.size for jar in jars) / 1e6:.0f} MB")


def _resolve() -> set[str]:
    """Return the coordinates of all jars. The versions in ``ROOTS`` take precedence over those in dependencies."""
    versions: dict[str, str] = {}
    for root in ROOTS:
        for name, version in map(_split, _dependencies(root)):
            versions.setdefault(name, version)
    versions |= dict(map(_split, ROOTS))
    return {f"{name}:{version}" for name, version in versions.items()}


def _dependencies(root: str) -> Iterator[str]:
    # One root at a time: otherwise jgo applies the dependency management of one root to the others.
    command = [find_uv(), *JGO, "info", "deplist", root]
    for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        if line.count(":") >= 2:
            yield line.strip()


def _split(coordinates: str) -> tuple[str, str]:
    group, artifact, version, *_ = coordinates.split(":")
    return f"{group}:{artifact}", version


def _lock(coordinates: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    url = f"{CENTRAL}/{Jar(group, artifact, version, sha256='', size=0).path}"
    body, published = download(url), download(f"{url}.sha1").decode().split()[0]
    if hashlib.sha1(body, usedforsecurity=False).hexdigest() != published:
        raise SystemExit(f"{url} does not have the checksum that Maven Central publishes for it; try again.")
    return Jar(group, artifact, version, hashlib.sha256(body).hexdigest(), len(body))


if __name__ == "__main__":
    main()
