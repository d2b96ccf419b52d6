"""`open_store`: which URL names which store."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatrt.errors import UsageError
from chatrt.stores import MemoryStore, SessionKey, SQLiteStore, open_store
from chatrt.stores.postgres import PostgresStore


def test_memory():
    """`memory://` names a memory store."""
    assert isinstance(open_store("memory://"), MemoryStore)


def test_memory_stores_are_separate():
    """Each `memory://` is a store of its own."""
    assert open_store("memory://") is not open_store("memory://")


def test_relative_path(tmp_path, monkeypatch):
    """Three slashes name a SQLite file relative to the working directory."""
    monkeypatch.chdir(tmp_path)

    store = open_store("sqlite:///data/chat.db")

    assert isinstance(store, SQLiteStore)
    assert store.path == str(Path(tmp_path, "data/chat.db").resolve())


def test_absolute_path():
    """Four slashes name a SQLite file by its absolute path."""
    store = open_store("sqlite:////var/lib/chat.db")

    assert isinstance(store, SQLiteStore)
    assert store.path == "/var/lib/chat.db"


def test_working_directory_may_change(tmp_path, monkeypatch):
    """A relative path is meant from where the process stood when the store was made."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///chat.db")
    monkeypatch.chdir("/")

    assert isinstance(store, SQLiteStore)
    assert store.path == str(tmp_path.resolve() / "chat.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "chat.db",
        "mysql://host/db",
        "memory:",
        "memory://x",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://chat.db",
        "sqlite:///:memory:",
    ],
)
def test_unknown(url):
    """A URL that names no store is refused, with the forms that are known."""
    with pytest.raises(UsageError, match=r"memory://, sqlite:///relative\.db, sqlite:////absolute\.db"):
        open_store(url)


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "what?.db", "c#1.db", "žluťoučký.db", "%41.db"])
async def test_unusual_file_names(tmp_path, name):
    """A file name is taken as it is written, whatever it would mean in a URL."""
    store = open_store(f"sqlite:///{tmp_path / name}")
    await store.open()
    await store.create_session(SessionKey("", "chat"), agent="support", metadata={}, client_data=None, at=1.0)
    found = await store.find_session(SessionKey("", "chat"))
    await store.close()

    assert found is not None
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("url", ["postgresql://ada:secret@db.example.com:5433/chats", "postgres://db/chats"])
def test_postgres(url):
    """A PostgreSQL database is named by its usual URL; nothing is connected yet."""
    assert isinstance(open_store(url), PostgresStore)


@pytest.mark.parametrize(
    "options",
    [
        "pool_size=0",
        "prepared=perhaps",
        "timeout=0",
        "append_every=-1",
        "append_every=10001",
        "notify_every=0",
        "notify_every=soon",
    ],
)
def test_an_option_of_postgresql_that_is_not_possible(options):
    """It is refused when the store is made, with the name of the option."""
    with pytest.raises(UsageError, match=options.partition("=")[0]):
        open_store(f"postgresql://host/chat?{options}")


def test_options_of_postgresql():
    """They are chatrt's own and do not reach the server."""
    store = open_store("postgresql://host/chat?append_every=250&notify_every=40&sslmode=disable")
    assert store.append_interval == 0.25
    assert repr(store) == "PostgresStore('postgresql://host/chat')"
