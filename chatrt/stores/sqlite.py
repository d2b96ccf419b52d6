"""The SQLite store: one file, served by one process.

Writes go through one thread that commits in groups. Small reads run on the event loop, where they cost tens of
microseconds; what may be large goes to a second thread. Readers never wait for the writer.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, TypeVar

from chatrt.codec import dumps, loads
from chatrt.errors import StaleEpochError, StoreUnavailableError
from chatrt.stores import sqlite_reads as reads
from chatrt.stores import sqlite_writes as writes
from chatrt.stores.base import (
    Appended,
    Claim,
    Commit,
    Cursors,
    Lease,
    NewRecord,
    Node,
    OnNotice,
    OutPage,
    Parent,
    Recency,
    Record,
    SessionKey,
    SessionRow,
    SessionStatus,
    Snapshot,
)
from chatrt.stores.metadata import encode_metadata
from chatrt.stores.portable import EncodedDump, Exported, SessionDump
from chatrt.stores.sqlite_attachments import SQLiteAttachments, drop_unfinished
from chatrt.stores.sqlite_file import FileLock, connect_reader, connect_writer, create_private, to_store_error
from chatrt.stores.sqlite_portable import put_session, read_session
from chatrt.stores.sqlite_writer import Writer

SMALL = 200
"""The most records or rows that are read on the event loop: about 0.2 ms."""

T = TypeVar("T")


@dataclass(slots=True)
class _Connections:
    writer: sqlite3.Connection
    small: sqlite3.Connection
    large: sqlite3.Connection

    @classmethod
    def open(cls, path: str, max_pages: int | None) -> _Connections:
        opened = [connect_writer(path, max_pages=max_pages)]
        try:
            writes.end_leases(opened[0])
            drop_unfinished(opened[0])
            opened.append(connect_reader(path))
            opened.append(connect_reader(path))
        except BaseException:
            for connection in reversed(opened):
                connection.close()
            raise
        return cls(*opened)

    def close(self) -> None:
        """The writer goes last: who closes last folds the log into the file."""
        self.small.close()
        self.large.close()
        self.writer.close()


@dataclass(slots=True)
class _Opened:
    connections: _Connections
    writer: Writer
    reader: ThreadPoolExecutor


class SQLiteStore:
    """Sessions in a SQLite file, in WAL mode with `synchronous = FULL`: what was acked survives a loss of power.

    A lock file beside it keeps every second process out. Not for network file systems.

    Args:
        path: The database file; made with mode 0600 if it is missing, its folder is not.
        max_pages: The largest size of the file in pages of 4096 bytes; beyond it the store behaves as on a full disk.
    """

    append_interval = 0.0
    is_shared = False

    def __init__(self, path: str | PathLike[str], *, max_pages: int | None = None) -> None:
        self.path = os.path.realpath(path)
        self._max_pages = max_pages
        self._lock = FileLock(self.path)
        self._opened: _Opened | None = None
        self._closing: asyncio.Future[None] | None = None
        self._turnstile = asyncio.Lock()
        self.attachments = SQLiteAttachments(self._write, self._read_large)

    async def open(self) -> None:
        async with self._turnstile:
            await self._closed()
            if self._opened is None:
                connections = await asyncio.to_thread(self._open_file)
                reader = ThreadPoolExecutor(1, thread_name_prefix="chatrt-sqlite-reader")
                self._opened = _Opened(connections, Writer(connections.writer, self.path), reader)

    async def close(self) -> None:
        async with self._turnstile:
            if self._opened is not None:
                opened, self._opened = self._opened, None
                self._closing = asyncio.ensure_future(self._shut(opened))
            await self._closed()

    async def _closed(self) -> None:
        # Who gives up waiting does not stop the closing: it would leave the file locked and unserved.
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None

    async def _shut(self, opened: _Opened) -> None:
        await opened.writer.stop()
        await asyncio.to_thread(opened.reader.shutdown)
        await asyncio.to_thread(opened.connections.close)
        self._lock.release()

    def _open_file(self) -> _Connections:
        try:
            self._lock.acquire()
            create_private(self.path)
            return _Connections.open(self.path, self._max_pages)
        except OSError as error:
            self._lock.release()
            raise StoreUnavailableError(f"{self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            self._lock.release()
            raise to_store_error(error, self.path) from error
        except BaseException:
            self._lock.release()
            raise

    def subscribe(self, on_notice: OnNotice) -> Callable[[], None]:
        del on_notice  # no other process can write
        return lambda: None

    # --- how requests travel

    def _ready(self) -> _Opened:
        if self._opened is None:
            raise StoreUnavailableError("the store is not open")
        return self._opened

    async def _write(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._ready().writer.submit(lambda connection: work(connection, *arguments))

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return query(self._ready().connections.small)
        except sqlite3.Error as error:
            raise to_store_error(error, self.path) from error

    async def _read_large(self, query: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._ready()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(opened.reader, query, opened.connections.large)
        except sqlite3.Error as error:
            raise to_store_error(error, self.path) from error

    # --- sessions

    async def create_session(
        self,
        key: SessionKey,
        *,
        agent: str,
        metadata: dict[str, Any],
        client_data: Any,
        at: float,
        parent: Parent | None = None,
    ) -> tuple[SessionRow, bool]:
        encoded = {"metadata": encode_metadata(metadata), "client_data": dumps(client_data)}
        create = partial(writes.create_session, key=key, agent=agent, at=at, parent=parent, **encoded)
        return await self._write(create)

    async def find_session(self, key: SessionKey) -> SessionRow | None:
        return self._read(lambda connection: reads.find_session(connection, key))

    async def iter_sessions(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        status: SessionStatus | None = None,
        parent: str | None = None,
        after: str = "",
        limit: int = 0,
    ) -> AsyncIterator[SessionRow]:
        left = limit or None
        listing = partial(reads.list_sessions, tenant=tenant, agent=agent, status=status, parent=parent)
        while left != 0:
            size = SMALL if left is None else min(SMALL, left)
            rows = self._read(partial(listing, after=after, limit=size))
            for row in rows:
                yield row
            if len(rows) < size:
                return
            after = rows[-1].key.chat_id
            left = None if left is None else left - size

    async def iter_recent_sessions(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        status: SessionStatus | None = None,
        parent: str | None = None,
        after: Recency | None = None,
        limit: int = 0,
    ) -> AsyncIterator[SessionRow]:
        left = limit or None
        listing = partial(reads.list_recent, tenant=tenant, agent=agent, status=status, parent=parent)
        while left != 0:
            size = SMALL if left is None else min(SMALL, left)
            rows = self._read(partial(listing, after=after, limit=size))
            for row in rows:
                yield row
            if len(rows) < size:
                return
            after = Recency.of(rows[-1])
            left = None if left is None else left - size

    async def update_session(self, key: SessionKey, *, metadata: Mapping[str, Any], at: float) -> SessionRow:
        patch = loads(dumps(metadata))  # the caller's own may change while the writer is busy
        return await self._write(writes.update_session, key, patch, at)

    async def close_session(self, key: SessionKey, *, reason: str | None, at: float) -> SessionRow:
        return await self._write(writes.close_session, key, reason, at)

    async def delete_session(self, key: SessionKey) -> bool:
        return await self._write(writes.delete_session, key)

    async def find_expired(
        self, *, closed_before: float | None, idle_before: float | None, at: float, limit: int = 50, skip: int = 0
    ) -> list[SessionRow]:
        times = {"closed_before": closed_before, "idle_before": idle_before, "at": at}
        return await self._read_large(partial(reads.find_expired, **times, limit=limit, skip=skip))

    async def delete_expired(self, key: SessionKey, *, before: float, at: float) -> bool:
        return await self._write(writes.delete_expired, key, before, at)

    async def forget_inputs(self, *, before: float, limit: int = 1000) -> int:
        # Looked for beside the writer: with many inputs that takes a while.
        old = await self._read_large(partial(reads.find_old_inputs, before=before, limit=limit))
        return await self._write(writes.forget_inputs, old) if old else 0

    # --- .in

    async def append_in(
        self, key: SessionKey, record: NewRecord, *, part_id: str | None, at: float, only_if_idle: bool = False
    ) -> Appended:
        append = partial(writes.append_in, key=key, record=record, part_id=part_id, at=at, only_if_idle=only_if_idle)
        return await self._write(append)

    async def read_in(self, key: SessionKey, *, after: int, limit: int = 100) -> list[Record]:
        query = partial(reads.read_in, key=key, after=after, limit=limit)
        return self._read(query) if limit <= SMALL else await self._read_large(query)

    # --- leases

    async def acquire_lease(
        self, key: SessionKey, *, owner: str, ttl: float, at: float, suspects: bool = True
    ) -> Lease | None:
        return await self._write(partial(writes.acquire_lease, suspects=suspects), key, owner, at + ttl, at)

    async def claim_leases(
        self,
        *,
        owner: str,
        ttl: float,
        at: float,
        limit: int = 100,
        suspects: int = 1,
        agents: Sequence[str] | None = None,
        avoid: Collection[SessionKey] = (),
    ) -> list[Claim]:
        if not self._read(partial(reads.find_unserved, at=at, limit=1, agents=agents)):
            return []  # the usual case, without a turn of the writer
        claim = partial(writes.claim_leases, owner=owner, expires_at=at + ttl, at=at, limit=limit, suspects=suspects)
        return await self._write(partial(claim, agents=agents, avoid=frozenset(avoid)))

    async def renew_leases(self, leases: Sequence[Lease], *, ttl: float, at: float) -> list[Lease]:
        return await self._write(writes.renew_leases, tuple(leases), at + ttl)

    async def release_lease(self, lease: Lease, *, in_cursor: int) -> bool:
        return await self._write(writes.release_lease, lease, in_cursor)

    async def find_unserved(
        self, *, at: float, limit: int = 100, agents: Sequence[str] | None = None
    ) -> list[SessionKey]:
        return self._read(partial(reads.find_unserved, at=at, limit=limit, agents=agents))

    # --- .out and the commit

    async def append_out(self, lease: Lease, records: Sequence[NewRecord], *, at: float) -> int:
        return await self._write(writes.append_out, lease, writes.Segment.encode(records), at)

    async def append_out_groups(
        self, groups: Sequence[tuple[Lease, Sequence[NewRecord]]], *, at: float
    ) -> list[int | StaleEpochError]:
        encoded = [(lease, writes.Segment.encode(records)) for lease, records in groups]
        return await self._write(writes.append_out_groups, encoded, at)

    async def read_out(self, key: SessionKey, *, after: int, limit: int = 1000) -> OutPage:
        query = partial(reads.read_out, key=key, after=after, limit=limit)
        first_seq, last_seq = self._read(lambda connection: reads.out_ends(connection, key))
        wanted = min(limit, last_seq - max(after, first_seq - 1))
        return self._read(query) if wanted <= SMALL else await self._read_large(query)

    async def commit(self, lease: Lease, commit: Commit, *, at: float) -> int:
        return await self._write(writes.commit_turn, lease, writes.EncodedCommit.encode(commit), at)

    async def read_cursors(self, key: SessionKey) -> Cursors:
        return self._read(lambda connection: reads.read_cursors(connection, key))

    async def load_snapshot(self, key: SessionKey) -> Snapshot:
        return await self._read_large(lambda connection: reads.load_snapshot(connection, key))

    async def load_tree(self, key: SessionKey) -> list[Node]:
        return await self._read_large(lambda connection: reads.load_tree(connection, key))

    async def count_unserved(self, *, at: float) -> int:
        return self._read(partial(reads.count_unserved, at=at))

    # --- whole sessions

    async def export_session(self, key: SessionKey) -> AsyncIterator[Sequence[Exported]]:
        self._ready()
        async with aclosing(read_session(self.path, key)) as pages:
            async for page in pages:
                yield page

    async def import_session(self, dump: SessionDump) -> SessionRow:
        encoded = await asyncio.to_thread(EncodedDump.encode, dump)
        return await self._write(put_session, encoded)
