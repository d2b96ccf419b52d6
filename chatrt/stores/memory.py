"""The memory store: everything in dictionaries, for tests and for trying things out.

It outlives `close`: opened again, the same object has the same sessions, as a file would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from chatrt.codec import dumps, loads
from chatrt.errors import (
    ConflictError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    StaleEpochError,
    StoreUnavailableError,
)
from chatrt.stores.base import (
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
from chatrt.stores.memory_attachments import MemoryAttachments, StoredFiles
from chatrt.stores.memory_session import StoredSession, append_out, merge_nodes, put_together, take_out
from chatrt.stores.metadata import encode_metadata, merge_patch
from chatrt.stores.portable import Exported, SessionDump, check_dump


class MemoryStore:
    """Sessions in the memory of this process; durable only in so far as the object is kept."""

    append_interval = 0.0
    is_shared = False

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, StoredSession] = {}
        self._children: dict[SessionKey, set[SessionKey]] = {}
        self._epoch_floor = 0
        self._is_open = False
        self.attachments = MemoryAttachments(self._find_files)

    async def open(self) -> None:
        if not self._is_open:
            for stored in self._sessions.values():
                stored.end_lease()  # as a file does, whose holder cannot live when it is opened
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    def subscribe(self, on_notice: OnNotice) -> Callable[[], None]:
        del on_notice  # no other process can write
        return lambda: None

    def _all(self) -> dict[SessionKey, StoredSession]:
        if not self._is_open:
            raise StoreUnavailableError("the store is not open")
        return self._sessions

    def _find(self, key: SessionKey) -> StoredSession | None:
        return self._all().get(key)

    def _find_files(self, key: SessionKey) -> tuple[SessionStatus, StoredFiles] | None:
        stored = self._find(key)
        return None if stored is None else (stored.status, stored.files)

    def _get(self, key: SessionKey) -> StoredSession:
        stored = self._find(key)
        if stored is None:
            raise SessionNotFoundError(key.chat_id)
        return stored

    def _get_held(self, lease: Lease) -> StoredSession:
        stored = self._find(lease.key)
        if stored is None or (stored.owner, stored.epoch) != (lease.owner, lease.epoch):
            raise StaleEpochError(lease.key.chat_id, lease.epoch)
        return stored

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
        stored = self._find(key)
        created = stored is None
        if stored is None:
            stored = StoredSession(
                key, agent, encode_metadata(metadata), dumps(client_data), at, at, self._epoch_floor, parent
            )
            self._sessions[key] = stored
            if parent is not None:
                self._children.setdefault(SessionKey(key.tenant, parent.chat_id), set()).add(key)
        return stored.row, created

    async def find_session(self, key: SessionKey) -> SessionRow | None:
        stored = self._find(key)
        return stored.row if stored else None

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
        yielded = 0
        everything = self._all()
        among = everything if parent is None else self._children.get(SessionKey(tenant, parent), set())
        for key in sorted(key for key in among if key.tenant == tenant and key.chat_id > after):
            stored = self._find(key)
            if stored is None or agent not in {None, stored.agent} or status not in {None, stored.status}:
                continue
            yield stored.row
            yielded += 1
            if yielded == limit:
                return

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
        rows = [row async for row in self.iter_sessions(tenant, agent=agent, status=status, parent=parent)]
        recent = sorted((Recency.of(row) for row in rows), reverse=True)
        behind = [place for place in recent if after is None or place < after]
        for place in behind[: limit or None]:
            stored = self._find(SessionKey(tenant, place.chat_id))
            if stored is not None:
                yield stored.row

    async def update_session(self, key: SessionKey, *, metadata: Mapping[str, Any], at: float) -> SessionRow:
        stored = self._get(key)
        stored.metadata = encode_metadata(merge_patch(loads(stored.metadata), metadata))
        stored.updated_at = at
        return stored.row

    async def close_session(self, key: SessionKey, *, reason: str | None, at: float) -> SessionRow:
        stored = self._get(key)
        if stored.status == "open":
            stored.status, stored.closed_reason, stored.updated_at = "closed", reason, at
        return stored.row

    async def delete_session(self, key: SessionKey) -> bool:
        stored = self._find(key)
        if stored is None:
            return False
        self._epoch_floor = max(self._epoch_floor, stored.epoch)
        del self._sessions[key]
        if stored.parent is not None:
            children = self._children[SessionKey(key.tenant, stored.parent.chat_id)]
            children.discard(key)
            if not children:
                del self._children[SessionKey(key.tenant, stored.parent.chat_id)]
        return True

    async def find_expired(
        self, *, closed_before: float | None, idle_before: float | None, at: float, limit: int = 50, skip: int = 0
    ) -> list[SessionRow]:
        everything = self._all()
        due = [
            stored.row
            for stored in everything.values()
            if (
                (idle_before is not None and stored.updated_at < idle_before)
                or (closed_before is not None and stored.status == "closed" and stored.updated_at < closed_before)
            )
            and stored.is_at_rest(at)
            and (stored.parent is None or SessionKey(stored.key.tenant, stored.parent.chat_id) not in everything)
        ]
        return sorted(due, key=lambda row: row.updated_at)[skip : skip + limit]

    async def delete_expired(self, key: SessionKey, *, before: float, at: float) -> bool:
        stored = self._find(key)
        if stored is None or stored.updated_at >= before or not stored.is_at_rest(at):
            return False
        return await self.delete_session(key)

    async def forget_inputs(self, *, before: float, limit: int = 1000) -> int:
        left = limit
        for stored in self._all().values():
            for place, (at, record) in enumerate(stored.inbox[: stored.in_cursor]):
                if left and at < to_millis(before) and record.body != FORGOTTEN:
                    stored.inbox[place] = (at, NewRecord(record.kind, FORGOTTEN))
                    left -= 1
        return limit - left

    # --- .in

    async def append_in(
        self, key: SessionKey, record: NewRecord, *, part_id: str | None, at: float, only_if_idle: bool = False
    ) -> Appended:
        stored = self._get(key)
        if part_id is not None and part_id in stored.parts:
            return Appended(stored.parts[part_id], repeated=True)
        if stored.status == "closed":
            raise SessionClosedError(key.chat_id)
        if only_if_idle and stored.is_busy():
            raise SessionBusyError(key.chat_id)
        stored.inbox.append((to_millis(at), record))
        stored.updated_at = at
        seq = len(stored.inbox)
        if part_id is not None:
            stored.parts[part_id] = seq
        return Appended(seq, repeated=False)

    async def read_in(self, key: SessionKey, *, after: int, limit: int = 100) -> list[Record]:
        stored = self._find(key)
        if stored is None:
            return []
        page = stored.inbox[after : after + limit]
        return [Record(seq, at, record.kind, record.body) for seq, (at, record) in enumerate(page, after + 1)]

    # --- leases

    async def acquire_lease(
        self, key: SessionKey, *, owner: str, ttl: float, at: float, suspects: bool = True
    ) -> Lease | None:
        stored = self._get(key)
        if stored.owner != owner and not stored.is_free(at):
            return None
        if not suspects and stored.owner != owner and stored.deaths_if_taken(owner) >= SUSPECT_DEATHS:
            return None
        return stored.take(owner, ttl=ttl, at=at)

    async def renew_leases(self, leases: Sequence[Lease], *, ttl: float, at: float) -> list[Lease]:
        lost: list[Lease] = []
        for lease in leases:
            try:
                self._get_held(lease).expires_at = at + ttl
            except StaleEpochError:
                lost.append(lease)
        return lost

    async def release_lease(self, lease: Lease, *, in_cursor: int) -> bool:
        stored = self._get_held(lease)
        if len(stored.inbox) > in_cursor:
            return False
        stored.owner = None
        return True

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
        claims: list[Claim] = []
        for stored in self._unserved(at, agents):
            suspect = stored.deaths_if_taken(owner) >= SUSPECT_DEATHS
            if stored.key in avoid or (suspects if suspect else limit) <= 0:
                continue
            suspects, limit = suspects - suspect, limit - (not suspect)
            claims.append(Claim(stored.take(owner, ttl=ttl, at=at), stored.row))
        return claims

    async def find_unserved(
        self, *, at: float, limit: int = 100, agents: Sequence[str] | None = None
    ) -> list[SessionKey]:
        return [stored.key for stored in islice(self._unserved(at, agents), limit)]

    def _unserved(self, at: float, agents: Sequence[str] | None) -> Iterator[StoredSession]:
        return (
            stored
            for stored in self._all().values()
            if stored.has_work() and stored.is_free(at) and (agents is None or stored.agent in agents)
        )

    # --- .out and the commit

    async def append_out(self, lease: Lease, records: Sequence[NewRecord], *, at: float) -> int:
        return append_out(self._get_held(lease), records, at)

    async def append_out_groups(
        self, groups: Sequence[tuple[Lease, Sequence[NewRecord]]], *, at: float
    ) -> list[int | StaleEpochError]:
        first_seqs: list[int | StaleEpochError] = []
        for lease, records in groups:
            try:
                first_seqs.append(append_out(self._get_held(lease), records, at))
            except StaleEpochError as error:
                first_seqs.append(error)
        return first_seqs

    async def read_out(self, key: SessionKey, *, after: int, limit: int = 1000) -> OutPage:
        stored = self._get(key)
        records: list[Record] = []
        for segment in stored.segments:
            if len(records) >= limit:
                break
            if segment.last_seq > after:
                records += [
                    Record(seq, segment.at, record.kind, record.body)
                    for seq, record in enumerate(segment.records, segment.first_seq)
                    if seq > after
                ]
        return OutPage(records[:limit], stored.out_first, stored.out_last)

    async def commit(self, lease: Lease, commit: Commit, *, at: float) -> int:
        stored = self._get_held(lease)
        nodes = merge_nodes(stored, commit)
        state = dumps(commit.state)  # the last step that can fail; from here on everything happens
        first_seq = append_out(stored, commit.records, at)
        if commit.records:
            stored.settled_seq = stored.out_last
        stored.nodes.update(nodes)
        if commit.in_cursor > stored.in_cursor:
            stored.deaths = 0
        stored.leaf_id, stored.in_cursor = commit.leaf_id, commit.in_cursor
        stored.state, stored.updated_at = state, at
        stored.segments = [segment for segment in stored.segments if segment.last_seq > commit.trim_to]
        return first_seq

    async def read_cursors(self, key: SessionKey) -> Cursors:
        stored = self._get(key)
        return Cursors(
            in_cursor=stored.in_cursor,
            settled_seq=stored.settled_seq,
            last_in_seq=len(stored.inbox),
            out_first_seq=stored.out_first,
            out_last_seq=stored.out_last,
        )

    async def load_snapshot(self, key: SessionKey) -> Snapshot:
        stored = self._get(key)
        nodes: list[Node] = []
        node_id = stored.leaf_id
        while node_id is not None:
            parent_id, message = stored.nodes[node_id]
            nodes.append(Node(node_id, parent_id, loads(message)))
            node_id = parent_id
        return Snapshot(
            nodes=nodes[::-1],
            in_cursor=stored.in_cursor,
            settled_seq=stored.settled_seq,
            last_in_seq=len(stored.inbox),
            out_first_seq=stored.out_first,
            out_last_seq=stored.out_last,
            state=loads(stored.state),
            branched=len(stored.nodes) > len(nodes),
        )

    async def load_tree(self, key: SessionKey) -> list[Node]:
        nodes = self._get(key).nodes
        return [Node(node_id, parent_id, loads(message)) for node_id, (parent_id, message) in nodes.items()]

    async def count_unserved(self, *, at: float) -> int:
        return sum(stored.has_work() and stored.is_free(at) for stored in self._all().values())

    # --- whole sessions

    async def export_session(self, key: SessionKey) -> AsyncIterator[Sequence[Exported]]:
        for page in take_out(self._get(key)):
            yield page

    async def import_session(self, dump: SessionDump) -> SessionRow:
        check_dump(dump)
        key, parent = dump.head.row.key, dump.head.row.parent
        if self._find(key) is not None:
            raise ConflictError(f"there is a session {key.chat_id!r}")
        stored = self._sessions[key] = put_together(dump, self._epoch_floor)
        if parent is not None:
            self._children.setdefault(SessionKey(key.tenant, parent.chat_id), set()).add(key)
        return stored.row
