"""What a process did to the files of a folder, in order, as strace saw it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.needs import need_strace

ROOT = Path(__file__).parents[3]
CALLS = "openat,creat,close,write,pwrite64,pwritev,ftruncate,fallocate,fdatasync,fsync,unlink,unlinkat,rename,renameat2,msync"
_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


@dataclass(frozen=True, slots=True)
class Op:
    """One step: `create`, `write`, `truncate`, `sync`, `unlink` of a file, `sync` of the folder (`.`), or an `ack`."""

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""
    fact: Any = None


def record(folder: Path, synchronous: str) -> list[Op]:
    """Run the child on a folder and return all it did to it."""
    trace, script = folder.with_suffix(".strace"), Path(__file__).with_name("child.py")
    command = [need_strace(), "-f", "-qq", "-xx", "-s", "100000", "-e", f"trace={CALLS}", "-e", "signal=none"]
    done = subprocess.run(
        [*command, "-o", str(trace), sys.executable, str(script), str(folder), synchronous],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ops = list(_Reading(folder).ops(trace.read_text()))
    trace.unlink()
    return ops


class _Reading:
    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._names: dict[int, str] = {}
        self._begun: dict[str, str] = {}

    def ops(self, trace: str):
        for line in trace.splitlines():
            found = _LINE.match(line)
            if found is None:
                continue
            pid, rest = found["pid"], found["rest"]
            if rest.endswith("<unfinished ...>"):
                self._begun[pid] = rest.removesuffix("<unfinished ...>")
                continue
            if found["resumed"]:
                rest = self._begun.pop(pid, "") + rest
            arguments, _, result = rest.rpartition(" = ")
            if not result or result.startswith(("-1", "?")):
                continue
            op = self._op(found["resumed"] or found["name"], arguments, int(result.split()[0]))
            if op is not None:
                yield op

    def _op(self, call: str, arguments: str, result: int) -> Op | None:
        strings = _STRING.findall(arguments)
        assert not any(cut for _, cut in strings), "strace has left something out"
        if call in ("openat", "unlink", "unlinkat", "creat"):
            return self._named(call, self._name(_bytes(strings[0][0]).decode()), arguments, result)
        name = self._names.get(int(re.match(r"\d+", arguments)[0])) if re.match(r"\d+", arguments) else None
        if name is None:
            assert call not in ("rename", "renameat2", "msync"), "not thought of"
            return None
        numbers = [int(number) for number in re.findall(r", (\d+)", arguments)]
        match call:
            case "close":
                del self._names[int(re.match(r"\d+", arguments)[0])]
                return None
            case "write" if name == "acks":
                return Op("ack", name, fact=json.loads(_bytes(strings[0][0])))
            case "pwrite64":
                data = _bytes(strings[0][0])
                assert result == len(data)
                return Op("write", name, numbers[-1], data)
            case "ftruncate":
                return Op("truncate", name, numbers[0])
            case "fdatasync" | "fsync":
                return Op("sync", name)
            case _:
                raise AssertionError(f"not thought of: {call} on {name}")

    def _named(self, call: str, name: str | None, arguments: str, result: int) -> Op | None:
        if name is None:
            if call == "openat":
                self._names.pop(result, None)
            return None
        if call.startswith("unlink"):
            return Op("unlink", name)
        self._names[result] = name
        return Op("create", name) if "O_CREAT" in arguments and name != "acks" else None

    def _name(self, path: str) -> str | None:
        if path == self._folder:
            return "."
        name = path.removeprefix(self._folder + "/")
        return name if name != path and not name.endswith((".lock", "-shm")) else None


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
