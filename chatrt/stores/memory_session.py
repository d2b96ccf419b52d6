"""A session of the memory store: what it holds, and how it changes and is taken out or put in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from chatrt.codec import dumps, loads
from chatrt.errors import UsageError
from chatrt.message_tree import Node
from chatrt.stores.base import (
    BUSY_KINDS,
    Commit,
    Lease,
    NewRecord,
    Parent,
    Record,
    SessionKey,
    SessionRow,
    SessionStatus,
    to_millis,
)
from chatrt.stores.memory_attachments import StoredFiles
from chatrt.stores.metadata import encode_metadata
from chatrt.stores.portable import Exported, ExportedHead, ExportedInput, SessionDump

PAGE = 100


@dataclass(slots=True)
class Segment:
    first_seq: int
    at: int
    records: list[NewRecord]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.records) - 1


@dataclass(slots=True)
class StoredSession:
    """A session. What callers could change under our hands is kept encoded."""

    key: SessionKey
    agent: str
    metadata: bytes
    client_data: bytes
    created_at: float
    updated_at: float
    epoch: int
    parent: Parent | None
    status: SessionStatus = "open"
    closed_reason: str | None = None
    owner: str | None = None
    expires_at: float = 0.0
    deaths: int = 0
    inbox: list[tuple[int, NewRecord]] = field(default_factory=list[tuple[int, NewRecord]])
    parts: dict[str, int] = field(default_factory=dict[str, int])
    segments: list[Segment] = field(default_factory=list[Segment])
    out_last: int = 0
    in_cursor: int = 0
    settled_seq: int = 0
    nodes: dict[str, tuple[str | None, bytes]] = field(default_factory=dict[str, tuple[str | None, bytes]])
    leaf_id: str | None = None
    state: bytes = b"{}"
    files: StoredFiles = field(default_factory=StoredFiles)

    @property
    def row(self) -> SessionRow:
        return SessionRow(
            key=self.key,
            agent=self.agent,
            status=self.status,
            created_at=self.created_at,
            updated_at=self.updated_at,
            metadata=loads(self.metadata),
            client_data=loads(self.client_data),
            closed_reason=self.closed_reason,
            parent=self.parent,
        )

    @property
    def out_first(self) -> int:
        return self.segments[0].first_seq if self.segments else self.out_last + 1

    def is_free(self, at: float) -> bool:
        return self.owner is None or self.expires_at < at

    def deaths_if_taken(self, owner: str) -> int:
        """How many holders have died over what is unsettled, if somebody takes the lease now."""
        died = self.owner is not None and self.owner != owner and self.has_work()
        return self.deaths + died

    def take(self, owner: str, *, ttl: float, at: float) -> Lease:
        self.deaths = self.deaths_if_taken(owner)
        self.owner, self.expires_at = owner, at + ttl
        self.epoch += 1
        return Lease(self.key, owner, self.epoch, self.expires_at, self.deaths)

    def end_lease(self) -> None:
        """Let the lease of a process go that is gone."""
        self.deaths += self.owner is not None and self.has_work()
        self.owner = None

    def is_busy(self) -> bool:
        return any(record.kind in BUSY_KINDS for _, record in self.inbox[self.in_cursor :])

    def is_at_rest(self, at: float) -> bool:
        return self.is_free(at) and not self.has_work()

    def has_work(self) -> bool:
        return len(self.inbox) > self.in_cursor or self.out_last > self.settled_seq


def append_out(stored: StoredSession, records: Sequence[NewRecord], at: float) -> int:
    first_seq = stored.out_last + 1
    if records:
        stored.segments.append(Segment(first_seq, to_millis(at), list(records)))
        stored.out_last += len(records)
    return first_seq


def merge_nodes(stored: StoredSession, commit: Commit) -> dict[str, tuple[str | None, bytes]]:
    """Check a commit and return its nodes as they will be stored."""
    if not stored.in_cursor <= commit.in_cursor <= len(stored.inbox):
        raise UsageError(
            f"a commit moves the .in cursor to {commit.in_cursor}, outside of {stored.in_cursor}..{len(stored.inbox)}"
        )
    nodes: dict[str, tuple[str | None, bytes]] = {}
    for node in commit.nodes:
        known = nodes.get(node.node_id) or stored.nodes.get(node.node_id)
        parent_is_stored = node.parent_id is None or node.parent_id in nodes or node.parent_id in stored.nodes
        if not parent_is_stored or (known is not None and known[0] != node.parent_id):
            raise UsageError("a node names a parent that is not stored before it, or another one than at first")
        nodes[node.node_id] = (node.parent_id, dumps(node.message))
    if commit.leaf_id is not None and commit.leaf_id not in nodes and commit.leaf_id not in stored.nodes:
        raise UsageError(f"the leaf {commit.leaf_id!r} is not a stored node")
    return nodes


def take_out(stored: StoredSession) -> Iterator[list[Exported]]:
    """Yield a session as it is now, in pages; what is read later was made a copy of, but for the bytes."""
    head = ExportedHead(
        row=stored.row,
        in_cursor=stored.in_cursor,
        settled_seq=stored.settled_seq,
        leaf_id=stored.leaf_id,
        state=loads(stored.state),
    )
    nodes, inbox, segments = list(stored.nodes.items()), stored.inbox[: stored.in_cursor], list(stored.segments)
    part_ids = {seq: part_id for part_id, seq in stored.parts.items()}
    pieces: Iterator[Exported] = chain(
        [head],
        (Node(node_id, parent_id, loads(body)) for node_id, (parent_id, body) in nodes),
        (ExportedInput(Record(seq, at, *new), part_ids.get(seq)) for seq, (at, new) in enumerate(inbox, 1)),
        (
            Record(seq, segment.at, record.kind, record.body)
            for segment in segments
            for seq, record in enumerate(segment.records, segment.first_seq)
            if seq <= head.settled_seq
        ),
    )
    while page := list(islice(pieces, PAGE)):
        yield page


def put_together(dump: SessionDump, epoch: int) -> StoredSession:
    """Return the session that a checked dump describes."""
    head, row = dump.head, dump.head.row
    stored = StoredSession(
        key=row.key,
        agent=row.agent,
        metadata=encode_metadata(row.metadata),
        client_data=dumps(row.client_data),
        created_at=row.created_at,
        updated_at=row.updated_at,
        epoch=epoch,
        parent=row.parent,
        status=row.status,
        closed_reason=row.closed_reason,
        out_last=head.settled_seq,
        in_cursor=head.in_cursor,
        settled_seq=head.settled_seq,
        leaf_id=head.leaf_id,
        state=dumps(head.state),
    )
    stored.nodes = {node.node_id: (node.parent_id, dumps(node.message)) for node in dump.nodes}
    stored.inbox = [(one.record.at, NewRecord(one.record.kind, one.record.body)) for one in dump.inputs]
    stored.parts = {one.part_id: one.record.seq for one in dump.inputs if one.part_id is not None}
    stored.segments = [Segment(r.seq, r.at, [NewRecord(r.kind, r.body)]) for r in dump.records]
    return stored
