"""Failpoints: named places where a test lets this process die, freeze or fail; no place at all while none is asked for.

    CHATRT_FAILPOINTS="turn.chunk=kill@3;recover.read=raise"      at the third chunk; at the first recovery
    CHATRT_FAILPOINTS_LOG=/tmp/fired.jsonl                        one line for each that acts, written before it acts

An entry is `point=action`, with `@k` behind it for the k-th pass since the start of the process; the first one if it is
left out. It acts once. The actions:

    kill        SIGKILL to this process
    stop        SIGSTOP to this process; who started it lets it go on
    sleep:S     nothing moves in this thread for S seconds
    raise       an exception nobody expects; at a write, that the store is unavailable, and nothing is written
    then-raise  at a write: it takes effect, and then its caller is told that the store is unavailable

While nothing is asked for, a point costs a call that looks at one name of this module; where even that counts, code
looks at `armed` by itself. This is no feature for users: it is for tests of what a crash leaves behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

from chatrt.errors import StoreUnavailableError, UsageError

Write = Literal[
    "in.pre_commit",  # an input is about to be stored
    "out.pre_commit",  # a group of records of `.out` is about to be stored
    "snap.pre_write",  # a commit is about to be stored: last records, messages, cursor and state
    "lease.pre_renew",
    "lease.pre_release",
    "close.pre_commit",
]
"""The points that stand around a write, where its outcome can be made unknown."""

Point = Literal[
    Write,
    "in.post_commit_pre_ack",  # it is stored, and nobody is told yet
    "lease.acquired",
    "lease.lost",  # the store says that another worker serves the session by now
    "turn.claimed",  # an input is taken up; nothing is written of it
    "turn.pre_model",  # the prompt is made; the model is not called
    "turn.chunk",  # a chunk of the answer is written, and not stored
    "turn.model_end",  # the model has said all of a step; no tool of it has started
    "tool.intent_committed",  # that a call may start is stored
    "tool.running",  # the call is about to be carried out
    "tool.done_pre_record",  # it took effect, and nobody is told of it yet
    "tool.recorded",  # its result is stored
    "appr.requested",  # a person is to be asked, and is not yet
    "appr.recorded",  # what the client decided is part of the history, and not committed
    "appr.resume",  # what was approved is about to be carried out
    "out.committed_pre_publish",  # a group is stored, and no reader was told
    "snap.written",  # a commit is stored, and nobody was told
    "turn.pre_complete",  # all is ready for the commit of a turn or an action
    "turn.completed",  # it is committed; `on_turn_complete` was not called
    "trim.pre",  # inside of a commit in SQLite: old records of `.out` are about to be removed
    "trim.done",  # they are removed, and the commit is not through
    "recover.read",  # what a dead run left is read
    "recover.spliced",  # it is taken up in memory
    "recover.dispatched",  # it is closed, or that it goes on is stored
    "close.recorded",  # a session is closed, and its run was not told
    "shutdown.drain",  # no new work is taken; what runs was told to end
    "migrate.step",  # a step of a schema is done, and not committed
]

POINTS: tuple[str, ...] = get_args(Point)
WRITES: tuple[str, ...] = get_args(Write)

ACTIONS = ("kill", "stop", "sleep:S", "raise", "then-raise")

_ENTRY = re.compile(r"([a-z_.]+)=(kill|stop|raise|then-raise|sleep:([0-9]+(?:\.[0-9]+)?))(?:@([1-9][0-9]{0,8}))?")

armed = False
"""Whether a point may act in this process."""


class InjectedError(Exception):
    """What `raise` raises where nothing is written: an error that nobody expects."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is asked for at a point."""

    action: str
    at_pass: int
    seconds: float


_faults: dict[str, list[_Fault]] = {}
_passes: dict[str, int] = {}
_counting = threading.Lock()
_log = ""
_read = False
_nothing = nullcontext()


def read_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Arm what `CHATRT_FAILPOINTS` asks for; only the first call in a process does anything.

    Raises:
        UsageError: If it names a point or an action that does not exist.
    """
    global _log, _read, armed  # noqa: PLW0603 - a process has one environment
    if _read:
        return
    faults = parse(environment.get("CHATRT_FAILPOINTS", ""))
    _read = True
    _faults.update(faults)
    _log = environment.get("CHATRT_FAILPOINTS_LOG", "")
    armed = bool(faults)


def parse(text: str) -> dict[str, list[_Fault]]:
    """Read `point=action[@k]`, several of them divided by `;`.

    Raises:
        UsageError: If a point or an action does not exist, or `then-raise` is asked for where nothing is written.
    """
    faults: dict[str, list[_Fault]] = {}
    for entry in filter(None, (entry.strip() for entry in text.split(";"))):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise UsageError(f"CHATRT_FAILPOINTS: {entry!r} is not point=action[@k]; actions: {', '.join(ACTIONS)}")
        point, action, seconds, at_pass = found.groups()
        if point not in POINTS:
            raise UsageError(f"CHATRT_FAILPOINTS: there is no point {point!r}; points: {', '.join(POINTS)}")
        if action == "then-raise" and point not in WRITES:
            raise UsageError(f"CHATRT_FAILPOINTS: nothing is written at {point!r}; writes: {', '.join(WRITES)}")
        fault = _Fault(action.partition(":")[0], int(at_pass or 1), float(seconds or 0))
        faults.setdefault(point, []).append(fault)
    return faults


def reach(point: Point) -> None:
    """Pass a point.

    Raises:
        InjectedError: If that is asked for.
    """
    if not armed:
        return
    fault = _due(point)
    if fault is not None and fault.action == "raise":
        raise InjectedError(point)


def writing(point: Write) -> AbstractContextManager[None]:
    """Pass a point around a write, which is the body of the block.

    Raises:
        StoreUnavailableError: If that is asked for; before the write or behind it.
    """
    return _writing(point) if armed else _nothing


@contextmanager
def _writing(point: Write) -> Generator[None]:
    fault = _due(point)
    if fault is not None and fault.action == "raise":
        raise StoreUnavailableError(f"failpoint {point}")
    yield
    if fault is not None and fault.action == "then-raise":
        raise StoreUnavailableError(f"failpoint {point}, behind the write")


def _due(point: str) -> _Fault | None:
    """Count a pass; note and return what is asked for at it. What is done to the process happens here."""
    with _counting:  # points stand in threads of stores too
        _passes[point] = number = _passes.get(point, 0) + 1
        fault = next((fault for fault in _faults.get(point, ()) if fault.at_pass == number), None)
        if fault is not None:
            _note(point, fault)
    match fault:
        case _Fault(action="kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        case _Fault(action="stop"):
            os.kill(os.getpid(), signal.SIGSTOP)
        case _Fault(action="sleep"):
            time.sleep(fault.seconds)
        case _:
            pass
    return fault


def _note(point: str, fault: _Fault) -> None:
    if not _log:
        return
    line = {"point": point, "action": fault.action, "pass": fault.at_pass, "pid": os.getpid(), "at": time.time()}
    fd = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")  # one call: lines of several processes do not mix
    finally:
        os.close(fd)
