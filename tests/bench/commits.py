"""Measures what a turn costs to commit at growing history lengths: it must be flat.

Run `python -m tests.bench.commits`. Each turn adds a question and an answer to a chat that holds 10, 1,000 or 10,000
messages; timed is the runtime's commit of the turn on SQLite with `synchronous=FULL`, fsync included.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from typing import Any

from chatrt import ChatAgent, SessionManager
from chatrt.runtime.context import RunContext

LENGTHS = (10, 1_000, 10_000)
TURNS = 60


def message(number: int) -> dict[str, Any]:
    role = "user" if number % 2 == 0 else "assistant"
    return {"id": f"m{number}", "role": role, "parts": [{"type": "text", "text": "word " * 40, "state": "done"}]}


async def measure(length: int, folder: str) -> tuple[float, float]:
    """Return the medians of a commit and of a whole turn, in seconds."""
    commits: list[float] = []
    commit = RunContext.commit

    async def timed(self: RunContext, *arguments: Any, **options: Any) -> int:
        start = time.perf_counter()
        last_seq = await commit(self, *arguments, **options)
        commits.append(time.perf_counter() - start)
        return last_seq

    # An empty run function: what grows with the prompt is the application's own to pay for.
    agent = ChatAgent("bench", run=lambda turn: "answer")
    agent.on_action(lambda event: event.history.set([message(number) for number in range(event.action)]))
    turns: list[float] = []
    async with SessionManager(agent, f"sqlite:///{folder}/{length}.db") as sessions:
        session = await sessions.start_session("bench", "chat")
        await settled(session, (await session.inbox.act(length)).seq)
        RunContext.commit = timed
        try:
            for number in range(TURNS):
                user: Any = {"role": "user", "parts": [{"type": "text", "text": f"question {number}"}]}
                start = time.perf_counter()
                await settled(session, (await session.inbox.send_message(user)).seq)
                turns.append(time.perf_counter() - start)
        finally:
            RunContext.commit = commit
    return statistics.median(commits[5:]), statistics.median(turns[5:])


async def settled(session: Any, in_seq: int) -> None:
    after = session.outbox.last_seq
    async for batch in session.outbox.read(max(0, after - 1)):
        for record in batch:
            if record.kind == "turn-complete" and f'"inSeq":{in_seq},'.encode() in record.body:
                return


async def main() -> None:
    print(f"commit of one turn, median of {TURNS - 5}, SQLite with synchronous=FULL")
    with tempfile.TemporaryDirectory() as folder:
        for length in LENGTHS:
            commit, turn = await measure(length, folder)
            print(f"  {length:6,} messages   commit {commit * 1e3:6.2f} ms   whole turn {turn * 1e3:7.2f} ms")


if __name__ == "__main__":
    asyncio.run(main())
