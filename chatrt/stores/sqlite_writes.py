"""What the SQLite store writes: each function is one request inside the writer's transaction.

Epochs are compared in the transaction that writes. Unless a function says otherwise it writes with one statement, which
SQLite undoes by itself when it fails.
"""

# ruff: noqa: S608 - only constants are put into a statement, every value is bound

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from chatrt import failpoints
from chatrt.codec import dumps, pack
from chatrt.errors import (
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    StaleEpochError,
    UnreadableRecordError,
    UsageError,
)
from chatrt.stores.base import (
    BUSY_KINDS,
    FORGOTTEN,
    SUSPECT_DEATHS,
    Appended,
    Claim,
    Commit,
    Lease,
    NewRecord,
    Parent,
    SessionKey,
    SessionRow,
)
from chatrt.stores.metadata import encode_metadata, merge_patch
from chatrt.stores.sqlite_reads import find_claimable, find_session
from chatrt.stores.sqlite_writer import undone_on_error

logger = logging.getLogger("chatrt.stores")

_SID = "(SELECT sid FROM sessions WHERE tenant = :tenant AND chat_id = :chat_id)"

_CREATE = """
INSERT INTO sessions (tenant, chat_id, agent, created_at, metadata, client_data, parent_id, root_id, tool_call_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, chat_id) DO NOTHING
"""

_BUSY = ", ".join(f"'{kind}'" for kind in BUSY_KINDS)

_APPEND_IN = f"""
INSERT INTO inbox (sid, seq, at, kind, part_id, body)
SELECT s.sid, h.in_last + 1, :at, :kind, :part_id, :body
FROM sessions s JOIN heads h ON h.sid = s.sid
WHERE s.tenant = :tenant AND s.chat_id = :chat_id AND s.status = 'open'
    AND NOT EXISTS (SELECT 1 FROM inbox WHERE sid = s.sid AND part_id = :part_id)
    AND NOT (:only_if_idle
        AND EXISTS (SELECT 1 FROM inbox WHERE sid = s.sid AND seq > h.in_cursor AND kind IN ({_BUSY})))
RETURNING seq
"""

_FIND_PART = f"SELECT seq FROM inbox WHERE sid = {_SID} AND part_id = :part_id"

_APPEND_OUT = """
INSERT INTO out_segments (sid, first_seq, count, at, body)
SELECT h.sid, h.out_last + 1, ?, ?, ?
FROM sessions s JOIN leases l ON l.sid = s.sid JOIN heads h ON h.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ? AND l.epoch = ? AND l.owner = ?
RETURNING first_seq
"""

# What `append_out` does in one statement, in two: a row of values costs half of a row that is selected and returned.
_OUT_LAST = """
SELECT h.sid, h.out_last
FROM sessions s JOIN leases l ON l.sid = s.sid JOIN heads h ON h.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ? AND l.epoch = ? AND l.owner = ?
"""

_PUT_SEGMENT = "INSERT INTO out_segments (sid, first_seq, count, at, body) VALUES (?, ?, ?, ?, ?)"

_HELD = """
SELECT h.sid, h.in_last, h.in_cursor, h.out_last, h.settled_seq, l.deaths
FROM sessions s JOIN leases l ON l.sid = s.sid JOIN heads h ON h.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ? AND l.epoch = ? AND l.owner = ?
"""

_HAS_WORK = (
    "EXISTS (SELECT 1 FROM heads h WHERE h.sid = leases.sid AND (in_last > in_cursor OR out_last > settled_seq))"
)
_DEATHS = f"deaths + (owner IS NOT NULL AND owner <> :owner AND {_HAS_WORK})"

_ACQUIRE = f"""
UPDATE leases SET deaths = {_DEATHS}, owner = :owner, epoch = epoch + 1, expires_at = :expires_at
WHERE sid = {_SID} AND (owner IS NULL OR owner = :owner OR expires_at < :at)
    AND (:suspects OR owner = :owner OR {_DEATHS} < {SUSPECT_DEATHS})
RETURNING epoch, deaths
"""

_CLAIM = """
UPDATE leases SET deaths = :deaths, owner = :owner, epoch = epoch + 1, expires_at = :expires_at WHERE sid = :sid
RETURNING epoch
"""

_END_LEASES = f"UPDATE leases SET deaths = deaths + {_HAS_WORK}, owner = NULL WHERE owner IS NOT NULL"

