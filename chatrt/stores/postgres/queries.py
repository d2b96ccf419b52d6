"""The statements of the PostgreSQL store: calls of the schema's functions, and what is read."""

from __future__ import annotations


def _call(function: str, arguments: int) -> str:
    places = ", ".join(f"${number}" for number in range(1, arguments + 1))
    return f"SELECT * FROM chatrt.{function}({places})"  # noqa: S608 - both are constants of this file


CREATE = _call("create_session_1", 9)
CLOSE = _call("close_session_1", 5)
DELETE = _call("delete_session_1", 3)
RENEW = _call("renew_leases_1", 5)
RELEASE = _call("release_lease_1", 6)
APPEND_OUT = _call("append_out_1", 8)
COMMIT = _call("commit_1", 17)
TELL = _call("tell_1", 2)

UPDATE = _call("update_session_2", 6)
IMPORT = _call("import_session_2", 31)

APPEND_IN = _call("append_in_3", 10)
ACQUIRE = _call("acquire_lease_3", 6)

_SESSION = """
SELECT s.tenant, s.chat_id, s.agent, CASE WHEN h.closed THEN 'closed' ELSE 'open' END, s.created_at, h.updated_at,
    s.metadata, s.client_data, s.closed_reason, s.parent_id, s.root_id, s.tool_call_id
FROM chatrt.sessions s JOIN chatrt.heads h USING (sid)
"""
FIND = f"{_SESSION} WHERE s.tenant = $1 AND s.chat_id = $2"

CLAIM = f"""
WITH claimed AS MATERIALIZED ({_call("claim_leases_3", 9)})
SELECT c.new_epoch, c.new_deaths, i.* FROM claimed c, LATERAL ({_SESSION} WHERE s.sid = c.claimed_sid) i
ORDER BY c.claimed_sid
"""  # noqa: S608 - constants of this file

_LISTED = """
WHERE s.tenant = $1 AND s.chat_id > $2 AND ($3::text IS NULL OR s.agent = $3)
    AND ($4::boolean IS NULL OR h.closed = $4)
"""
_PAGE = "ORDER BY s.chat_id LIMIT $5"
LIST = f"{_SESSION} {_LISTED} {_PAGE}"
LIST_CHILDREN = f"{_SESSION} {_LISTED} AND s.parent_id = $6 {_PAGE}"


def recent(*, behind: bool, agent: bool, parent: bool) -> str:
    """Return the statement that lists sessions by their last update, read from an index where no parent is named.

    Its arguments are the tenant, whether closed, how many, then the two of the place to begin behind, the agent and the
    parent, as far as they are asked for.
    """
    conditions, places = ["r.tenant = $1", "($2::boolean IS NULL OR h.closed = $2)"], iter(range(4, 8))
    if behind:
        conditions.append(f"(r.updated_at, r.chat_id) < (${next(places)}::float8, ${next(places)}::text)")
    if agent:
        conditions.append(f"r.agent = ${next(places)}")
    if parent:
        conditions.append(f"s.tenant = $1 AND s.parent_id = ${next(places)}")
    order = "ORDER BY r.updated_at DESC, r.chat_id DESC LIMIT $3"
    return f"{_SESSION} JOIN chatrt.recent r USING (sid) WHERE {' AND '.join(conditions)} {order}"


EXPORT_NODES = "SELECT node_id, parent_id, body FROM chatrt.nodes WHERE sid = $1 ORDER BY made"
EXPORT_INPUTS = "SELECT seq, at, kind, body, part_id FROM chatrt.inbox WHERE sid = $1 AND seq <= $2 ORDER BY seq"
EXPORT_SEGMENTS = """
SELECT first_seq, count, at, body FROM chatrt.out_segments WHERE sid = $1 AND first_seq <= $2 ORDER BY first_seq
"""
_AT_REST = """h.in_last <= h.in_cursor AND h.out_last <= h.settled_seq AND (h.owner IS NULL OR h.expires_at < $3)"""
EXPIRED = f"""
{_SESSION}
WHERE (h.updated_at < $1 OR (h.closed AND h.updated_at < $2)) AND {_AT_REST}
    AND (s.parent_id IS NULL
        OR NOT EXISTS (SELECT 1 FROM chatrt.sessions p WHERE p.tenant = s.tenant AND p.chat_id = s.parent_id))
ORDER BY h.updated_at, s.sid LIMIT $4 OFFSET $5
"""  # noqa: S608 - constants of this file
# Whoever waits for the lock looks again once it is there: at a row that an input has moved meanwhile it finds nothing.
DELETE_EXPIRED = f"""
WITH due AS MATERIALIZED (
    SELECT s.tenant, s.chat_id FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
    WHERE s.tenant = $1 AND s.chat_id = $2 AND {_AT_REST} AND h.updated_at < $4
    FOR UPDATE OF h
)
SELECT chatrt.delete_session_1(tenant, chat_id, $5) FROM due
"""  # noqa: S608 - constants of this file

