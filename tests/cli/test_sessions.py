"""`chatrt sessions` on a store that nobody serves, and on a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatrt.agent import ChatAgent
from chatrt.cli import main
from chatrt.runtime import SessionManager
from chatrt.sse import SSEDecoder
from tests.cli.test_backup import PLAYBOOK, settled, user

AGENT = ChatAgent("echo", run=lambda turn: "\x1b[31mred\x1b]0;title\x07 answer")


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with a chat, `a/b`, and a closed one."""
    url = f"sqlite:///{tmp_path}/chat.db"

    async def fill() -> None:
        async with SessionManager(AGENT, url) as sessions:
            session = await sessions.start_session("echo", "a/b")
            await session.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "hello"}]})
            await settled(session, 1)
            await sessions.start_session("echo", "shut")
            await sessions.close_session("shut", reason="done")

    asyncio.run(fill())
    return url


def sessions(url: str, *words: str) -> int:
    return main(["sessions", "--store", url, *words])


def test_sessions_are_listed(store: str, capsys: pytest.CaptureFixture[str]):
    """One line each, or one object each, of those that are asked for."""
    assert sessions(store, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in lines] == [["open", "echo", "a/b"], ["closed", "echo", "shut"]]
    assert sessions(store, "list", "--status", "closed", "--json") == 0
    assert json.loads(capsys.readouterr().out)["closedReason"] == "done"


def test_messages_are_shown_and_command_nothing(store: str, capsys: pytest.CaptureFixture[str]):
    """What people and models said is readable, and no escape sequence reaches the terminal."""
    assert sessions(store, "show", "a/b") == 0
    shown = capsys.readouterr().out
    assert "hello" in shown
    assert "red" in shown
    assert not set(shown) & {"\x1b", "\x07"}


def test_answers_are_replayed(store: str, capsys: pytest.CaptureFixture[str]):
    """The log is printed as the events it was, and as people saw it."""
    assert sessions(store, "replay", "a/b", "--format", "sse", "--pace", "1000") == 0
    events = list(SSEDecoder().decode(capsys.readouterr().out.encode()))
    assert [events[0].event, events[-1].event] == ["turn-start", "turn-complete"]
    assert [int(event.id or 0) for event in events] == list(range(1, len(events) + 1))
    assert sessions(store, "replay", "a/b") == 0
    shown = capsys.readouterr().out
    assert "answer" in shown
    assert "\x1b" not in shown


def test_a_session_is_exported_and_imported(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A file that is written whole, or not at all, and goes into a store again under any id."""
    file = tmp_path / "session.jsonl"
    assert sessions(store, "export", "a/b", "-o", str(file)) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert sessions(store, "export", "a/b", "-o", str(file)) == 2
    assert sessions(store, "export", "none", "-o", str(tmp_path / "none")) == 1
    assert not list(tmp_path.glob("none*"))
    assert sessions(store, "import", str(file)) == 1
    assert sessions(store, "import", str(file), "--chat-id", "again") == 0
    capsys.readouterr()
    assert sessions(store, "show", "again") == 0
    assert "hello" in capsys.readouterr().out


def test_a_session_is_closed_and_deleted(store: str, capsys: pytest.CaptureFixture[str]):
    """Deleting has to be meant."""
    assert sessions(store, "close", "a/b", "--reason", "enough") == 0
    assert sessions(store, "delete", "a/b") == 2
    assert sessions(store, "delete", "a/b", "--yes") == 0
    assert sessions(store, "delete", "a/b", "--yes") == 1
    capsys.readouterr()
    sessions(store, "list")
    assert "a/b" not in capsys.readouterr().out


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """To look is not to make."""
    assert sessions(f"sqlite:///{tmp_path}/none.db", "list") == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_server_is_asked_for_its_sessions(chatrt: Any):
    """A store that is served says by whom, and its server answers instead."""
    key = "k" * 32
    process, url = await chatrt.serve(PLAYBOOK, "--store", "sqlite:///live.db", CHATRT_SECRET_KEY=key)
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as http:
        await http.post("/v1/sessions", json={"agent": "playbook", "chatId": "a/b"})
        body = {"kind": "message", "message": user("echo hi there", 1)}
        (await http.post("/v1/sessions/a%2Fb/in", json=body)).raise_for_status()

    async def ask(*words: str, **environment: str) -> Any:
        return await chatrt.run("sessions", *words, **environment)

    locked = await ask("--store", "sqlite:///live.db", "list")
    assert (locked.code, str(process.pid) in locked.err, "--url" in locked.err) == (2, True, True)
    assert (await ask("--url", url, "list")).code == 1
    with_key = {"CHATRT_SECRET_KEY": key}
    assert "a/b" in (await ask("--url", url, "list", **with_key)).out
    assert "hi there" in (await ask("--url", url, "replay", "a/b", **with_key)).out
    assert "hi there" in (await ask("--url", url, "show", "a/b", **with_key)).out
    assert '"hi there"' in (await ask("--url", url, "export", "a/b", **with_key)).out
    assert (await ask("--url", url, "close", "a/b", **with_key)).code == 0
    assert (await ask("--url", url, "delete", "a/b", "--yes", **with_key)).code == 0
    assert (await ask("--url", url, "show", "a/b", **with_key)).code == 1
