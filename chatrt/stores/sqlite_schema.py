"""The tables of the SQLite store, and how a file gets them.

Rows that change often (`heads`, `leases`) are small and stand apart from wide ones. Inside, a session is an integer
(`sid`, never used twice); outside, it is its tenant and chat id, and every look-up begins with the tenant.

Triggers keep what belongs together together, so that an append is one statement: inserting a session makes its small
rows, inserting a record moves the head, deleting a session takes everything of it along.
"""

from __future__ import annotations

import sqlite3

from chatrt import failpoints
from chatrt.errors import UnreadableRecordError

APPLICATION_ID = 0x63687274  # "chrt"
VERSION = 5

_FILES = """
CREATE TABLE attachments (
    aid INTEGER PRIMARY KEY AUTOINCREMENT,
    sid INTEGER NOT NULL,
    id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    filename TEXT,
    size INTEGER NOT NULL,
    sha256 TEXT,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    in_bucket INTEGER NOT NULL,
    UNIQUE (sid, id)
);

-- The bytes of a file in pieces of one size, the last of which may be smaller.
CREATE TABLE attachment_pieces (
    aid INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (aid, idx)
);

CREATE TRIGGER attachments_deleted AFTER DELETE ON attachments BEGIN
    DELETE FROM attachment_pieces WHERE aid = OLD.aid;
END;

CREATE TRIGGER sessions_deleted_with_files AFTER DELETE ON sessions BEGIN
    DELETE FROM attachments WHERE sid = OLD.sid;
END;
"""

_SCHEMA = """
CREATE TABLE sessions (
    sid INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    chat_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'open',
    closed_reason TEXT,
    created_at REAL NOT NULL,
    metadata BLOB NOT NULL,
    client_data BLOB NOT NULL,
    parent_id TEXT,
    root_id TEXT,
    tool_call_id TEXT,
    UNIQUE (tenant, chat_id)
);

CREATE INDEX sessions_of_parent ON sessions (tenant, parent_id, chat_id) WHERE parent_id IS NOT NULL;

CREATE TABLE heads (
    sid INTEGER PRIMARY KEY,
    in_last INTEGER NOT NULL DEFAULT 0,
    in_cursor INTEGER NOT NULL DEFAULT 0,
    out_first INTEGER NOT NULL DEFAULT 1,
    out_last INTEGER NOT NULL DEFAULT 0,
    settled_seq INTEGER NOT NULL DEFAULT 0,
    updated_at REAL NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT ''
);

-- What was updated last comes first, of everybody and of one agent, without a look at the rest.
CREATE INDEX heads_recent ON heads (tenant, updated_at);
CREATE INDEX heads_recent_of_agent ON heads (tenant, agent, updated_at);

-- Holds only sessions with work, so that any number of idle ones costs nothing to those who look for it.
CREATE INDEX heads_unserved ON heads (sid) WHERE in_last > in_cursor OR out_last > settled_seq;

CREATE TABLE leases (
    sid INTEGER PRIMARY KEY,
    owner TEXT,
    epoch INTEGER NOT NULL,
    expires_at REAL NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0
);

-- The highest epoch of all deleted sessions: a chat id that is used again starts above every lease it ever had.
CREATE TABLE epoch_floor (epoch INTEGER NOT NULL);
INSERT INTO epoch_floor VALUES (0);

CREATE TABLE inbox (
    sid INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    part_id TEXT,
    body BLOB NOT NULL,
    UNIQUE (sid, seq)
);
CREATE UNIQUE INDEX inbox_part ON inbox (sid, part_id) WHERE part_id IS NOT NULL;

-- One row for each append: msgpack of [[kind, body], ...], numbered from first_seq.
CREATE TABLE out_segments (
    sid INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (sid, first_seq)
);

CREATE TABLE nodes (
    sid INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    parent_id TEXT,
    message_id TEXT NOT NULL,
    role TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (sid, node_id)
);

CREATE TABLE states (
    sid INTEGER PRIMARY KEY,
    leaf_id TEXT,
    body BLOB NOT NULL
);

CREATE TRIGGER sessions_created AFTER INSERT ON sessions BEGIN
    INSERT INTO heads (sid, updated_at, tenant, agent) VALUES (NEW.sid, NEW.created_at, NEW.tenant, NEW.agent);
    INSERT INTO leases (sid, epoch) SELECT NEW.sid, epoch FROM epoch_floor;
    INSERT INTO states (sid, body) VALUES (NEW.sid, CAST('{}' AS BLOB));
END;

CREATE TRIGGER sessions_deleted AFTER DELETE ON sessions BEGIN
    UPDATE epoch_floor SET epoch = max(epoch, (SELECT epoch FROM leases WHERE sid = OLD.sid));
    DELETE FROM heads WHERE sid = OLD.sid;
    DELETE FROM leases WHERE sid = OLD.sid;
    DELETE FROM inbox WHERE sid = OLD.sid;
    DELETE FROM out_segments WHERE sid = OLD.sid;
    DELETE FROM nodes WHERE sid = OLD.sid;
    DELETE FROM states WHERE sid = OLD.sid;
END;

CREATE TRIGGER inbox_appended AFTER INSERT ON inbox BEGIN
    UPDATE heads SET in_last = NEW.seq, updated_at = NEW.at WHERE sid = NEW.sid;
END;

CREATE TRIGGER out_appended AFTER INSERT ON out_segments BEGIN
    UPDATE heads SET out_last = NEW.first_seq + NEW.count - 1 WHERE sid = NEW.sid;
END;
"""

