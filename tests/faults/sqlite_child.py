"""The process that the SQLite fault tests start: it serves a file, says what was acked, and is killed or starved.

python sqlite_child.py append PATH     append to .in and .out and commit, for ever, telling every ack
python sqlite_child.py hold PATH       open the store, say so, and wait
python sqlite_child.py starve PATH     write under a file size limit, then lift the limit
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import signal
import sys

from chatrt.errors import StoreUnavailableError
from chatrt.stores import Commit, NewRecord, Node, SessionKey, SQLiteStore

CHAT = SessionKey("", "chat")


def tell(**fact):
    print(json.dumps(fact), flush=True)


async def append_for_ever(store):
    await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=1.0)
    lease = await store.acquire_lease(CHAT, owner="child", ttl=10, at=1.0)
    snapshot = await store.load_snapshot(CHAT)
    parent = snapshot.nodes[-1].node_id if snapshot.nodes else None
    for number in itertools.count(len(snapshot.nodes) + 1):

        async def take(writer, number=number):
            body = f"{number}-{writer}"
            seq = (await store.append_in(CHAT, NewRecord("message", body.encode()), part_id=body, at=1.0)).seq
            tell(stream="in", seq=seq, body=body)

        async def give(writer, number=number):
            body = f"{number}-{writer}"
            first = await store.append_out(lease, [NewRecord("chunk", body.encode())] * 3, at=1.0)
            for seq in range(first, first + 3):
                tell(stream="out", seq=seq, body=body)

        await asyncio.gather(*(one(writer) for writer in range(4) for one in (take, give)))
        message = {"id": f"m{number}", "role": "user", "parts": []}
        node = Node(f"n{number}", parent, message)
        commit = Commit(
            records=[NewRecord("turn-complete", b"{}")],
            nodes=[node],
            leaf_id=node.node_id,
            in_cursor=(await store.load_snapshot(CHAT)).last_in_seq,
            state={"number": number},
        )
        tell(stream="out", seq=await store.commit(lease, commit, at=1.0), body="{}")
        tell(committed=number)
        parent = node.node_id


async def starve(store):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=1.0)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, hard))
    refused = 0
    for number in range(200):
        if number == 150:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            body = f"{number}:".encode() + b"x" * 16_000
            result = await store.append_in(CHAT, NewRecord("message", body), part_id=str(number), at=1.0)
            tell(acked=number, seq=result.seq)
        except StoreUnavailableError:
            refused += 1
            tell(refused=number, readable=len(await store.read_in(CHAT, after=0)) > 0)


async def main(mode, path):
    store = SQLiteStore(path)
    await store.open()
    tell(ready=True)
    match mode:
        case "append":
            await append_for_ever(store)
        case "hold":
            await asyncio.Event().wait()
        case "starve":
            await starve(store)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
