"""The process whose power fails: it uses a SQLite store as the runtime does and writes down what was acknowledged.

python child.py FOLDER SYNCHRONOUS     a store at FOLDER/chat.db, acks as lines of FOLDER/acks, SYNCHRONOUS is FULL or NORMAL

It is run under strace, which sees its system calls: those that change the database, those that make that durable, and
the lines of acks between them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from chatrt.stores import Commit, NewRecord, Node, SessionKey, SQLiteStore

CHAT = SessionKey("", "chat")
TURNS_OF_A_LIFE = 9
LIVES = 2
PAGES_PER_CHECKPOINT = 30


class Life:
    """One process's use of the store: turns with several inputs and pieces of output, written side by side."""

    def __init__(self, store: SQLiteStore, acks: int, rng: random.Random) -> None:
        self._store, self._acks, self._rng = store, acks, rng

    def ack(self, **fact) -> None:
        os.write(self._acks, json.dumps(fact).encode() + b"\n")

    def body(self, name: str) -> bytes:
        return f"{name} ".encode() + b"x" * self._rng.choice((10, 300, 3000, 9000))

    async def say(self, name: str) -> None:
        body = self.body(name)
        appended = await self._store.append_in(CHAT, NewRecord("message", body), part_id=name, at=1.0)
        self.ack(stream="in", seq=appended.seq, body=body.decode())

    async def give(self, lease, name: str) -> None:
        records = [NewRecord("chunk", self.body(f"{name}-{place}")) for place in range(3)]
        first = await self._store.append_out(lease, records, at=1.0)
        for seq, record in enumerate(records, first):
            self.ack(stream="out", seq=seq, body=record.body.decode())

    async def serve(self, number: int, lease) -> None:
        names = [f"{number}-{writer}" for writer in range(3)]
        await asyncio.gather(*(self.say(name) for name in names), *(self.give(lease, name) for name in names))
        await self._store.update_session(CHAT, metadata={"number": number}, at=1.0)
        self.ack(metadata=number)
        snapshot = await self._store.load_snapshot(CHAT)
        parent = snapshot.nodes[-1].node_id if snapshot.nodes else None
        message = {"id": f"m{number}", "role": "user", "parts": [{"type": "text", "text": self.body("m").decode()}]}
        commit = Commit(
            records=[NewRecord("turn-complete", str(number).encode())],
            nodes=[Node(f"n{number}", parent, message)],
            leaf_id=f"n{number}",
            in_cursor=snapshot.last_in_seq,
            state={"number": number, "cursor": snapshot.last_in_seq},
            trim_to=max(0, snapshot.settled_seq - 10),
        )
        seq = await self._store.commit(lease, commit, at=1.0)
        self.ack(committed=number, seq=seq, trimmed=commit.trim_to)


async def main(folder: Path, synchronous: str) -> None:
    rng = random.Random(7)
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT)
    for life in range(LIVES):
        store = SQLiteStore(folder / "chat.db")
        await store.open()
        writer = store._opened.connections.writer
        writer.execute(
            f"PRAGMA wal_autocheckpoint = {PAGES_PER_CHECKPOINT}"
        )  # many small logs instead of one large one
        if synchronous != "FULL":
            writer.execute(f"PRAGMA synchronous = {synchronous}")
        await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=1.0)
        living = Life(store, acks, rng)
        living.ack(created=True)
        lease = await store.acquire_lease(CHAT, owner=f"life-{life}", ttl=10, at=1.0)
        for number in range(life * TURNS_OF_A_LIFE + 1, (life + 1) * TURNS_OF_A_LIFE + 1):
            await living.serve(number, lease)
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
