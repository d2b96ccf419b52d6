"""What the SQLite store reads: queries on a connection, and rows made into the values of the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from chatrt.codec import dumps
from chatrt.errors import SessionNotFoundError
from chatrt.stores.base import (
    FORGOTTEN,
    SUSPECT_DEATHS,
    Cursors,
    Node,
    OutPage,
    Recency,
    Record,
    SessionKey,
    SessionRow,
    SessionStatus,
    Snapshot,
    to_millis,
)
from chatrt.stores.rows import decode_segment, load_branch, load_json, session_row
from chatrt.stores.rows import load_tree as rows_to_tree

_ROW = """
SELECT s.tenant, s.chat_id, s.agent, s.status, s.created_at, h.updated_at, s.metadata, s.client_data, s.closed_reason,
    s.parent_id, s.root_id, s.tool_call_id
"""
_SESSION = f"{_ROW} FROM sessions s JOIN heads h ON h.sid = s.sid"

# Of equal times SQLite sorts by chat id, and nothing more: the index gives the order otherwise.
_RECENT = f"{_ROW} FROM heads h {{index}} JOIN sessions s ON s.sid = h.sid"

_HEAD = """
SELECT h.sid, h.out_first, h.out_last FROM sessions s JOIN heads h ON h.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ?
"""

# INDEXED BY makes it an error, not a slow scan, should this condition and the index ever drift apart.
_UNSERVED = """
SELECT s.tenant, s.chat_id
FROM heads h INDEXED BY heads_unserved JOIN leases l ON l.sid = h.sid JOIN sessions s ON s.sid = h.sid
WHERE (h.in_last > h.in_cursor OR h.out_last > h.settled_seq)
    AND (l.owner IS NULL OR l.expires_at < ?1)
    AND (?2 IS NULL OR s.agent IN (SELECT value FROM json_each(?2)))
ORDER BY h.sid LIMIT ?3
"""

# The same, with the deaths that taking the lease would make; suspects, or all others.
_CLAIMABLE = """
SELECT h.sid, s.tenant, s.chat_id, l.deaths + (l.owner IS NOT NULL AND l.owner <> :owner)
FROM heads h INDEXED BY heads_unserved JOIN leases l ON l.sid = h.sid JOIN sessions s ON s.sid = h.sid
WHERE (h.in_last > h.in_cursor OR h.out_last > h.settled_seq)
    AND (l.owner IS NULL OR l.expires_at < :at)
    AND (:agents IS NULL OR s.agent IN (SELECT value FROM json_each(:agents)))
    AND (l.deaths + (l.owner IS NOT NULL AND l.owner <> :owner) >= :suspect_deaths) = :suspects
ORDER BY h.sid LIMIT :limit
"""

_COUNT_UNSERVED = """
SELECT count(*) FROM heads h INDEXED BY heads_unserved JOIN leases l ON l.sid = h.sid
WHERE (h.in_last > h.in_cursor OR h.out_last > h.settled_seq) AND (l.owner IS NULL OR l.expires_at < ?1)
"""

_EXPIRED = f"""
{_SESSION} JOIN leases l ON l.sid = s.sid
WHERE (h.updated_at < :idle_before OR (s.status = 'closed' AND h.updated_at < :closed_before))
    AND h.in_last <= h.in_cursor AND h.out_last <= h.settled_seq AND (l.owner IS NULL OR l.expires_at < :at)
    AND (s.parent_id IS NULL
        OR NOT EXISTS (SELECT 1 FROM sessions p WHERE p.tenant = s.tenant AND p.chat_id = s.parent_id))
ORDER BY h.updated_at, s.sid LIMIT :limit OFFSET :skip
"""  # noqa: S608 - a constant of this file

_READ_IN = """
SELECT i.seq, i.at, i.kind, i.body FROM sessions s JOIN inbox i ON i.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ? AND i.seq > ? ORDER BY i.seq LIMIT ?
"""

# From the segment that holds the first wanted record onwards.
_SEGMENTS = """
SELECT first_seq, count, at, body FROM out_segments
WHERE sid = ?1
    AND first_seq >= coalesce((SELECT max(first_seq) FROM out_segments WHERE sid = ?1 AND first_seq <= ?2), 0)
