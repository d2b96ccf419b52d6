"""A private PostgreSQL server from the installed binaries, which tests may kill, freeze and start again."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.served import free_port

START_SECONDS = 30
USER = "postgres"

SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "on",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


def find_binary(name: str) -> str:
    """Return the path of a program of PostgreSQL, the newest that is installed; without one the tests fail."""
    newest = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    found = newest[-1] if newest else shutil.which(name)
    assert found, f"PostgreSQL is needed ({name} was not found): apt-get install postgresql"
    return found


class PostgresServer:
    """A cluster of its own. It refuses to run as root, so root lends it the user `postgres`.

    Args:
        prefix: A command that runs its programs, that of a network namespace say.
        trusted: The network that may connect, beside its own machine.
    """

    def __init__(self, *, prefix: Sequence[str] = (), trusted: str | None = None) -> None:
        self.port = free_port()
        self.settings = {**SETTINGS, "listen_addresses": "127.0.0.1" if trusted is None else "*"}
        self._prefix = list(prefix)
        # Not below pytest's own folder: that belongs to root alone.
        self._folder = folder = Path(tempfile.mkdtemp(prefix="chatrt-postgres-"))
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(folder, USER, USER)
        self._run(find_binary("initdb"), "-D", str(self._data), "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8")
        if trusted is not None:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {trusted} trust\n")

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [*self._prefix, *self._as_user, *command], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def pid(self) -> int:
        """The process id of the server while it runs; its other processes are its children."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """The URL of a database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until it answers."""
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        command = [find_binary("postgres"), "-D", str(self._data), "-p", str(self.port), *options]
        command = [*self._prefix, *self._as_user, *command]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True)
        ready = [*self._prefix, find_binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.02)
        pytest.fail(f"PostgreSQL did not start:\n{self._log.read_text()}")

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT is a fast shutdown, SIGQUIT an immediate one."""
        assert self._process is not None
        self._process.send_signal(mode)
        self._process.wait(30)

    def kill(self) -> None:
        """End all its processes as a power cut would."""
        assert self._process is not None
        # First it stands still: a process that it starts meanwhile would outlive it, and keep the next one from starting.
        self._process.send_signal(signal.SIGSTOP)
        self.signal_all(signal.SIGKILL)
        self._process.wait(30)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def signal_all(self, what: signal.Signals) -> None:
        """Send a signal to the server and to all its processes: they do not share its group."""
        assert self._process is not None
        for process_id in [*_children(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(process_id, what)

    def remove(self) -> None:
        """End it, if it runs, and remove all it wrote."""
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def create_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        sql = f'CREATE DATABASE "{name}"'
        self._run(find_binary("psql"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-c", sql)
        return self.url(name)


def _children(process_id: int) -> list[int]:
    tasks = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [int(child) for child in tasks]
