"""A disk that may lose what was not synced: any of it, any part of it, in any combination."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.power.recording import Op

SECTOR = 512
FOLDER = "."


@dataclass
class _File:
    """The bytes that are safe, and what was done since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)

    def sync(self) -> None:
        for op in self.pending:
            _apply(self.safe, op)
        self.pending = []

    def survive(self, rng: random.Random, keep: float) -> bytes:
        """What is there afterwards: of each step all, nothing or some sectors."""
        content = bytearray(self.safe)
        for op in self.pending:
            if rng.random() < keep:
                _apply(content, op)
            elif op.kind == "write" and rng.random() < 0.5 and 0 < keep < 1:
                for start in range(0, len(op.data), SECTOR):
                    if rng.random() < 0.5:
                        _apply(content, Op("write", op.name, op.offset + start, op.data[start : start + SECTOR]))
        return bytes(content)


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
        return
    end = op.offset + len(op.data)
    content.extend(bytes(max(0, end - len(content))))
    content[op.offset : end] = op.data


class Disk:
    """Follows a recording, and says what could be found if the power failed here."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._doubtful: dict[str, _File | None] = {}
        self.acks: list[dict] = []

    @property
    def pending(self) -> int:
        """How many steps are not safe."""
        return sum(len(file.pending) for file in self._files.values()) + len(self._doubtful)

    def follow(self, op: Op) -> None:
        """Do the next step."""
        match op.kind:
            case "ack":
                self.acks.append(op.fact)
            case "create" if op.name not in self._files:
                self._files[op.name] = _File()
                self._doubtful[op.name] = self._doubtful.get(op.name)  # another file of that name may come back
            case "unlink":
                self._doubtful[op.name] = self._files.pop(op.name)
            case "sync" if op.name == FOLDER:
                self._doubtful.clear()
            case "sync":
                self._files[op.name].sync()
            case "write" | "truncate":
                self._files[op.name].pending.append(op)
            case _:
                pass

    def fail(self, folder: Path, rng: random.Random, keep: float) -> None:
        """Write what is left of everything into an empty folder.

        Args:
            folder: Where.
            rng: Chooses.
            keep: How likely each step is to have taken effect, from 0 to 1.
        """
        for name in {*self._files, *self._doubtful}:
            file = self._files.get(name)
            if name in self._doubtful and rng.random() >= keep:
                file = self._doubtful[name]  # the folder does not know of the change
            if file is not None:
                (folder / name).write_bytes(file.survive(rng, keep))
