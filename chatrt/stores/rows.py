"""Rows of a database made into the values of the store contract; what cannot be read is told by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatrt.codec import loads, unpack
from chatrt.errors import UnreadableRecordError
from chatrt.stores.attachments import Attachment
from chatrt.stores.base import Node, Parent, Record, SessionKey, SessionRow, to_millis


def session_row(row: Sequence[Any]) -> SessionRow:
    """Make a row of: tenant, chat id, agent, status, created at, updated at, metadata, client data, closed reason, then
    the chat id, the root id and the tool call id of where it comes from.

    Raises:
        UnreadableRecordError: If its JSON is none.
    """
    tenant, chat_id, agent, status, created_at, updated_at, metadata, client_data, closed_reason, *origin = row
    key = SessionKey(tenant, chat_id)
    parent_id, root_id, tool_call_id = origin
    return SessionRow(
        key=key,
        agent=agent,
        status=status,
        created_at=created_at,
        updated_at=updated_at,
        metadata=load_json(metadata, key, "its metadata"),
        client_data=load_json(client_data, key, "its client data"),
        closed_reason=closed_reason,
        parent=None if parent_id is None else Parent(chat_id=parent_id, root_id=root_id, tool_call_id=tool_call_id),
    )


def decode_segment(what: str, first_seq: int, count: int, at: float, body: bytes) -> list[Record]:
    """Read the records of one append.

    Args:
        what: Names it, for people.
        first_seq: The number of its first record.
        count: How many there have to be.
        at: When they were appended, in seconds since 1970.
        body: msgpack of `[[kind, body], ...]`.

    Raises:
        UnreadableRecordError: If it is anything else.
    """
    try:
        pairs: list[tuple[str, bytes]] = unpack(body)
        if len(pairs) != count:
            raise UnreadableRecordError(what, f"{len(pairs)} records stand where {count} should")
        millis = to_millis(at)
        return [Record(seq, millis, kind, data) for seq, (kind, data) in enumerate(pairs, first_seq)]
    except (UnreadableRecordError, TypeError, ValueError) as error:
        raise UnreadableRecordError(what, str(error)) from None


def load_json(body: bytes, key: SessionKey, what: str) -> Any:
    """Read stored JSON.

    Raises:
        UnreadableRecordError: If it is none.
    """
    try:
        return loads(body)
    except UnreadableRecordError as error:
        raise UnreadableRecordError(f"session {key.chat_id!r}, {what}", str(error)) from None


def load_branch(rows: Sequence[Sequence[Any]], leaf_id: str | None, key: SessionKey) -> list[Node]:
    """Make nodes of the rows of a branch: node id, parent id and body, from the first message to the leaf.

    Raises:
        UnreadableRecordError: If one is missing, or cannot be read.
    """
    if leaf_id is not None and (not rows or rows[0][1] is not None):
        missing = rows[0][1] if rows else leaf_id
        raise UnreadableRecordError(f"the messages of session {key.chat_id!r}", f"node {missing!r} is missing")
    return [to_node(row, key) for row in rows]


def load_tree(rows: Sequence[Sequence[Any]], key: SessionKey) -> list[Node]:
    """Make nodes of the rows of all branches: node id, parent id and body, in order of creation.

    Raises:
        UnreadableRecordError: If one is missing, or cannot be read.
    """
    seen: set[str | None] = {None}
    for node_id, parent_id, _ in rows:
        if parent_id not in seen:
            raise UnreadableRecordError(f"the messages of session {key.chat_id!r}", f"node {parent_id!r} is missing")
        seen.add(node_id)
    return [to_node(row, key) for row in rows]


def to_node(row: Sequence[Any], key: SessionKey) -> Node:
    """Make a node of a row: node id, parent id and body.

    Raises:
        UnreadableRecordError: If it cannot be read.
    """
    node_id, parent_id, body = row
    return Node(node_id, parent_id, load_json(body, key, f"node {node_id}"))


def attachment_row(row: Sequence[Any]) -> Attachment:
    """Make a file of: id, media type, name, size, sha256, status, created at, expires at, whether it is in a bucket."""
    attachment_id, media_type, filename, size, sha256, status, created_at, expires_at, in_bucket = row
    return Attachment(
        id=attachment_id,
        media_type=media_type,
        filename=filename,
        size=size,
        sha256=sha256,
        status=status,
        created_at=created_at,
        expires_at=expires_at,
        in_bucket=bool(in_bucket),
    )