ORDER BY first_seq
"""

_BRANCH = """
WITH RECURSIVE branch (id, parent_id, depth) AS (
    SELECT rowid, parent_id, 0 FROM nodes WHERE sid = ?1 AND node_id = ?2
    UNION ALL
    SELECT n.rowid, n.parent_id, b.depth + 1 FROM branch b JOIN nodes n ON n.sid = ?1 AND n.node_id = b.parent_id
)
SELECT n.node_id, n.parent_id, n.body FROM branch b JOIN nodes n ON n.rowid = b.id ORDER BY b.depth DESC
"""

# Looked up in the index by node ids, and no further than the branch is long.
_BRANCHED = "SELECT EXISTS (SELECT 1 FROM nodes WHERE sid = ? LIMIT 1 OFFSET ?)"

_TREE = """
SELECT n.node_id, n.parent_id, n.body FROM nodes n JOIN sessions s ON s.sid = n.sid
WHERE s.tenant = ? AND s.chat_id = ? ORDER BY n.rowid
"""

_CURSORS = """
SELECT h.in_cursor, h.settled_seq, h.in_last, h.out_first, h.out_last FROM sessions s JOIN heads h ON h.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ?
"""

_SNAPSHOT_HEAD = """
SELECT h.sid, h.in_cursor, h.settled_seq, h.in_last, h.out_first, h.out_last, st.leaf_id, st.body
FROM sessions s JOIN heads h ON h.sid = s.sid JOIN states st ON st.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ?
"""


def find_session(connection: sqlite3.Connection, key: SessionKey) -> SessionRow | None:
    sql = f"{_SESSION} WHERE s.tenant = ? AND s.chat_id = ?"
    rows = connection.execute(sql, (key.tenant, key.chat_id)).fetchall()
    return session_row(rows[0]) if rows else None


def list_sessions(
    connection: sqlite3.Connection,
    tenant: str,
    *,
    agent: str | None,
    status: SessionStatus | None,
    parent: str | None,
    after: str,
    limit: int,
) -> list[SessionRow]:
    conditions, parameters = ["s.tenant = ?", "s.chat_id > ?"], [tenant, after]
    if agent is not None:
        conditions.append("s.agent = ?")
        parameters.append(agent)
    if status is not None:
        conditions.append("s.status = ?")
        parameters.append(status)
    if parent is not None:
        conditions.append("s.parent_id = ?")
        parameters.append(parent)
    sql = f"{_SESSION} WHERE {' AND '.join(conditions)} ORDER BY s.chat_id LIMIT {limit:d}"
    return [session_row(row) for row in connection.execute(sql, parameters).fetchall()]


def list_recent(
    connection: sqlite3.Connection,
    tenant: str,
    *,
    agent: str | None,
    status: SessionStatus | None,
    parent: str | None,
    after: Recency | None,
    limit: int,
) -> list[SessionRow]:
    conditions, parameters = ["h.tenant = ?"], list[Any]([tenant])
    if agent is not None:
        conditions.append("h.agent = ?")
        parameters.append(agent)
    if status is not None:
        conditions.append("s.status = ?")
        parameters.append(status)
    if parent is not None:
        conditions += ["s.tenant = ?", "s.parent_id = ?"]
        parameters += [tenant, parent]
    if after is not None:
        # The first of the two is what an index can begin at.
        conditions.append("h.updated_at <= ? AND (h.updated_at, s.chat_id) < (?, ?)")
        parameters += [after.updated_at, *after]
    index = "" if parent is not None else f"INDEXED BY heads_recent{'' if agent is None else '_of_agent'}"
    sql = f"{_RECENT.format(index=index)} WHERE {' AND '.join(conditions)}"
    sql += f" ORDER BY h.updated_at DESC, s.chat_id DESC LIMIT {limit:d}"
    return [session_row(row) for row in connection.execute(sql, parameters).fetchall()]


def find_expired(
    connection: sqlite3.Connection,
    *,
    closed_before: float | None,
    idle_before: float | None,
    at: float,
    limit: int,
    skip: int,
) -> list[SessionRow]:
    times = {"closed_before": closed_before, "idle_before": idle_before, "at": at}
    found = connection.execute(_EXPIRED, {**times, "limit": limit, "skip": skip})
    return [session_row(row) for row in found.fetchall()]


def find_unserved(
    connection: sqlite3.Connection, *, at: float, limit: int, agents: Sequence[str] | None
) -> list[SessionKey]:
    served = None if agents is None else dumps(list(agents)).decode()
    return [SessionKey(*row) for row in connection.execute(_UNSERVED, (at, served, limit)).fetchall()]


def find_claimable(
    connection: sqlite3.Connection, *, owner: str, at: float, limit: int, suspects: bool, agents: Sequence[str] | None
) -> list[tuple[int, SessionKey, int]]:
    """Return sessions whose leases may be taken: their inner ids, keys, and deaths when they are."""
    served = None if agents is None else dumps(list(agents)).decode()
    values = {"owner": owner, "at": at, "limit": limit, "agents": served}
    values |= {"suspects": suspects, "suspect_deaths": SUSPECT_DEATHS}
    rows = connection.execute(_CLAIMABLE, values).fetchall()
    return [(sid, SessionKey(tenant, chat_id), deaths) for sid, tenant, chat_id, deaths in rows]


def count_unserved(connection: sqlite3.Connection, *, at: float) -> int:
    return connection.execute(_COUNT_UNSERVED, (at,)).fetchone()[0]


def find_old_inputs(connection: sqlite3.Connection, *, before: float, limit: int) -> list[tuple[int, int]]:
    """Return inner ids and numbers of settled inputs whose bodies are still there."""
    sql = (
        "SELECT n.sid, n.seq FROM inbox n JOIN heads h ON h.sid = n.sid"
        " WHERE n.at < ? AND n.seq <= h.in_cursor AND length(n.body) > ? LIMIT ?"
    )
    return connection.execute(sql, (before, len(FORGOTTEN), limit)).fetchall()


def read_in(connection: sqlite3.Connection, key: SessionKey, *, after: int, limit: int) -> list[Record]:
    rows = connection.execute(_READ_IN, (key.tenant, key.chat_id, after, limit)).fetchall()
    return [Record(seq, to_millis(at), kind, body) for seq, at, kind, body in rows]


def out_ends(connection: sqlite3.Connection, key: SessionKey) -> tuple[int, int]:
    """Return the first record that is kept and the last one.

    Raises:
        SessionNotFoundError: If there is no such session.
    """
    _, first_seq, last_seq = _head(connection, key)
    return first_seq, last_seq


def read_out(connection: sqlite3.Connection, key: SessionKey, *, after: int, limit: int) -> OutPage:
    connection.execute("BEGIN")
    try:
        sid, first_seq, last_seq = _head(connection, key)
        records: list[Record] = []
        cursor = connection.execute(_SEGMENTS, (sid, after + 1))
        for segment_seq, count, at, body in cursor:
            what = f".out of session {key.chat_id!r} from {segment_seq}"
            segment = decode_segment(what, segment_seq, count, at, body)
            records += segment[max(0, after + 1 - segment_seq) :]
            if len(records) >= limit:
                break
        cursor.close()
        return OutPage(records[:limit], first_seq, last_seq)
    finally:
        connection.execute("ROLLBACK")


def read_cursors(connection: sqlite3.Connection, key: SessionKey) -> Cursors:
    rows = connection.execute(_CURSORS, (key.tenant, key.chat_id)).fetchall()
    if not rows:
        raise SessionNotFoundError(key.chat_id)
    return Cursors(*rows[0])


def load_snapshot(connection: sqlite3.Connection, key: SessionKey) -> Snapshot:
    connection.execute("BEGIN")
    try:
        heads = connection.execute(_SNAPSHOT_HEAD, (key.tenant, key.chat_id)).fetchall()
        if not heads:
            raise SessionNotFoundError(key.chat_id)
        sid, in_cursor, settled_seq, last_in_seq, out_first_seq, out_last_seq, leaf_id, state = heads[0]
        branch = connection.execute(_BRANCH, (sid, leaf_id)).fetchall() if leaf_id is not None else []
        branched: int = connection.execute(_BRANCHED, (sid, len(branch))).fetchall()[0][0]
    finally:
        connection.execute("ROLLBACK")
    return Snapshot(
        nodes=load_branch(branch, leaf_id, key),
        in_cursor=in_cursor,
        settled_seq=settled_seq,
        last_in_seq=last_in_seq,
        out_first_seq=out_first_seq,
        out_last_seq=out_last_seq,
        state=load_json(state, key, "its state"),
        branched=bool(branched),
    )


def load_tree(connection: sqlite3.Connection, key: SessionKey) -> list[Node]:
    connection.execute("BEGIN")
    try:
        _head(connection, key)
        rows = connection.execute(_TREE, (key.tenant, key.chat_id)).fetchall()
    finally:
        connection.execute("ROLLBACK")
    return rows_to_tree(rows, key)


def _head(connection: sqlite3.Connection, key: SessionKey) -> tuple[int, int, int]:
    rows = connection.execute(_HEAD, (key.tenant, key.chat_id)).fetchall()
    if not rows:
        raise SessionNotFoundError(key.chat_id)
    return rows[0]
