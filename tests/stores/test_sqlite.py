"""What is particular to the SQLite store: its files, its tables, and contents it refuses to read."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat

import pytest

from chatrt.errors import StoreUnavailableError, UnreadableRecordError
from chatrt.stores import Commit, NewRecord, Node, SessionKey, SQLiteStore
from chatrt.stores.attachments import Attachment
from chatrt.stores.sqlite_schema import APPLICATION_ID, VERSION

CHAT = SessionKey("", "chat")
A_FILE = Attachment(id="f1", media_type="text/plain", filename=None, size=5, created_at=1.0, expires_at=9.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chat.db"


@pytest.fixture
async def filled(path):
    """A closed file with one session: two messages and three records on `.out`."""
    store = SQLiteStore(path)
    await store.open()
    await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=1.0)
    lease = await store.acquire_lease(CHAT, owner="worker", ttl=10, at=1.0)
    nodes = [Node("a", None, message("a")), Node("b", "a", message("b"))]
    chunks = [NewRecord("chunk", b"{}")] * 2
    await store.append_out(lease, chunks, at=1.0)
    commit = Commit(records=[NewRecord("turn-complete", b"{}")], nodes=nodes, leaf_id="b", in_cursor=0, state={})
    await store.commit(lease, commit, at=1.0)
    await store.close()
    return path


def message(message_id):
    return {"id": message_id, "role": "user", "parts": []}


def change(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def query(path, sql):
    connection = sqlite3.connect(path)
    rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


async def opened(path):
    store = SQLiteStore(path)
    await store.open()
    return store


async def test_files_are_private(path):
    """The database, its log and its lock can be read by their owner only."""
    store = await opened(path)
    await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=1.0)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await store.close()

    assert modes == dict.fromkeys(("chat.db", "chat.db-wal", "chat.db-shm", "chat.db.lock"), 0o600)


async def test_mode_of_an_existing_file(filled):
    """The mode of a file that is there is its owner's choice."""
    filled.chmod(0o640)
    await (await opened(filled)).close()

    assert stat.S_IMODE(filled.stat().st_mode) == 0o640


async def test_close_leaves_one_file(filled):
    """After `close` everything is in the database file: it can be copied alone."""
    assert {file.name for file in filled.parent.iterdir()} == {"chat.db", "chat.db.lock"}


async def test_append_is_one_row(filled):
    """The records of one append are one row, and so are those of a commit."""
    assert query(filled, "SELECT first_seq, count FROM out_segments ORDER BY first_seq") == [(1, 2), (3, 1)]


