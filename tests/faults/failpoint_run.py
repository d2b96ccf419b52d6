"""One case of the matrix of failpoints: processes that die, freeze or fail, a conversation with them, and a judgement."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.dumps import Chat, dump
from tests.faults.failpoint_table import Case
from tests.faults.failpoint_talks import TALKS
from tests.faults.faulty_client import PATIENCE_SECONDS, Client
from tests.faults.forking import Forked, ForkServer
from tests.faults.histories import History, Line, read_histories
from tests.faults.oracle import judge

LEASE_TTL = 1.0
FROZEN_SECONDS = 2 * LEASE_TTL
LOOK_SECONDS = 0.01
DEATHS = 3
"""After so many an input is given up."""

LOCKED = 1
"""How `chatrt serve` ends when another process has the file."""

_ports = itertools.count(random.SystemRandom().randrange(9_000))

IMPORTS = (
    "asyncpg",
    "chatrt.cli.serve",
    "chatrt.stores.postgres",
    "chatrt.stores.sqlite",
    "tests.faults.faulty_agent",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
"""What the fork server has loaded when it forks."""


def _own_port() -> int:
    """Return a port that no other case has or will have soon, outside of the range of the other tests.

    Between the ends of one process and the start of the next nobody else must take it.
    """
    while True:
        port = 10_000 + next(_ports) % 9_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Stage:
    """The processes of a case. Those of the first line follow one another on one port, each told what `starts` says.

    Args:
        case: The case.
        forks: Starts processes.
        folder: An empty folder.
        store: The URL of the store.
    """

    def __init__(self, case: Case, forks: ForkServer, folder: Path, store: str) -> None:
        self.case = case
        self.store = store
        self.fired_log = folder / "fired.jsonl"
        self.history = History(folder / "histories", "client")
        self._forks = forks
        self._folder = folder
        self._starts = list(case.starts)
        self._port = _own_port()
        self._over = False
        self._taken_over = False
        self._served = threading.Event()
        self._second: Forked | None = None
        self._second_port = 0
        self._problem: BaseException | None = None
        self.before: Chat | None = None
        self.client = Client(self._port, case.chat, self.history)
        self._first = self._start()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    # --- processes

    def _start(self) -> Forked:
        return self._fork(self._port, self._starts.pop(0) if self._starts else "", wait=20.0)

    def log(self) -> str:
        """Return the end of what the processes printed."""
        return (self._folder / "server.log").read_text()[-4000:]

    def _fork(self, port: int, faults: str, wait: float = 0.0) -> Forked:
        env: dict[str, str | None] = {
            "CHATRT_STORE": self.store,
            "CHATRT_HOST": "127.0.0.1",
            "CHATRT_PORT": str(port),
            "CHATRT_LEASE_TTL": str(LEASE_TTL),
            "CHATRT_HISTORIES": str(self._folder / "histories"),
            "CHATRT_FAILPOINTS": faults,
            "CHATRT_FAILPOINTS_LOG": str(self.fired_log),
            "CHATRT_SECRET_KEY": None,
            "FAULTY_WAIT": str(wait),
        }
        return self._forks.start(["serve", "tests.faults.faulty_agent:agent"], env, self._folder / "server.log")

    def _watch(self) -> None:
        """Start a process again when it ended, and let one go on that is frozen."""
        try:
            while not self._over:
                if self._first.status is not None:
                    self._first = self._start()
                elif self._first.is_frozen and not self._taken_over:
                    self._frozen()
                time.sleep(LOOK_SECONDS)
        except BaseException as error:
            self._problem = error

    def _frozen(self) -> None:
        """The process stands still: nobody else may serve its file, and somebody else serves its database."""
        began = time.monotonic()
        if self.store.startswith("sqlite:"):
            status = self._fork(_own_port(), "").wait()
            assert status == LOCKED, f"a second process on one file ended with {status}"
            assert self._first.is_frozen
        else:
            self._take_over()
            if self.case.place.talk != "start":  # the tables are locked while somebody makes them
                assert self._served.wait(PATIENCE_SECONDS), "nobody took over"
        time.sleep(max(0.0, began + FROZEN_SECONDS - time.monotonic()))
        self._note_what_is_there()
        self._first.send(signal.SIGCONT)
        while self._first.is_frozen:
            time.sleep(LOOK_SECONDS)

    def _take_over(self) -> None:
        if self._second is None:
            self._second_port = _own_port()
            self._second = self._fork(self._second_port, "")
        self.client.port = self._second_port

    def _note_what_is_there(self) -> None:
        if self._second is not None and self._served.is_set():
            self.before = asyncio.run(dump(self.store)).get(self.case.chat)

    # --- what a conversation may do

    def freeze(self) -> None:
        """Stop the process that serves; another one takes over."""
        self._taken_over = True
        self._first.send(signal.SIGSTOP)
        self._take_over()

    def signal(self, what: signal.Signals) -> None:
        """Send the process that serves a signal."""
        if what == signal.SIGCONT:
            self._served.set()
            self._note_what_is_there()
            self._taken_over = False
        self._first.send(what)

    def wait_until_fired(self) -> None:
        """Wait until all that was asked for has happened."""
        wanted = len(self.case.starts)
        self.client.insist(lambda: len(self.fired()) >= wanted or self._problem is not None)

    def fired(self) -> list[dict[str, Any]]:
        """Return which faults have acted, in their order."""
        if not self.fired_log.exists():
            return []
        return [json.loads(line) for line in self.fired_log.read_text().splitlines()]

    # --- the course of a case

    def play(self) -> None:
        """Talk, wait until every fault is over, and say one thing more to whoever serves in the end."""
        self.client.create()
        TALKS[self.case.place.talk](self)
        self._served.set()
        self.wait_until_fired()
        self.client.insist(lambda: self._problem is not None or not self._first.is_frozen)
        if self._problem is not None:
            raise self._problem
        self.client.port = self._port
        if self.case.place.talk == "close":
            return
        status = self.client.wait_for(self.client.say("afterwards"))["status"]
        if status == "interrupted" and self._second is not None:
            # Who stood still had a lease that was over and did not know it yet: it began, and the other one took it.
            status = self.client.wait_for(self.client.say("and again"))["status"]
        assert status == "completed", status

    def end(self) -> None:
        """End all processes as a power cut would."""
        self._over = True
        self._watching.join(PATIENCE_SECONDS)
        for process in (self._first, self._second):
            if process is not None and process.status is None:
                process.send(signal.SIGKILL)
                process.wait()
        self.client.end()
        self.history.close()


def run_case(case: Case, forks: ForkServer, folder: Path, store: str) -> None:
    """Play a case and judge it.

    Args:
        case: The case.
        forks: Starts its processes.
        folder: An empty folder of its own.
        store: The URL of a store where nobody has this chat; an empty one, where making its tables is tried.

    Raises:
        AssertionError: If a promise is broken, or the fault did not act.
    """
    with _staged(case, forks, folder, store) as stage:
        stage.play()
        _check_faults(stage)
    lines, found = list(read_histories(folder / "histories")), asyncio.run(dump(store))[case.chat]
    violations, figures = judge(lines, [{case.chat: found}])
    broken = [one for one in violations if not (_is_late_start(case) and one.inv in (20, 22))]
    assert not broken, "\n".join(str(one) for one in broken[:5])
    assert figures.acked == figures.settled > 0
    assert figures.reads > 0
    _check_effects(case, lines)
    if stage.before is not None:
        _check_nothing_written(stage.before, found)


def _is_late_start(case: Case) -> bool:
    """Whether a process stood still in the instant in which its tool starts, behind the last look at the lease.

    Its tool may start although another process has carried the call out meanwhile: one that may be repeated, under the
    same key.
    """
    return (case.fault, case.store, case.place.point) == ("stop", "postgres", "tool.running")


@contextmanager
def _staged(case: Case, forks: ForkServer, folder: Path, store: str) -> Iterator[Stage]:
    stage = Stage(case, forks, folder, store)
    try:
        yield stage
    finally:
        stage.end()


def _check_faults(stage: Stage) -> None:
    """Each fault acted once, in the order in which they were asked for, each in a process of its own."""
    fired, asked = stage.fired(), stage.case.starts
    assert len(fired) == len(asked), (asked, fired)
    for one, entries in zip(fired, asked, strict=True):
        assert one["point"] in [entry.partition("=")[0] for entry in entries.split(";")], (asked, fired)
    assert len({one["pid"] for one in fired}) == len(fired)


def _check_effects(case: Case, lines: list[Line]) -> None:
    """A call has one key, and what can be done again was done in the end, unless its turn was made to fail."""
    keys = defaultdict[str, set[str]](set)
    for line in lines:
        if line["who"] == "tool":
            keys[line["call"]].add(line["key"])
    assert all(len(found) == 1 for found in keys.values()), keys
    if case.place.talk in ("pure", "idempotent") and case.fault != "raise" and len(case.starts) < DEATHS:
        assert any(line["what"] == "done" for line in lines), f"the {case.place.talk} call was never carried out"


def _check_nothing_written(before: Chat, after: Chat) -> None:
    """Behind what the second process has settled stands only what was said later."""
    later = [json.loads(one.body) for one in after.outputs if one.seq > before.settled_seq and one.kind == "turn-start"]
    assert all(body["inSeq"] > before.in_last for body in later), later
    assert before.out_last == before.settled_seq
    assert after.epoch >= before.epoch