READ_IN = """
SELECT i.seq, i.at, i.kind, i.body FROM chatrt.inbox i
WHERE i.sid = (SELECT sid FROM chatrt.sessions WHERE tenant = $1 AND chat_id = $2) AND i.seq > $3
ORDER BY i.seq LIMIT $4
"""

UNSERVED = """
SELECT s.tenant, s.chat_id
FROM chatrt.work w JOIN chatrt.heads h USING (sid) JOIN chatrt.sessions s USING (sid)
WHERE (h.in_last > h.in_cursor OR h.out_last > h.settled_seq)
    AND (h.owner IS NULL OR h.expires_at < $1) AND ($2::text[] IS NULL OR s.agent = ANY ($2))
ORDER BY w.sid LIMIT $3
"""

COUNT_UNSERVED = """
SELECT count(*) FROM chatrt.work w JOIN chatrt.heads h USING (sid)
WHERE (h.in_last > h.in_cursor OR h.out_last > h.settled_seq) AND (h.owner IS NULL OR h.expires_at < $1)
"""

READ_OUT = """
SELECT r.place, h.out_first, h.out_last, o.first_seq, o.count, o.at, o.body
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
        WITH ORDINALITY AS r (tenant, chat_id, cursor, amount, place)
    JOIN chatrt.sessions s ON s.tenant = r.tenant AND s.chat_id = r.chat_id
    JOIN chatrt.heads h USING (sid)
    LEFT JOIN LATERAL chatrt.read_segments_1(h.sid, r.cursor, r.amount) o ON true
ORDER BY r.place, o.first_seq
"""

OLD_INPUTS = """
SELECT n.sid, n.seq FROM chatrt.inbox n JOIN chatrt.heads h USING (sid)
WHERE n.at < $1 AND n.seq <= h.in_cursor AND octet_length(n.body) > octet_length($2::bytea) LIMIT $3
"""

# What another process is emptying is left to it: two that wait for one another would both fail.
FORGET_INPUTS = """
WITH old AS (
    SELECT n.sid, n.seq FROM chatrt.inbox n JOIN unnest($1::bigint[], $2::bigint[]) AS o (sid, seq) USING (sid, seq)
    FOR NO KEY UPDATE OF n SKIP LOCKED
), forgotten AS (
    UPDATE chatrt.inbox n SET body = $3 FROM old WHERE n.sid = old.sid AND n.seq = old.seq RETURNING 1
)
SELECT count(*) FROM forgotten
"""

CURSORS = """
SELECT h.in_cursor, h.settled_seq, h.in_last, h.out_first, h.out_last
FROM chatrt.sessions s JOIN chatrt.heads h USING (sid) WHERE s.tenant = $1 AND s.chat_id = $2
"""

SNAPSHOT_HEAD = """
SELECT h.sid, h.in_cursor, h.settled_seq, h.in_last, h.out_first, h.out_last, st.leaf_id, st.body
FROM chatrt.sessions s JOIN chatrt.heads h USING (sid) JOIN chatrt.states st USING (sid)
WHERE s.tenant = $1 AND s.chat_id = $2
"""

BRANCH = """
WITH RECURSIVE branch (node_id, parent_id, body, depth) AS (
    SELECT node_id, parent_id, body, 0 FROM chatrt.nodes WHERE sid = $1 AND node_id = $2
    UNION ALL
    SELECT n.node_id, n.parent_id, n.body, b.depth + 1
    FROM branch b JOIN chatrt.nodes n ON n.sid = $1 AND n.node_id = b.parent_id
)
SELECT node_id, parent_id, body FROM branch ORDER BY depth DESC
"""

BRANCHED = "SELECT EXISTS (SELECT 1 FROM chatrt.nodes WHERE sid = $1 LIMIT 1 OFFSET $2)"

TREE = """
SELECT n.node_id, n.parent_id, n.body FROM chatrt.nodes n
WHERE n.sid = (SELECT sid FROM chatrt.sessions WHERE tenant = $1 AND chat_id = $2) ORDER BY n.made
"""