async def test_tables_are_small_again_after_delete(filled):
    """A deleted session leaves no row behind in any table."""
    store = await opened(filled)
    await store.delete_session(CHAT)
    await store.close()

    for table in ("sessions", "heads", "leases", "inbox", "out_segments", "nodes", "states"):
        assert query(filled, f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_open_ends_leases(filled):
    """Who opens a file need not wait for leases of the process before: the lock says that it is gone."""
    store = await opened(filled)
    lease = await store.acquire_lease(CHAT, owner="another", ttl=10, at=1.0)
    await store.close()

    assert lease is not None
    assert lease.epoch == 2


async def test_cancelled_close_finishes(path):
    """A close whose caller gave up goes on by itself; closing again waits for it."""
    store = await opened(path)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await store.close()

    second = SQLiteStore(path)
    await second.open()
    assert [row async for row in second.iter_sessions("")] == []
    await second.close()


async def test_missing_folder(tmp_path):
    """A file in a folder that is not there cannot be opened; the error names it."""
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        await SQLiteStore(tmp_path / "nowhere" / "chat.db").open()


async def test_folder_instead_of_a_file(tmp_path):
    """A folder cannot be opened as a store."""
    with pytest.raises(StoreUnavailableError):
        await SQLiteStore(tmp_path).open()


@pytest.mark.behaviour(89)
async def test_newer_schema(filled):
    """A file that a newer version wrote is refused, and says so."""
    change(filled, f"PRAGMA user_version = {VERSION + 1}")

    with pytest.raises(UnreadableRecordError, match="newer"):
        await opened(filled)


UNDONE = {
    4: ("ALTER TABLE leases DROP COLUMN deaths",),
    3: (
        "DROP INDEX heads_recent",
        "DROP INDEX heads_recent_of_agent",
        "DROP TRIGGER sessions_created",
        "ALTER TABLE heads DROP COLUMN tenant",
        "ALTER TABLE heads DROP COLUMN agent",
        """CREATE TRIGGER sessions_created AFTER INSERT ON sessions BEGIN
            INSERT INTO heads (sid, updated_at) VALUES (NEW.sid, NEW.created_at);
            INSERT INTO leases (sid, epoch) SELECT NEW.sid, epoch FROM epoch_floor;
            INSERT INTO states (sid, body) VALUES (NEW.sid, CAST('{}' AS BLOB));
        END""",
    ),
    2: ("DROP TRIGGER sessions_deleted_with_files", "DROP TABLE attachment_pieces", "DROP TABLE attachments"),
    1: (
        "DROP INDEX sessions_of_parent",
        *(f"ALTER TABLE sessions DROP COLUMN {column}" for column in ("parent_id", "root_id", "tool_call_id")),
    ),
}
"""What takes from a file what it got behind each version, the newest first."""


def grow_old(path, version):
    statements = [statement for older, undone in UNDONE.items() if older >= version for statement in undone]
    change(path, *statements, f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_an_old_file_has_what_a_new_one_has(filled, tmp_path, version):
    """A file of any older version gets the same tables, indexes and triggers as a new one."""
    grow_old(filled, version)
    await (await opened(filled)).close()
    await (await opened(tmp_path / "new.db")).close()
    names = "SELECT type, name FROM sqlite_schema ORDER BY name"
    assert query(filled, names) == query(tmp_path / "new.db", names)
    for table in ("sessions", "heads", "leases"):
        columns = f"SELECT name, type FROM pragma_table_info('{table}') ORDER BY name"
        assert query(filled, columns) == query(tmp_path / "new.db", columns)


async def test_sessions_of_an_old_file_are_listed_by_their_last_update(filled):
    """What was stored before is found in the order that came later, by agent too."""
    grow_old(filled, 3)
    store = await opened(filled)
    await store.create_session(SessionKey("", "later"), agent="support", metadata={}, client_data=None, at=9.0)
    everybody = [row.key.chat_id async for row in store.iter_recent_sessions("")]
    of_agent = [row.key.chat_id async for row in store.iter_recent_sessions("", agent="support")]
    await store.close()
    assert everybody == of_agent == ["later", "chat"]


@pytest.mark.parametrize("agent", [None, "support"])
async def test_recent_sessions_cost_the_same_however_many_there_are(filled, agent):
    """The newest are read from an index: nothing is sorted but what was updated in one moment."""
    store = await opened(filled)
    asked: list[str] = []
    store._ready().connections.small.set_trace_callback(asked.append)
    assert [row async for row in store.iter_recent_sessions("", agent=agent, limit=5)]
    await store.close()
    (sql,) = asked
    plan = [row[3] for row in query(filled, f"EXPLAIN QUERY PLAN {sql}")]
    index = "heads_recent" if agent is None else "heads_recent_of_agent"
    assert re.match(f"SEARCH h USING (COVERING )?INDEX {index} ", plan[0])
    (sorted_by,) = [step for step in plan if "TEMP B-TREE" in step]
    assert sorted_by in ("USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY")


async def test_older_schema(filled):
    """A file of the first version is brought up to date when it is opened, with everything in it."""
    grow_old(filled, 1)

    store = await opened(filled)
    try:
        nodes = (await store.load_snapshot(CHAT)).nodes
        child = SessionKey("", "child")
        await store.create_session(child, agent="support", metadata={}, client_data=None, at=2.0)
    finally:
        await store.close()

    assert [node.node_id for node in nodes] == ["a", "b"]
    assert query(filled, "PRAGMA user_version") == [(VERSION,)]
    assert query(filled, "SELECT parent_id FROM sessions") == [(None,), (None,)]


async def test_files_come_with_the_third_version(filled):
    """A file of the second version takes attachments when it was opened, and deletes them with their session."""
    grow_old(filled, 2)

    store = await opened(filled)
    try:
        await store.attachments.begin(CHAT, A_FILE, max_count=1, max_total=9)
        await store.attachments.write(CHAT, "f1", 0, b"hello")
        await store.attachments.finish(CHAT, "f1", media_type="text/plain", size=5, sha256=None)
        read = [piece async for piece in store.attachments.read(CHAT, "f1")]
        await store.delete_session(CHAT)
    finally:
        await store.close()

    assert read == [b"hello"]
    assert query(filled, "SELECT count(*) FROM attachments") == [(0,)]
    assert query(filled, "SELECT count(*) FROM attachment_pieces") == [(0,)]


async def test_half_a_file_is_gone_after_a_crash(filled):
    """What had come of a file when the process died is removed when the database is opened again."""
    store = await opened(filled)
    await store.attachments.begin(CHAT, A_FILE, max_count=1, max_total=9)
    await store.attachments.write(CHAT, "f1", 0, b"hel")
    await store.close()
    await (await opened(filled)).close()

    assert query(filled, "SELECT count(*) FROM attachments") == [(0,)]
    assert query(filled, "SELECT count(*) FROM attachment_pieces") == [(0,)]


async def test_database_of_another_program(path):
    """A SQLite database that is not chatrt's is refused and left as it is."""
    change(path, "CREATE TABLE recipes (name)")

    with pytest.raises(UnreadableRecordError, match="not one of chatrt"):
        await opened(path)
    assert query(path, "SELECT name FROM sqlite_schema") == [("recipes",)]


async def test_refused_file_is_not_locked(filled):
    """A file that was refused can be opened once it is mended, by the same process."""
    change(filled, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(UnreadableRecordError):
        await opened(filled)
    change(filled, f"PRAGMA user_version = {VERSION}")

    await (await opened(filled)).close()


async def test_file_is_marked(filled):
    """The file says whose it is and of which version."""
    assert query(filled, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert query(filled, "PRAGMA user_version") == [(VERSION,)]


async def test_acks_are_durable(filled):
    """The writer's connection syncs every commit: `synchronous` is FULL in WAL mode."""
    store = await opened(filled)
    writer = store._ready().connections.writer
    settings = [writer.execute(f"PRAGMA {name}").fetchall()[0][0] for name in ("journal_mode", "synchronous")]
    await store.close()

    assert settings == ["wal", 2]


async def test_readers_do_not_write(filled):
    """Connections that read can neither write nor fold the log into the file."""
    store = await opened(filled)
    for connection in (store._ready().connections.small, store._ready().connections.large):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM sessions")
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchall() == [(0,)]
    await store.close()


@pytest.mark.behaviour(88, 90, 93)
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE nodes SET body = CAST('{' AS BLOB) WHERE node_id = 'b'", "node b"),
        ("DELETE FROM nodes WHERE node_id = 'b'", "node 'b' is missing"),
        ("DELETE FROM nodes WHERE node_id = 'a'", "node 'a' is missing"),
        ("UPDATE states SET body = CAST('nothing' AS BLOB)", "its state"),
    ],
)
async def test_unreadable_messages(filled, damage, told):
    """A history that cannot be read whole is an error that names the place; it is never served in part."""
    change(filled, damage)
    store = await opened(filled)

    with pytest.raises(UnreadableRecordError, match=told):
        await store.load_snapshot(CHAT)
    await store.close()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE nodes SET body = CAST('{' AS BLOB) WHERE node_id = 'b'", "node b"),
        ("DELETE FROM nodes WHERE node_id = 'a'", "node 'a' is missing"),
    ],
)
async def test_unreadable_tree(filled, damage, told):
    """Branches that cannot be read whole are an error that names the place."""
    change(filled, damage)
    store = await opened(filled)

    with pytest.raises(UnreadableRecordError, match=told):
        await store.load_tree(CHAT)
    await store.close()


@pytest.mark.parametrize("body", ["zeroblob(40)", "x'c1'", "x'9192a1616162'", "x'91a161'"])
async def test_unreadable_records(filled, body):
    """Records on `.out` that cannot be decoded are an error that names the place; none is skipped."""
    change(filled, f"UPDATE out_segments SET body = {body} WHERE first_seq = 1")
    store = await opened(filled)

    with pytest.raises(UnreadableRecordError, match=r"\.out of session 'chat' from 1"):
        await store.read_out(CHAT, after=0)
    assert len((await store.read_out(CHAT, after=2)).records) == 1
    await store.close()


@pytest.mark.behaviour(93)
async def test_unreadable_session(filled):
    """A session row that cannot be read is an error, not an absent session."""
    change(filled, "UPDATE sessions SET metadata = CAST('?' AS BLOB)")
    store = await opened(filled)

    with pytest.raises(UnreadableRecordError, match="its metadata"):
        await store.find_session(CHAT)
    await store.close()
