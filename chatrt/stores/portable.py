"""Taking a session out of a store whole and putting it into another one: what such a store does, in which values.

What is taken out is what is settled: the messages of all branches, the inputs and records up to the last commit, and
the state. What waits or runs is not; it belongs to the worker that has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from chatrt.errors import InvalidInputError, UsageError
from chatrt.message_tree import Node
from chatrt.stores.base import Record, SessionKey, SessionRow, Store

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