_RENEW = f"UPDATE leases SET expires_at = :expires_at WHERE sid = {_SID} AND epoch = :epoch AND owner = :owner"

_RELEASE = f"""
UPDATE leases SET owner = NULL
WHERE sid = {_SID} AND epoch = :epoch AND owner = :owner
    AND (SELECT in_last FROM heads WHERE heads.sid = leases.sid) <= :in_cursor
"""

# A node is written when it is a root, or its parent is there; a known node never gets another parent.
_PUT_NODE = """
INSERT INTO nodes (sid, node_id, parent_id, message_id, role, body)
SELECT ?1, ?2, ?3, ?4, ?5, ?6
WHERE ?3 IS NULL OR EXISTS (SELECT 1 FROM nodes WHERE sid = ?1 AND node_id = ?3)
ON CONFLICT (sid, node_id) DO UPDATE SET message_id = excluded.message_id, role = excluded.role, body = excluded.body
    WHERE nodes.parent_id IS excluded.parent_id
"""

_PUT_STATE = """
UPDATE states SET leaf_id = ?2, body = ?3
WHERE sid = ?1 AND (?2 IS NULL OR EXISTS (SELECT 1 FROM nodes WHERE sid = ?1 AND node_id = ?2))
"""

_SETTLE = """
UPDATE heads SET in_cursor = ?2, settled_seq = ?3, updated_at = ?4,
    out_first = coalesce((SELECT min(first_seq) FROM out_segments WHERE sid = ?1), out_last + 1)
WHERE sid = ?1
"""


