"""Histories: what clients, the model, the tools and the injector of faults did, a JSON line each, for the oracle.

Every process writes files of its own. A line is one `write` to a file that was opened with O_APPEND: what was written
before a SIGKILL is there. `mono` is CLOCK_MONOTONIC, which all processes of a machine share. This module imports
nothing of chatrt. A line is `{"mono", "pid", "who", "what", ...}`:

    client  append      chat, part, kind, text, message?, target?, decisions?    before each attempt to append
            acked       chat, part, seq, repeated                           2xx
            refused     chat, part, status, code                            any other answer
            lost        chat, part                                          no answer
            opened      chat, reader, after                                 a stream began behind this cursor
            not-opened  chat, reader, after, status, code
            read        chat, reader, seq, kind, digest, body | delta       body: all but the deltas of texts
            loaded      chat, cursor, in_cursor, messages                   a page: ids of messages, and where to read on
    model   called      chat, in_seq, call, message, prompt                 `compact` messages
            ended       chat, call, words                                   it said all of its words
            cancelled   chat, call, words
    tool    started     chat, call, key, attempt, effect, name, args, intent   intent: whether the call is on `.out`
            done        chat, call, key, output
    fault   planned     name
            fired       name, target
            calmed                                                          no fault comes after this

`kind` is that of the input; `message` its message id; `target` is the `inSeq` of a stop; `decisions` are the approvals
that a message brings, `[[tool call id, approved], ...]`. A `call` of the model begins each of its words, `<call>.<number> `
from 0 on, so that the oracle knows whose words stand in an answer, and whether all of them do.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

Who = Literal["client", "model", "tool", "fault"]
Line = dict[str, Any]


class History:
    """Writes the lines of one process; it may be killed at any time.

    Args:
        folder: Where the histories of a run are gathered.
        who: The first word of the file's name.
    """

    def __init__(self, folder: Path, who: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{who}-{os.getpid()}.jsonl"
        self._pid = os.getpid()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, who: Who, what: str, **facts: Any) -> float:
        """Write a line; returns its `mono`."""
        mono = time.monotonic()
        line = {"mono": mono, "pid": self._pid, "who": who, "what": what, **facts}
        os.write(self._file, json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        return mono

    def close(self) -> None:
        """End writing."""
        os.close(self._file)


def read_histories(folder: Path) -> Iterator[Line]:
    """Read all histories of a run, by time; a last line that was cut off is left out.

    Raises:
        ValueError: If any other line is no JSON.
    """
    files = [_lines(path) for path in sorted(folder.glob("*.jsonl"))]
    return heapq.merge(*files, key=lambda line: line["mono"])


def _lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def digest(body: bytes) -> str:
    """Return what tells one record body from another."""
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def read_facts(kind: str, body: bytes) -> dict[str, Any]:
    """Return what a `read` line says of a record beside its seq and kind: its digest, and its body or its delta."""
    value = json.loads(body)
    if kind == "chunk" and value.get("type") == "text-delta":
        return {"digest": digest(body), "delta": value["delta"]}
    return {"digest": digest(body), "body": value}


def compact(messages: Iterable[Any]) -> list[list[Any]]:
    """Return model messages as `[role, [[type, text or tool call id], ...]]`, without what no check looks at."""
    return [[message["role"], _parts(message["content"])] for message in messages]


def _parts(content: str | Sequence[Any]) -> list[list[str]]:
    if isinstance(content, str):
        return [["text", content]]
    return [
        [part["type"], part.get("toolCallId") or part.get("approvalId") or part.get("text", "")] for part in content
    ]
