"""A fork server: starts `chatrt` commands in some milliseconds, because it has imported everything before.

It is a process with one thread, so that a fork of it is whole; tests have threads. It reads a line of JSON for each
start and says a line for each start and each end:

    {"argv": [...], "env": {...}, "log": path}   ->   {"pid": n}, later {"ended": n, "status": s}
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from tests.served import ROOT

START_SECONDS = 30


class Forked:
    """A process that the fork server has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        """As `subprocess` has it: negative for a signal."""
        self._ended = threading.Event()

    def ended(self, status: int) -> None:
        """Take down that it ended."""
        self.status = status
        self._ended.set()

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Wait for its end; returns its status."""
        assert self._ended.wait(seconds), f"process {self.pid} does not end"
        assert self.status is not None
        return self.status

    def send(self, what: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.status is None:
            try:
                os.kill(self.pid, what)
            except ProcessLookupError:
                pass

    @property
    def is_frozen(self) -> bool:
        """Whether it was stopped by a signal."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:  # it ended, perhaps between the two halves of a look
            return False


class ForkServer:
    """Starts processes for many threads."""

    def __init__(self, *imports: str) -> None:
        command = [sys.executable, "-m", "tests.faults.forking", *imports]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._asking = threading.Lock()
        self._told = threading.Condition()
        self._started: deque[Forked] = deque()
        self._running: dict[int, Forked] = {}
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def start(self, argv: list[str], env: dict[str, str | None], log: Path) -> Forked:
        """Start `chatrt` with these arguments; variables that are None are taken away."""
        assert self._process.stdin is not None
        with self._asking:
            self._process.stdin.write(json.dumps({"argv": argv, "env": env, "log": str(log)}) + "\n")
            self._process.stdin.flush()
            with self._told:
                assert self._told.wait_for(lambda: self._started, START_SECONDS), "the fork server is gone"
                return self._started.popleft()

    def close(self) -> None:
        """End everything it has started."""
        for forked in list(self._running.values()):
            forked.send(signal.SIGKILL)
        with self._process:  # which closes its pipes
            self._process.kill()
        self._listening.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            with self._told:
                if "pid" in said:
                    forked = self._running[said["pid"]] = Forked(said["pid"])
                    self._started.append(forked)
                    self._told.notify_all()
                else:
                    self._running.pop(said["ended"]).ended(said["status"])


def main(imports: list[str]) -> None:
    """Be the fork server, until nobody listens."""
    for name in imports:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork takes one thread along and leaves the others in the middle"
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    _serve(wake)


def _serve(wake: int) -> None:
    rest = b""
    while True:
        for fd in _readable(0, wake):
            data = os.read(fd, 65536)
            if fd == wake:
                _reap()
            elif not data:
                return
            else:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    _fork(json.loads(line))


def _readable(*fds: int) -> list[int]:
    import select

    return select.select(fds, [], [])[0]


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _fork(asked: dict[str, Any]) -> None:
    pid = os.fork()
    if pid:
        _say({"pid": pid})
        return
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for fd in (1, 2):
            os.dup2(log, fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, value in asked["env"].items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        from chatrt.cli import main as chatrt

        status = chatrt(asked["argv"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _say(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