_FAMILIES = """
ALTER TABLE sessions ADD COLUMN parent_id TEXT;
ALTER TABLE sessions ADD COLUMN root_id TEXT;
ALTER TABLE sessions ADD COLUMN tool_call_id TEXT;
CREATE INDEX sessions_of_parent ON sessions (tenant, parent_id, chat_id) WHERE parent_id IS NOT NULL;
"""

_RECENT = """
ALTER TABLE heads ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE heads ADD COLUMN agent TEXT NOT NULL DEFAULT '';
UPDATE heads SET (tenant, agent) = (SELECT s.tenant, s.agent FROM sessions s WHERE s.sid = heads.sid);
CREATE INDEX heads_recent ON heads (tenant, updated_at);
CREATE INDEX heads_recent_of_agent ON heads (tenant, agent, updated_at);
DROP TRIGGER sessions_created;
CREATE TRIGGER sessions_created AFTER INSERT ON sessions BEGIN
    INSERT INTO heads (sid, updated_at, tenant, agent) VALUES (NEW.sid, NEW.created_at, NEW.tenant, NEW.agent);
    INSERT INTO leases (sid, epoch) SELECT NEW.sid, epoch FROM epoch_floor;
    INSERT INTO states (sid, body) VALUES (NEW.sid, CAST('{}' AS BLOB));
END;
"""

_DEATHS = "ALTER TABLE leases ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;"

_STEPS = {1: _FAMILIES, 2: _FILES, 3: _RECENT, 4: _DEATHS}
"""What makes a file of one version one of the next."""


def ensure_schema(connection: sqlite3.Connection, path: str) -> None:
    """Give a new file its tables, and a file of an older version what it lacks; one transaction either way.

    Raises:
        UnreadableRecordError: If the file is some other program's, or a newer version of chatrt wrote it.
    """
    application_id: int = connection.execute("PRAGMA application_id").fetchall()[0][0]
    version: int = connection.execute("PRAGMA user_version").fetchall()[0][0]
    if version > VERSION and application_id == APPLICATION_ID:
        raise UnreadableRecordError(path, f"a newer chatrt wrote it (schema {version}, this one reads {VERSION})")
    if application_id == APPLICATION_ID and version:
        if version < VERSION:
            steps = "".join(_STEPS[older] for older in range(version, VERSION))
            _make(connection, steps)
        return
    if application_id or version or connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        raise UnreadableRecordError(path, "it is a SQLite database, but not one of chatrt")
    _make(connection, f"{_SCHEMA} {_FILES} PRAGMA application_id = {APPLICATION_ID};")


def _make(connection: sqlite3.Connection, statements: str) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {VERSION};")
    failpoints.reach("migrate.step")
    connection.execute("COMMIT")
