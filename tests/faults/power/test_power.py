"""The power fails at every moment of a SQLite store's life, and the disk keeps what it likes of what was not synced.

What is tried is the real store in a process of its own: strace records what it asks of the disk. Then, for moment after
moment, files are made as they may be found after a loss of power, and the store is opened on them.
`CHATRT_POWER_TRIES` asks for more tries, `CHATRT_SEED` for the same ones.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatrt.errors import StoreError
from chatrt.stores import NewRecord, SessionKey, SQLiteStore
from tests.faults.power.disk import Disk
from tests.faults.power.recording import Op, record

CHAT = SessionKey("", "chat")
TRIES = int(os.environ.get("CHATRT_POWER_TRIES") or 1500)
KEEP = (0.0, 0.5, 1.0, 0.1, 0.9)


@pytest.fixture
def seed() -> int:
    """The seed is printed; set CHATRT_SEED to see the same choices again."""
    seed = int(os.environ.get("CHATRT_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"CHATRT_SEED={seed}")
    return seed


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, where there is one: it is written thousands of times."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="chatrt-power-", dir=memory if os.access(memory, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


@dataclass
class Sweep:
    """What was found, over all moments."""

    tries: int = 0
    moments: int = 0
    lost: list[str] = field(default_factory=list)

    async def run(self, ops: list[Op], folder: Path, rng: random.Random, tries: int) -> None:
        """Fail at every sync, right before it and right behind it, and at as many other moments as there are tries."""
        syncs = {place + behind for place, op in enumerate(ops) if op.kind == "sync" for behind in (0, 1)}
        acks = {place + 1 for place, op in enumerate(ops) if op.kind == "ack"}
        sure = sorted(syncs | acks | {len(ops)})
        rest = sorted(set(range(len(ops))) - set(sure))
        chosen = sure if len(sure) < tries else rng.sample(sure, tries)
        chosen = sorted(chosen + rng.sample(rest, min(len(rest), max(0, tries - len(chosen)))))
        self.moments = len(chosen)
        more = max(1, tries // len(chosen))
        disk, done = Disk(), 0
        for moment in chosen:
            for op in ops[done:moment]:
                disk.follow(op)
            done = moment
            for keep in rng.sample(KEEP, min(more, len(KEEP))) * max(1, more // len(KEEP)):
                self.tries += 1
                told = await self._look(disk, folder, rng, keep)
                self.lost += [f"after {moment} of {len(ops)} steps, keeping {keep}: {one}" for one in told]

    async def _look(self, disk: Disk, folder: Path, rng: random.Random, keep: float) -> list[str]:
        for old in folder.iterdir():
            old.unlink()
        disk.fail(folder, rng, keep)
        path = folder / "chat.db"
        if not path.exists() and not disk.acks:
            return []
        try:
            store = SQLiteStore(path)
            await store.open()
        except StoreError as error:
            return [f"it does not open: {error}"]
        try:
            return [*_whole(path), *await _kept(store, disk.acks)]
        finally:
            await store.close()


def _whole(path: Path) -> list[str]:
    check = sqlite3.connect(path)
    problems = [row[0] for row in check.execute("PRAGMA integrity_check").fetchall()]
    check.close()
    return [] if problems == ["ok"] else problems


async def _kept(store: SQLiteStore, acks: list[dict]) -> list[str]:
    """Say what was acknowledged and is not there, and what is there by halves."""
    row = await store.find_session(CHAT)
    if row is None:
        return ["the session is gone"] if acks else []
    problems = []
    records = {
        "in": {one.seq: one.body.decode() for one in await store.read_in(CHAT, after=0, limit=10_000)},
        "out": {one.seq: one.body.decode() for one in (await store.read_out(CHAT, after=0, limit=10_000)).records},
    }
    snapshot = await store.load_snapshot(CHAT)
    for stream, found in records.items():
        if list(found) != list(range(min(found, default=1), min(found, default=1) + len(found))):
            problems.append(f".{stream} has a gap: {list(found)}")
    # What is trimmed by a commit that was not acknowledged may be trimmed all the same.
    acked = [ack for ack in acks if "stream" in ack and (ack["stream"] == "in" or ack["seq"] >= snapshot.out_first_seq)]
    problems += [
        f"{ack['stream']} {ack['seq']} is lost"
        for ack in acked
        if records[ack["stream"]].get(ack["seq"]) != ack["body"]
    ]
    committed = max((ack["committed"] for ack in acks if "committed" in ack), default=0)
    number = snapshot.state.get("number", 0)
    if number < committed:
        problems.append(f"turn {committed} is lost")
    if row.metadata.get("number", 0) < max((ack["metadata"] for ack in acks if "metadata" in ack), default=0):
        problems.append("metadata are lost")
    whole = (
        [node.node_id for node in snapshot.nodes] == [f"n{one}" for one in range(1, number + 1)]
        and snapshot.in_cursor == snapshot.state.get("cursor", 0)
        and (not number or records["out"].get(snapshot.settled_seq) == str(number))
    )
    if not whole:
        problems.append(f"half of turn {number}: {snapshot}")
    if not problems:
        seq = (await store.append_in(CHAT, NewRecord("message", b"next"), part_id="next", at=1.0)).seq
        if seq != max(records["in"], default=0) + 1:
            problems.append(f"the next input is {seq}")
    return problems


@pytest.mark.timeout(3600 if TRIES > 1500 else 60)
async def test_what_was_acked_survives_a_loss_of_power(tmp_path, folder, seed):
    """Whenever the power fails, and whatever the disk kept of what was not synced, all that was acknowledged is there,
    no turn is there by halves, and the file is whole and goes on."""
    (tmp_path / "life").mkdir()
    ops, sweep = record(tmp_path / "life", "FULL"), Sweep()
    began = time.monotonic()
    await sweep.run(ops, folder, random.Random(seed), TRIES)
    seconds = time.monotonic() - began
    syncs = sum(op.kind == "sync" for op in ops)
    print(f"{sweep.tries} losses of power at {sweep.moments} of {len(ops)} steps ({syncs} syncs), {seconds:.1f} s")
    assert sweep.lost == []
    assert sum(op.kind == "ack" for op in ops) > 100
    assert any(op.kind == "write" and op.name == "chat.db" for op in ops), "nothing was checkpointed"


async def test_the_sweep_is_not_blind(tmp_path, folder, seed):
    """A store that does not sync every commit is found to lose what it acknowledged."""
    (tmp_path / "life").mkdir()
    ops, sweep = record(tmp_path / "life", "NORMAL"), Sweep()
    await sweep.run(ops, folder, random.Random(seed), 120)
    print(f"{len(sweep.lost)} losses in {sweep.tries} tries, such as: {sweep.lost[:1]}")
    assert any("is lost" in one for one in sweep.lost)