def _rows(connection: sqlite3.Connection, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    # fetchall ends the statement; one that is only begun would keep the transaction from committing
    return connection.execute(sql, parameters).fetchall()


def _named(key: SessionKey, **parameters: Any) -> dict[str, Any]:
    return {"tenant": key.tenant, "chat_id": key.chat_id, **parameters}


def _require_session(connection: sqlite3.Connection, key: SessionKey) -> SessionRow:
    row = find_session(connection, key)
    if row is None:
        raise SessionNotFoundError(key.chat_id)
    return row


def create_session(
    connection: sqlite3.Connection,
    key: SessionKey,
    *,
    agent: str,
    metadata: bytes,
    client_data: bytes,
    at: float,
    parent: Parent | None,
) -> tuple[SessionRow, bool]:
    origin = (None, None, None) if parent is None else (parent.chat_id, parent.root_id, parent.tool_call_id)
    parameters = (key.tenant, key.chat_id, agent, at, metadata, client_data, *origin)
    created = connection.execute(_CREATE, parameters).rowcount > 0
    return _require_session(connection, key), created


def close_session(connection: sqlite3.Connection, key: SessionKey, reason: str | None, at: float) -> SessionRow:
    """Two statements, of which only the first changes what others rely on."""
    sql = f"UPDATE sessions SET status = 'closed', closed_reason = :reason WHERE sid = {_SID} AND status = 'open'"
    if connection.execute(sql, _named(key, reason=reason)).rowcount:
        connection.execute(f"UPDATE heads SET updated_at = :at WHERE sid = {_SID}", _named(key, at=at))
    return _require_session(connection, key)


def update_session(connection: sqlite3.Connection, key: SessionKey, patch: dict[str, Any], at: float) -> SessionRow:
    """Two statements, of which only the first changes what others rely on; what can fail comes before."""
    metadata = encode_metadata(merge_patch(_require_session(connection, key).metadata, patch))
    connection.execute(f"UPDATE sessions SET metadata = :metadata WHERE sid = {_SID}", _named(key, metadata=metadata))
    connection.execute(f"UPDATE heads SET updated_at = :at WHERE sid = {_SID}", _named(key, at=at))
    return _require_session(connection, key)


def delete_session(connection: sqlite3.Connection, key: SessionKey) -> bool:
    return connection.execute(f"DELETE FROM sessions WHERE sid = {_SID}", _named(key)).rowcount > 0


def delete_expired(connection: sqlite3.Connection, key: SessionKey, before: float, at: float) -> bool:
    sql = (
        f"DELETE FROM sessions WHERE sid = {_SID} AND sid IN (SELECT h.sid FROM heads h JOIN leases l ON l.sid = h.sid"
        " WHERE h.updated_at < :before AND h.in_last <= h.in_cursor AND h.out_last <= h.settled_seq"
        " AND (l.owner IS NULL OR l.expires_at < :at))"
    )
    return connection.execute(sql, _named(key, before=before, at=at)).rowcount > 0


def forget_inputs(connection: sqlite3.Connection, old: Sequence[tuple[int, int]]) -> int:
    sql = "UPDATE inbox SET body = ? WHERE sid = ? AND seq = ?"
    return connection.executemany(sql, [(FORGOTTEN, sid, seq) for sid, seq in old]).rowcount


def append_in(
    connection: sqlite3.Connection,
    *,
    key: SessionKey,
    record: NewRecord,
    part_id: str | None,
    at: float,
    only_if_idle: bool,
) -> Appended:
    parameters = _named(key, kind=record.kind, body=record.body, part_id=part_id, at=at, only_if_idle=only_if_idle)
    rows = _rows(connection, _APPEND_IN, parameters)
    if rows:
        return Appended(rows[0][0], repeated=False)
    session = _require_session(connection, key)
    rows = _rows(connection, _FIND_PART, _named(key, part_id=part_id))
    if rows:
        return Appended(rows[0][0], repeated=True)
    raise SessionClosedError(key.chat_id) if session.status == "closed" else SessionBusyError(key.chat_id)


def acquire_lease(
    connection: sqlite3.Connection, key: SessionKey, owner: str, expires_at: float, at: float, *, suspects: bool
) -> Lease | None:
    parameters = _named(key, owner=owner, expires_at=expires_at, at=at, suspects=suspects)
    rows = _rows(connection, _ACQUIRE, parameters)
    if rows:
        epoch, deaths = rows[0]
        return Lease(key, owner, epoch, expires_at, deaths)
    _require_session(connection, key)
    return None


def claim_leases(
    connection: sqlite3.Connection,
    *,
    owner: str,
    expires_at: float,
    at: float,
    limit: int,
    suspects: int,
    agents: Sequence[str] | None,
    avoid: Collection[SessionKey],
) -> list[Claim]:
    """Several statements, undone together."""
    claims: list[Claim] = []
    find = partial(find_claimable, connection, owner=owner, at=at, agents=agents)
    with undone_on_error(connection):
        for wanted, suspect in ((limit, False), (suspects, True)):
            found = find(limit=wanted + len(avoid), suspects=suspect) if wanted > 0 else []
            for sid, key, deaths in [one for one in found if one[1] not in avoid][:wanted]:
                try:
                    row = _require_session(connection, key)
                except UnreadableRecordError:
                    logger.exception("a session is not served")  # nor does it keep the others from being served
                    continue
                parameters = {"sid": sid, "deaths": deaths, "owner": owner, "expires_at": expires_at}
                epoch: int = _rows(connection, _CLAIM, parameters)[0][0]
                claims.append(Claim(Lease(key, owner, epoch, expires_at, deaths), row))
    return claims


def end_leases(connection: sqlite3.Connection) -> None:
    """Give every lease back, when a file is opened: the lock on it proves that no holder lives."""
    connection.execute(_END_LEASES)


def renew_leases(connection: sqlite3.Connection, leases: Sequence[Lease], expires_at: float) -> list[Lease]:
    """One statement for each lease; none of them can be refused."""
    return [
        lease
        for lease in leases
        if not connection.execute(
            _RENEW, _named(lease.key, epoch=lease.epoch, owner=lease.owner, expires_at=expires_at)
        ).rowcount
    ]


def release_lease(connection: sqlite3.Connection, lease: Lease, in_cursor: int) -> bool:
    parameters = _named(lease.key, epoch=lease.epoch, owner=lease.owner, in_cursor=in_cursor)
    if connection.execute(_RELEASE, parameters).rowcount:
        return True
    _held_head(connection, lease)
    return False


@dataclass(frozen=True, slots=True)
class _Head:
    sid: int
    in_last: int
    in_cursor: int
    out_last: int
    settled_seq: int
    deaths: int


def _held_head(connection: sqlite3.Connection, lease: Lease) -> _Head:
    rows = _rows(connection, _HELD, (lease.key.tenant, lease.key.chat_id, lease.epoch, lease.owner))
    if not rows:
        raise StaleEpochError(lease.key.chat_id, lease.epoch)
    return _Head(*rows[0])


@dataclass(frozen=True, slots=True)
class Segment:
    """Records of one append, encoded as they are stored."""

    count: int
    body: bytes

    @classmethod
    def encode(cls, records: Sequence[NewRecord]) -> Segment:
        return cls(len(records), pack(list(records)))


def append_out(connection: sqlite3.Connection, lease: Lease, segment: Segment, at: float) -> int:
    if not segment.count:
        return _held_head(connection, lease).out_last + 1
    key = lease.key
    parameters = (segment.count, at, segment.body, key.tenant, key.chat_id, lease.epoch, lease.owner)
    rows = _rows(connection, _APPEND_OUT, parameters)
    if not rows:
        raise StaleEpochError(key.chat_id, lease.epoch)
    return rows[0][0]


def append_out_groups(
    connection: sqlite3.Connection, groups: Sequence[tuple[Lease, Segment]], at: float
) -> list[int | StaleEpochError]:
    """Look up every lease, then write all groups that hold theirs; the writer's transaction keeps anybody from between.

    A group that is refused has written nothing, and a failure in the middle ends the transaction.
    """
    find = connection.cursor().execute
    first_seqs: list[int | StaleEpochError] = []
    next_seqs: dict[int, int] = {}
    rows: list[tuple[int, int, int, float, bytes]] = []
    for lease, segment in groups:
        key = lease.key
        found: list[tuple[int, int]] = find(_OUT_LAST, (key.tenant, key.chat_id, lease.epoch, lease.owner)).fetchall()
        if not found:
            first_seqs.append(StaleEpochError(key.chat_id, lease.epoch))
            continue
        sid, out_last = found[0]
        first_seq = next_seqs.get(sid, out_last + 1)
        next_seqs[sid] = first_seq + segment.count
        first_seqs.append(first_seq)
        if segment.count:
            rows.append((sid, first_seq, segment.count, at, segment.body))
    connection.executemany(_PUT_SEGMENT, rows)
    return first_seqs


@dataclass(frozen=True, slots=True)
class EncodedCommit:
    """A commit in the form it is stored in.

    Encoded by the caller at once: a message may be a live value that changes while the writer is busy.
    """

    segment: Segment
    nodes: list[tuple[str, str | None, str, str, bytes]]
    leaf_id: str | None
    in_cursor: int
    state: bytes
    trim_to: int

    @classmethod
    def encode(cls, commit: Commit) -> EncodedCommit:
        nodes = [
            (node.node_id, node.parent_id, node.message["id"], node.message["role"], dumps(node.message))
            for node in commit.nodes
        ]
        segment = Segment.encode(commit.records)
        return cls(segment, nodes, commit.leaf_id, commit.in_cursor, dumps(commit.state), commit.trim_to)


def commit_turn(connection: sqlite3.Connection, lease: Lease, commit: EncodedCommit, at: float) -> int:
    """Several statements, undone together."""
    with undone_on_error(connection):
        head = _held_head(connection, lease)
        if not head.in_cursor <= commit.in_cursor <= head.in_last:
            raise UsageError(
                f"a commit moves the .in cursor to {commit.in_cursor}, outside of {head.in_cursor}..{head.in_last}"
            )
        first_seq = append_out(connection, lease, commit.segment, at)
        settled_seq = first_seq + commit.segment.count - 1 if commit.segment.count else head.settled_seq
        _put_nodes(connection, head.sid, commit)
        if commit.trim_to:
            failpoints.reach("trim.pre")
            connection.execute(
                "DELETE FROM out_segments WHERE sid = ?1 AND first_seq <= ?2 AND first_seq + count - 1 <= ?2",
                (head.sid, commit.trim_to),
            )
            failpoints.reach("trim.done")
        connection.execute(_SETTLE, (head.sid, commit.in_cursor, settled_seq, at))
        if head.deaths and commit.in_cursor > head.in_cursor:
            connection.execute("UPDATE leases SET deaths = 0 WHERE sid = ?", (head.sid,))
    return first_seq


def _put_nodes(connection: sqlite3.Connection, sid: int, commit: EncodedCommit) -> None:
    if commit.nodes:
        written = connection.executemany(_PUT_NODE, [(sid, *node) for node in commit.nodes]).rowcount
        if written != len(commit.nodes):
            raise UsageError("a node names a parent that is not stored before it, or another one than at first")
    if not connection.execute(_PUT_STATE, (sid, commit.leaf_id, commit.state)).rowcount:
        raise UsageError(f"the leaf {commit.leaf_id!r} is not a stored node")
