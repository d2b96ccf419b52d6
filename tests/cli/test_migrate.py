"""`chatrt migrate` on a real database."""

from __future__ import annotations

import pytest

from chatrt.cli import main
from chatrt.stores.postgres import VERSION, PostgresStore


@pytest.fixture
def url(postgres, request) -> str:
    return postgres.create_database(request.node.name[:60])


def test_a_dry_run_changes_nothing(url, capsys):
    """What would be done is told, as often as one asks."""
    for _ in range(2):
        assert main(["migrate", "--store", url, "--dry-run"]) == 0
        assert "would make version 1\n" in capsys.readouterr().out


def test_there_and_back(url, capsys):
    """A schema is made, found up to date, and taken away again by those who say that they mean it."""
    assert main(["migrate", "--store", url]) == 0
    assert main(["migrate", "--store", url]) == 0
    assert f"nothing to do: the tables have version {VERSION}\n" in capsys.readouterr().out
    assert main(["migrate", "--store", url, "--to", "0"]) == 2
    assert main(["migrate", "--store", url, "--to", "0", "--yes"]) == 0
    assert f"undo version {VERSION}\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--store", "sqlite:///chat.db"], ["--store", "postgresql://h/d", "--to", "99"]])
def test_what_cannot_be_migrated(words, capsys):
    """A store without migrations, and a version that nobody knows, are told in one sentence."""
    assert main(["migrate", *words]) == 2
    assert capsys.readouterr().err.startswith("chatrt: ")


def test_no_server(capsys):
    """A server that is not there is one sentence too."""
    assert main(["migrate", "--store", "postgresql://postgres@127.0.0.1:1/none"]) == 1
    assert "store-unavailable" in capsys.readouterr().err


def test_a_password_is_not_shown():
    """What a store says of itself holds no password."""
    assert "secret" not in repr(PostgresStore("postgresql://ada:secret@db.example.com/chats?sslmode=require"))
