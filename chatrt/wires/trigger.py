"""The Trigger-compatible wire, outwards: `.out` as a long poll that the published clients of Trigger.dev read.

A response is a window: it ends when no record came for the time the client asked for, and the client asks again. A
record that says nothing keeps it alive, because these clients take neither comments nor pings for a sign of life.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from chatrt.clock import Clock
from chatrt.errors import CursorAheadError
from chatrt.runtime import Pulse, Session
from chatrt.stores.base import Store
from chatrt.wires.chunk_versions import Dialect
from chatrt.wires.frames import DONE
from chatrt.wires.log import is_busy, look_up_tail, reading
from chatrt.wires.trigger_records import Translator, control_record, events

KEEP_ALIVE_SECONDS = 25.0
"""Clients give a stream up after 60 seconds without a record."""

MIN_PAUSE_SECONDS = 0.05
"""The least time between two looks, also when the reader is slow to take what it was woken for."""

DEFAULT_WINDOW = 60
MAX_WINDOW = 600

_DIGITS = re.compile(r"[0-9]{1,18}")


def parse_window(header: str | None) -> float:
    """Read `Timeout-Seconds`: how long a quiet response stays open, 1 to 600."""
    if header is None or _DIGITS.fullmatch(header.strip()) is None:
        return DEFAULT_WINDOW
    return min(max(int(header), 1), MAX_WINDOW)


async def find_cursor(session: Session, text: str | None) -> int:
    """Read a cursor; what is none, and one beyond the end of the log, means the beginning.

    A client with a cursor beyond the end knows a chat of the same id that was deleted.
    """
    if text is None or _DIGITS.fullmatch(text.strip()) is None:
        return 0
    try:
        await look_up_tail(session, int(text))
    except CursorAheadError:
        return 0
    return int(text)


async def find_settled(session: Session, store: Store) -> int | None:
    """Return the end of the log if nothing runs, waits or is unprocessed; None while something is still to come."""
    position = await session.position()
    return None if await is_busy(session, store, position) else position.cursor


async def read_settled(
    session: Session, *, after: int, until: int, dialect: Dialect, clock: Clock
) -> AsyncIterator[bytes]:
    """Yield what lies between two cursors, and the session's end if it has one.

    Args:
        session: The session.
        after: The reader's cursor.
        until: What `find_settled` gave: what comes in meanwhile is not begun here.
        dialect: What the reader knows of chunks.
        clock: Tells the time.
    """
    translator = Translator(dialect, after)
    async with reading(session, after, live=False) as batches:
        async for batch in batches:
            kept = [record for record in batch if record.seq <= until]
            for data in events(translator.feed(kept), session.outbox.last_seq, _millis(clock)):
                yield data
            if len(kept) < len(batch):
                break
    for data in _end(session, translator, clock):
        yield data


async def read_window(
    session: Session, *, after: int, window: float, dialect: Dialect, clock: Clock
) -> AsyncIterator[bytes]:
    """Yield the log after a cursor as it grows, until nothing came for `window` seconds or the session has ended.

    Args:
        session: The session.
        after: The reader's cursor.
        window: Seconds.
        dialect: What the reader knows of chunks.
        clock: Tells the time.
    """
    translator, pulse = Translator(dialect, after), Pulse()
    heard = told = clock.now()
    rings = asyncio.create_task(_ring(pulse, clock, lambda: min(heard + window, told + KEEP_ALIVE_SECONDS)))
    ended = True
    try:
        async with reading(session, after, pulse=pulse) as batches:
            async for batch in batches:
                now = clock.now()
                if batch:
                    heard = now
                    records = translator.feed(batch)
                elif now - heard >= window:
                    ended = False
                    break
                elif now - told >= KEEP_ALIVE_SECONDS:
                    records = iter([control_record(translator.cursor, _millis(clock), "keepalive")])
                else:
                    continue
                for data in events(records, session.outbox.last_seq, _millis(clock)):
                    told = now
                    yield data
    finally:
        rings.cancel()
        await asyncio.gather(rings, return_exceptions=True)
    for data in _end(session, translator, clock) if ended else (DONE,):
        yield data


async def _ring(pulse: Pulse, clock: Clock, due: Callable[[], float]) -> None:
    """Wake the reader whenever something may be due; what comes in meanwhile only moves that time."""
    while True:
        await clock.sleep(max(due() - clock.now(), MIN_PAUSE_SECONDS))
        if clock.now() >= due():
            pulse.ring()


def _end(session: Session, translator: Translator, clock: Clock) -> list[bytes]:
    if session.row.status != "closed":
        return [DONE]
    reason = session.row.closed_reason
    headers = () if reason is None else (("session-closed-reason", reason),)
    closed = control_record(translator.cursor, _millis(clock), "session-closed", *headers)
    return [*events([closed], session.outbox.last_seq, _millis(clock)), DONE]


async def list_records(session: Session, *, after: int, dialect: Dialect) -> list[dict[str, Any]]:
    """Return what is in the log after a cursor now, decoded, without waiting for more."""
    translator, found = Translator(dialect, after), list[dict[str, Any]]()
    async with reading(session, after, live=False) as batches:
        async for batch in batches:
            found += [_decoded(orjson.loads(encoded)) for encoded in translator.feed(batch)]
    return found


def _decoded(record: dict[str, Any]) -> dict[str, Any]:
    seq: int = record["seq_num"]
    if not record["body"]:
        return {"data": None, "id": str(seq), "seqNum": seq, "headers": record["headers"]}
    body = orjson.loads(record["body"])
    return {"data": body["data"], "id": body["id"], "seqNum": seq}


def _millis(clock: Clock) -> int:
    return int(clock.now() * 1000)
