"""The PostgreSQL store: the contract in calls of the functions that the schema holds.

Appends go in groups, each one call and one transaction; everything else is one call. Epochs are compared by the
database, under the lock of the session's head, in the transaction that writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from chatrt.codec import dumps, loads, pack
from chatrt.errors import (
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    StaleEpochError,
    StoreUnavailableError,
    UnreadableRecordError,
    UsageError,
)
from chatrt.ids import RandomIds
from chatrt.stores import rows
from chatrt.stores.base import (
    BUSY_KINDS,
    FORGOTTEN,
    SUSPECT_DEATHS,
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
    to_millis,
)
from chatrt.stores.metadata import encode_metadata, merge_patch
from chatrt.stores.portable import EncodedDump, Exported, SessionDump
from chatrt.stores.postgres import queries
from chatrt.stores.postgres.announcer import Announcer
from chatrt.stores.postgres.attachments import PostgresAttachments
from chatrt.stores.postgres.database import Database, Target, connect, to_store_error
from chatrt.stores.postgres.grouping import Grouping
from chatrt.stores.postgres.migrations import ensure_schema
from chatrt.stores.postgres.notices import Listener
from chatrt.stores.postgres.pages import Pages
from chatrt.stores.postgres.portable import put_session, read_session

logger = logging.getLogger("chatrt.stores")

PAGE = 200
"""How many sessions are listed by one query."""

MANY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _NewSegment:
    lease: Lease
    count: int
    at: float
    body: bytes


_NewInput = tuple[SessionKey, NewRecord, str | None, float, bool]


class PostgresStore:
    """Sessions in a PostgreSQL database, served by any number of processes.

    An empty database gets its tables when it is opened; one that holds an older schema has to be migrated first.

    Args:
        url: `postgresql://user:password@host:port/database`, and what else asyncpg takes. Own options in the query are
            `pool_size` (10), `prepared=no` for PgBouncer in transaction mode, `listen_url` for notifications past a
            pooler, `timeout` for the seconds (2) after which a write counts as failed, `append_every` for the
            milliseconds (10) between two groups of chunks, and `notify_every` for those (20) between two notifications
            of them.

    Raises:
        UsageError: If an option is not possible.
    """

    is_shared = True

    def __init__(self, url: str) -> None:
        self._target = Target.parse(url)
        self._origin = RandomIds().new("p")
        self._database = Database(self._target)
        self._listener = Listener(self._database, self._target, self._origin)
        self._inputs: Grouping[_NewInput, Appended] = Grouping(self._append_in)
        self._outputs: Grouping[list[_NewSegment], list[int | StaleEpochError]] = Grouping(self._append_out)
        self._pages = Pages(self._read)
        self._announcer = Announcer(self._database.write, self._origin, self._target.notify_every)
        self.append_interval = self._target.append_every
        self.attachments = PostgresAttachments(self._ready)
        self._is_open = False

    def __repr__(self) -> str:
        return f"PostgresStore({self._target.shown!r})"

    async def open(self) -> None:
        if self._is_open:
            return
        await self._database.open()
        try:
            connection = await connect(self._target)
            try:
                await ensure_schema(connection)
            finally:
                connection.terminate()
            await self._listener.open()
        except BaseException:
            await self._database.close()
            raise
        self._pages.open()
        self._inputs.open()
        self._outputs.open()
        self._is_open = True

    async def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        await self._pages.close()
        await self._inputs.close()
        await self._outputs.close()
        await self._announcer.close()
        await self._listener.close()
        await self._database.close()

    def subscribe(self, on_notice: OnNotice) -> Callable[[], None]:
        return self._listener.subscribe(on_notice)

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
        origin = (None, None, None) if parent is None else (parent.chat_id, parent.root_id, parent.tool_call_id)
        values = (key.tenant, key.chat_id, agent, at, encode_metadata(metadata), dumps(client_data), *origin)
        created: bool = (await self._write(queries.CREATE, *values))[0][0]
        return await self._get_session(key), created

    async def find_session(self, key: SessionKey) -> SessionRow | None:
        found = await self._look(queries.FIND, key.tenant, key.chat_id)
        return rows.session_row(found[0]) if found else None

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
        closed = None if status is None else status == "closed"
        left = limit or None
        while left != 0:
            size = PAGE if left is None else min(PAGE, left)
            sql = queries.LIST if parent is None else queries.LIST_CHILDREN
            found = await self._read(sql, tenant, after, agent, closed, size, *(() if parent is None else (parent,)))
            for row in found:
                yield rows.session_row(row)
            if len(found) < size:
                return
            after = found[-1]["chat_id"]
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
        closed = None if status is None else status == "closed"
        only = [value for value in (agent, parent) if value is not None]
        left = limit or None
        while left != 0:
            size = PAGE if left is None else min(PAGE, left)
            sql = queries.recent(behind=after is not None, agent=agent is not None, parent=parent is not None)
            found = await self._read(sql, tenant, closed, size, *(after or ()), *only)
            for row in found:
                yield rows.session_row(row)
            if len(found) < size:
                return
            after = Recency(found[-1]["updated_at"], found[-1]["chat_id"])
            left = None if left is None else left - size

    async def update_session(self, key: SessionKey, *, metadata: Mapping[str, Any], at: float) -> SessionRow:
        patch: dict[str, Any] = loads(dumps(metadata))  # the caller's own may change meanwhile
        while True:
            found = await self._look(queries.FIND, key.tenant, key.chat_id)
            if not found:
                raise SessionNotFoundError(key.chat_id)
            before: bytes = found[0]["metadata"]
            after = encode_metadata(merge_patch(rows.load_json(before, key, "its metadata"), patch))
            # Laid over what was read; where somebody was faster, over what that one made of it.
            put = await self._write(queries.UPDATE, key.tenant, key.chat_id, before, after, at, self._origin)
            if put[0][0]:
                return await self._get_session(key)

    async def close_session(self, key: SessionKey, *, reason: str | None, at: float) -> SessionRow:
        await self._write(queries.CLOSE, key.tenant, key.chat_id, reason, at, self._origin)
        return await self._get_session(key)

    async def delete_session(self, key: SessionKey) -> bool:
        return (await self._write(queries.DELETE, key.tenant, key.chat_id, self._origin))[0][0]

    async def find_expired(
        self, *, closed_before: float | None, idle_before: float | None, at: float, limit: int = 50, skip: int = 0
    ) -> list[SessionRow]:
        now = at + self._database.clock_offset
        return [
            rows.session_row(row)
            for row in await self._read(queries.EXPIRED, idle_before, closed_before, now, limit, skip)
        ]

    async def delete_expired(self, key: SessionKey, *, before: float, at: float) -> bool:
        now = at + self._database.clock_offset
        found = await self._write(queries.DELETE_EXPIRED, key.tenant, key.chat_id, now, before, self._origin)
        return bool(found and found[0][0])

    async def forget_inputs(self, *, before: float, limit: int = 1000) -> int:
        old = await self._read(queries.OLD_INPUTS, before, FORGOTTEN, limit)
        if not old:
            return 0
        sids, seqs = zip(*old, strict=True)
        return (await self._write(queries.FORGET_INPUTS, sids, seqs, FORGOTTEN))[0][0]

    # --- .in

    async def append_in(
        self, key: SessionKey, record: NewRecord, *, part_id: str | None, at: float, only_if_idle: bool = False
    ) -> Appended:
        # Whoever comes while others wait in vain is not to wait for them first and then in vain as well.
        try:
            async with asyncio.timeout(self._target.timeout):
                return await self._inputs.submit((key, record, part_id, at, only_if_idle))
        except TimeoutError as error:
            raise to_store_error(error) from error

    async def _append_in(self, group: Sequence[_NewInput]) -> Sequence[Appended | Exception]:
        keys, records, part_ids, ats, only_if_idle = zip(*group, strict=True)
        outcomes = await self._write(
            queries.APPEND_IN,
            [key.tenant for key in keys],
            [key.chat_id for key in keys],
            ats,
            [record.kind for record in records],
            part_ids,
            only_if_idle,
            [record.body for record in records],
            BUSY_KINDS,
            self._database.clock_offset,
            self._origin,
        )
        return [_appended(key, *row) for key, row in zip(keys, outcomes, strict=True)]

    async def read_in(self, key: SessionKey, *, after: int, limit: int = 100) -> list[Record]:
        found = await self._look(queries.READ_IN, key.tenant, key.chat_id, after, limit)
        return [Record(seq, to_millis(at), kind, body) for seq, at, kind, body in found]

    # --- leases: all processes judge them by the database's clock

    async def acquire_lease(
        self, key: SessionKey, *, owner: str, ttl: float, at: float, suspects: bool = True
    ) -> Lease | None:
        now = at + self._database.clock_offset
        most_deaths = MANY if suspects else SUSPECT_DEATHS - 1
        found = await self._write(queries.ACQUIRE, key.tenant, key.chat_id, owner, now + ttl, now, most_deaths)
        if found:
            epoch, deaths = found[0]
            return Lease(key, owner, epoch, at + ttl, deaths)
        await self._get_session(key)
        return None

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
        now = at + self._database.clock_offset
        found = await self._write(
            queries.CLAIM,
            owner,
            now + ttl,
            now,
            max(limit, 0),
            max(suspects, 0),
            SUSPECT_DEATHS,
            None if agents is None else list(agents),
            [key.tenant for key in avoid],
            [key.chat_id for key in avoid],
        )
        claims: list[Claim] = []
        for epoch, deaths, *session in found:
            try:
                row = rows.session_row(session)
            except UnreadableRecordError:
                logger.exception("a session is not served")  # nor does it keep the others from being served
                continue
            claims.append(Claim(Lease(row.key, owner, epoch, at + ttl, deaths), row))
        return claims

    async def renew_leases(self, leases: Sequence[Lease], *, ttl: float, at: float) -> list[Lease]:
        if not leases:
            self._ready()
            return []
        expires_at = at + self._database.clock_offset + ttl
        held = {row[0] for row in await self._write(queries.RENEW, *_columns(leases), expires_at)}
        return [lease for place, lease in enumerate(leases, 1) if place not in held]

    async def release_lease(self, lease: Lease, *, in_cursor: int) -> bool:
        key = lease.key
        values = (key.tenant, key.chat_id, lease.epoch, lease.owner, in_cursor, self._origin)
        released: bool | None = (await self._write(queries.RELEASE, *values))[0][0]
        if released is None:
            raise StaleEpochError(key.chat_id, lease.epoch)
        return released

    async def find_unserved(
        self, *, at: float, limit: int = 100, agents: Sequence[str] | None = None
    ) -> list[SessionKey]:
        now = at + self._database.clock_offset
        found = await self._look(queries.UNSERVED, now, None if agents is None else list(agents), limit)
        return [SessionKey(*row) for row in found]

    # --- .out and the commit

    async def append_out(self, lease: Lease, records: Sequence[NewRecord], *, at: float) -> int:
        (first_seq,) = await self.append_out_groups([(lease, records)], at=at)
        if isinstance(first_seq, StaleEpochError):
            raise first_seq
        return first_seq

    async def append_out_groups(
        self, groups: Sequence[tuple[Lease, Sequence[NewRecord]]], *, at: float
    ) -> list[int | StaleEpochError]:
        encoded = [_NewSegment(lease, len(records), at, pack(list(records))) for lease, records in groups]
        return await self._outputs.submit(encoded)

    async def _append_out(self, requests: Sequence[list[_NewSegment]]) -> Sequence[list[int | StaleEpochError]]:
        segments = [segment for request in requests for segment in request]
        found = await self._write(
            queries.APPEND_OUT,
            *_columns([segment.lease for segment in segments]),
            [segment.count for segment in segments],
            [segment.at for segment in segments],
            [segment.body for segment in segments],
            None,  # the announcer tells
        )
        for segment, (first_seq,) in zip(segments, found, strict=True):
            if first_seq is not None and segment.count:
                self._announcer.tell(segment.lease.key, first_seq + segment.count - 1)
        first_seqs = iter(row[0] for row in found)
        return [[_first_seq(segment.lease, next(first_seqs)) for segment in request] for request in requests]

    async def read_out(self, key: SessionKey, *, after: int, limit: int = 1000) -> OutPage:
        return await self._pages.read(key, after=after, limit=limit)

    async def commit(self, lease: Lease, commit: Commit, *, at: float) -> int:
        key, nodes = lease.key, commit.nodes
        found = await self._write(
            queries.COMMIT,
            key.tenant,
            key.chat_id,
            lease.epoch,
            lease.owner,
            at,
            len(commit.records),
            pack(list(commit.records)),
            [node.node_id for node in nodes],
            [node.parent_id for node in nodes],
            [node.message["id"] for node in nodes],
            [node.message["role"] for node in nodes],
            [dumps(node.message) for node in nodes],
            commit.leaf_id,
            commit.in_cursor,
            dumps(commit.state),
            commit.trim_to,
            self._origin,
        )
        first_seq: int | None = found[0][0]
        if first_seq is None:
            raise StaleEpochError(key.chat_id, lease.epoch)
        return first_seq

    async def read_cursors(self, key: SessionKey) -> Cursors:
        found = await self._look(queries.CURSORS, key.tenant, key.chat_id)
        if not found:
            raise SessionNotFoundError(key.chat_id)
        return Cursors(*found[0])

    async def load_snapshot(self, key: SessionKey) -> Snapshot:
        self._ready()
        async with self._database.snapshot() as connection:
            head = await connection.fetchrow(queries.SNAPSHOT_HEAD, key.tenant, key.chat_id)
            if head is None:
                raise SessionNotFoundError(key.chat_id)
            sid, in_cursor, settled_seq, last_in_seq, out_first_seq, out_last_seq, leaf_id, state = head
            branch: list[Any] = await connection.fetch(queries.BRANCH, sid, leaf_id)
            branched: bool = await connection.fetchval(queries.BRANCHED, sid, len(branch))
        return Snapshot(
            nodes=rows.load_branch(branch, leaf_id, key),
            in_cursor=in_cursor,
            settled_seq=settled_seq,
            last_in_seq=last_in_seq,
            out_first_seq=out_first_seq,
            out_last_seq=out_last_seq,
            state=rows.load_json(state, key, "its state"),
            branched=branched,
        )

    async def load_tree(self, key: SessionKey) -> list[Node]:
        await self._get_session(key)
        return rows.load_tree(await self._read(queries.TREE, key.tenant, key.chat_id), key)

    async def count_unserved(self, *, at: float) -> int:
        return (await self._read(queries.COUNT_UNSERVED, at + self._database.clock_offset))[0][0]

    # --- whole sessions

    async def export_session(self, key: SessionKey) -> AsyncIterator[Sequence[Exported]]:
        async with aclosing(read_session(self._ready(), key)) as pages:
            async for page in pages:
                yield page

    async def import_session(self, dump: SessionDump) -> SessionRow:
        self._ready()
        encoded = await asyncio.to_thread(EncodedDump.encode, dump)
        await put_session(self._database, encoded)
        return await self._get_session(encoded.key)

    # --- inside

    def _ready(self) -> Database:
        if not self._is_open:
            raise StoreUnavailableError("the store is not open")
        return self._database

    async def _read(self, sql: str, *arguments: Any) -> list[Any]:
        return await self._ready().read(sql, *arguments)

    async def _look(self, sql: str, *arguments: Any) -> list[Any]:
        return await self._ready().look(sql, *arguments)

    async def _write(self, sql: str, *arguments: Any) -> list[Any]:
        # Not `_ready`: what was accepted before the store is closed is still written.
        return await self._database.write(sql, *arguments)

    async def _get_session(self, key: SessionKey) -> SessionRow:
        row = await self.find_session(key)
        if row is None:
            raise SessionNotFoundError(key.chat_id)
        return row


def _columns(leases: Sequence[Lease]) -> tuple[list[str], list[str], list[int], list[str]]:
    return (
        [lease.key.tenant for lease in leases],
        [lease.key.chat_id for lease in leases],
        [lease.epoch for lease in leases],
        [lease.owner for lease in leases],
    )


def _first_seq(lease: Lease, seq: int | None) -> int | StaleEpochError:
    return StaleEpochError(lease.key.chat_id, lease.epoch) if seq is None else seq


def _appended(key: SessionKey, outcome: str, seq: int, held_by: str | None) -> Appended | Exception:
    match outcome:
        case "appended" | "repeated":
            return Appended(seq, repeated=outcome == "repeated", held_by=held_by)
        case "missing":
            return SessionNotFoundError(key.chat_id)
        case "closed":
            return SessionClosedError(key.chat_id)
        case "busy":
            return SessionBusyError(key.chat_id)
        case _:
            return UsageError(f"the database says {outcome!r} of an append")
