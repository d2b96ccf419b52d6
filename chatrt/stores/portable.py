"""Taking a session out of a store whole and putting it into another one: what such a store does, in which values.

What is taken out is what is settled: the messages of all branches, the inputs and records up to the last commit, and
the state. What waits or runs is not; it belongs to the worker that has it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from chatrt.codec import dumps, pack
from chatrt.errors import InvalidInputError, UsageError
from chatrt.message_tree import Node
from chatrt.stores.base import Record, SessionKey, SessionRow, Store
from chatrt.stores.metadata import encode_metadata

SEGMENT_RECORDS = 1000
"""The most records that are put in as one piece; readers decode whole pieces."""

PAGE_BYTES = 256 * 1024
"""About how much of a session is held at once while it is taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedHead:
    """What is known of a session beside its messages, inputs and records.

    Attributes:
        row: Its row.
        in_cursor: The last settled input.
        settled_seq: The record that settled it.
        leaf_id: The node the active branch ends with.
        state: The runtime's own state.
    """

    row: SessionRow
    in_cursor: int
    settled_seq: int
    leaf_id: str | None
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExportedInput:
    """A settled input, and the name under which it was appended, if it has one."""

    record: Record
    part_id: str | None


Exported = ExportedHead | Node | ExportedInput | Record
"""A head comes first and once, then nodes as they were made, inputs and records of `.out` by their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDump:
    """A whole session, as it is put into a store."""

    head: ExportedHead
    nodes: Sequence[Node]
    inputs: Sequence[ExportedInput]
    records: Sequence[Record]


class PortableStore(Protocol):
    """A store that sessions can be taken out of and put into."""

    def export_session(self, key: SessionKey) -> AsyncIterator[Sequence[Exported]]:
        """Yield everything that is settled of a session, as it was in one moment, a little at a time.

        Writers go on meanwhile. Who stops early closes the iterator.

        Raises:
            SessionNotFoundError: If there is no such session.
            UnreadableRecordError: If something stored cannot be read.
        """
        ...

    async def import_session(self, dump: SessionDump) -> SessionRow:
        """Put a session into the store as if it had always been there, in one transaction.

        Nobody holds it, nothing waits in it, and what comes next has the next numbers.

        Raises:
            ConflictError: If there is one of that key; it stays as it is.
            InvalidInputError: If the dump contradicts itself; see `check_dump`.
        """
        ...


def as_portable(store: Store) -> PortableStore:
    """Return the store as one that sessions can be taken out of.

    Raises:
        UsageError: If it is none.
    """
    if not callable(getattr(store, "export_session", None)):
        raise UsageError(f"no session can be taken out of a {type(store).__name__}")
    return cast("PortableStore", store)


def check_dump(dump: SessionDump) -> None:
    """Make sure that a dump holds together.

    Raises:
        InvalidInputError: If a node stands before its parent or twice, the leaf is none of them, or inputs or records
            are missing.
    """
    known: set[str] = set()
    for node in dump.nodes:
        if node.node_id in known or (node.parent_id is not None and node.parent_id not in known):
            raise InvalidInputError(f"the message {node.node_id!r} comes twice, or before the one it follows")
        known.add(node.node_id)
    head = dump.head
    if head.leaf_id is not None and head.leaf_id not in known:
        raise InvalidInputError(f"the last message, {head.leaf_id!r}, is missing")
    if [one.record.seq for one in dump.inputs] != list(range(1, head.in_cursor + 1)):
        raise InvalidInputError(f"the inputs are not those from 1 to {head.in_cursor}")
    named = [one.part_id for one in dump.inputs if one.part_id is not None]
    if len(set(named)) != len(named):
        raise InvalidInputError("two inputs have the same name")
    kept = [record.seq for record in dump.records]
    if kept != list(range(head.settled_seq - len(kept) + 1, head.settled_seq + 1)) or (kept and kept[0] < 1):
        raise InvalidInputError(f"the records are not the last ones up to {head.settled_seq}")


@dataclass(frozen=True, slots=True)
class EncodedDump:
    """A dump as databases take it: rows of values, in the order of the columns.

    Attributes:
        key: Of the session.
        session: Tenant, chat id, agent, whether it is closed, why, created at, updated at, metadata, client data, then
            the chat id, the root id and the tool call id of where it comes from.
        updated_at: The time of its last update.
        nodes: Node id, parent id, message id, role, body.
        inputs: Number, time, kind, part id, body.
        segments: First number, how many, time, msgpack of `[[kind, body], ...]`.
        in_cursor: The last input.
        out_first: The first record that is kept, or the next one.
        settled_seq: The last record.
        leaf_id: The node the active branch ends with.
        state: The runtime's own state.
    """

    key: SessionKey
    session: tuple[Any, ...]
    updated_at: float
    nodes: list[tuple[Any, ...]]
    inputs: list[tuple[Any, ...]]
    segments: list[tuple[Any, ...]]
    in_cursor: int
    out_first: int
    settled_seq: int
    leaf_id: str | None
    state: bytes

    @classmethod
    def encode(cls, dump: SessionDump) -> EncodedDump:
        """Check a dump and encode it.

        Raises:
            InvalidInputError: If it contradicts itself.
            TooLargeError: If its metadata are too large.
        """
        check_dump(dump)
        row, head = dump.head.row, dump.head
        return cls(
            key=row.key,
            session=_session_values(row),
            updated_at=row.updated_at,
            nodes=[(n.node_id, n.parent_id, n.message["id"], n.message["role"], dumps(n.message)) for n in dump.nodes],
            inputs=[(r.record.seq, r.record.at / 1000, r.record.kind, r.part_id, r.record.body) for r in dump.inputs],
            segments=list(_segments(dump.records)),
            in_cursor=head.in_cursor,
            out_first=dump.records[0].seq if dump.records else head.settled_seq + 1,
            settled_seq=head.settled_seq,
            leaf_id=head.leaf_id,
            state=dumps(head.state),
        )


def _session_values(row: SessionRow) -> tuple[Any, ...]:
    origin = (None, None, None)
    if row.parent is not None:
        origin = (row.parent.chat_id, row.parent.root_id, row.parent.tool_call_id)
    closed = row.status == "closed"
    said = (encode_metadata(row.metadata), dumps(row.client_data))
    times = (row.created_at, row.updated_at)
    return (row.key.tenant, row.key.chat_id, row.agent, closed, row.closed_reason, *times, *said, *origin)


def _segments(records: Sequence[Record]) -> Iterator[tuple[int, int, float, bytes]]:
    for at, together in itertools.groupby(records, lambda record: record.at):
        same = list(together)
        for start in range(0, len(same), SEGMENT_RECORDS):
            piece = same[start : start + SEGMENT_RECORDS]
            yield piece[0].seq, len(piece), at / 1000, pack([(record.kind, record.body) for record in piece])
