"""`chatrt backup` and `chatrt restore`: under load, after a loss, and with clients whose cursors are newer."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatrt.agent import ChatAgent
from chatrt.cli import main
from chatrt.runtime import SessionManager
from chatrt.sse import SSEDecoder
from chatrt.stores.sqlite_backup import LEAP

PLAYBOOK = "chatrt.testing.playbook:app"


def user(text: str, number: int) -> dict[str, Any]:
    return {"id": f"u{number}", "role": "user", "parts": [{"type": "text", "text": text}]}


def texts(messages: list[Any]) -> list[str]:
    return ["".join(part.get("text", "") for part in message["parts"]) for message in messages]


async def talk(path: Path, *words: str, chat: str = "c") -> tuple[int, int]:
    """Say something, wait for the answers, and return the cursors."""
    agent = ChatAgent("echo", run=lambda turn: f"you said {turn.ui_messages[-1]['parts'][0]['text']}")
    async with SessionManager(agent, f"sqlite:///{path}") as sessions:
        session = await sessions.start_session("echo", chat)
        for word in words:
            appended = await session.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": word}]})
            await settled(session, appended.seq)
        state = await session.load()
        return state.cursor, state.last_in_seq


async def settled(session: Any, seq: int) -> None:
    async for records in session.outbox.read(0):
        for record in records:
            if record.kind == "turn-complete" and b'"inSeq":%d' % seq in record.body:
                return


def copy(path: Path, target: Path) -> int:
    return main(["backup", str(target), "--store", f"sqlite:///{path}"])


def bring_back(backup: Path, path: Path) -> int:
    return main(["restore", str(backup), "--store", f"sqlite:///{path}"])


async def test_a_copy_holds_what_was_said(tmp_path: Path):
    """What was in the store at the time of the backup is there again after a restore; what came later is not."""
    path = tmp_path / "chat.db"
    await talk(path, "one")
    assert copy(path, tmp_path / "copy.db") == 0
    await talk(path, "two")
    assert bring_back(tmp_path / "copy.db", path) == 0
    agent = ChatAgent("echo", run=lambda turn: "")
    async with SessionManager(agent, f"sqlite:///{path}") as sessions:
        assert texts((await (await sessions.get_session("c")).load()).messages) == ["one", "you said one"]


async def test_a_newer_cursor_meets_a_gap(tmp_path: Path):
    """A client that has read what is lost is never shown other records under the numbers it knows."""
    path = tmp_path / "chat.db"
    await talk(path, "one")
    copy(path, tmp_path / "copy.db")
    cursor, _ = await talk(path, "lost")
    bring_back(tmp_path / "copy.db", path)
    new_cursor, _ = await talk(path, "other", "words")
    assert new_cursor > LEAP > cursor
    agent = ChatAgent("echo", run=lambda turn: "")
    async with SessionManager(agent, f"sqlite:///{path}") as sessions:
        session = await sessions.get_session("c")
        records = [record async for batch in session.outbox.read(cursor, live=False) for record in batch]
        assert records[0].kind == "gap"
        assert all(record.seq > LEAP for record in records)


async def test_what_waited_is_answered_after_a_restore(tmp_path: Path):
    """An input that was unsettled in the backup is settled by the first start after it, and later ones behind it."""
    path, gate = tmp_path / "chat.db", asyncio.Event()

    async def wait(turn: Any) -> str:
        await gate.wait()
        return "late"

    async with SessionManager(ChatAgent("echo", run=wait), f"sqlite:///{path}") as sessions:
        session = await sessions.start_session("echo", "c")
        await session.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "waits"}]})
        copy(path, tmp_path / "copy.db")
    bring_back(tmp_path / "copy.db", path)
    agent = ChatAgent("echo", run=lambda turn: f"you said {turn.ui_messages[-1]['parts'][0]['text']}")
    async with SessionManager(agent, f"sqlite:///{path}") as sessions:
        session = await sessions.get_session("c")
        await settled(session, 1)
        appended = await session.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "next"}]})
        assert appended.seq == 2
        await settled(session, appended.seq)
        state = await session.load()
        assert texts(state.messages) == ["waits", "you said waits", "next", "you said next"]
        assert (state.in_cursor, state.status) == (state.last_in_seq, "idle")


async def test_a_restored_session_can_be_exported(tmp_path: Path):
    """What is taken out of a restored store goes into any other."""
    path = tmp_path / "chat.db"
    await talk(path, "one")
    copy(path, tmp_path / "copy.db")
    bring_back(tmp_path / "copy.db", path)
    await talk(path, "two")
    agent = ChatAgent("echo", run=lambda turn: "")
    async with SessionManager(agent, f"sqlite:///{path}") as here, SessionManager(agent, "memory://") as there:
        lines = [piece async for piece in here.export_session("c")]

        async def again() -> Any:
            for line in lines:
                yield line

        await there.import_session(again())
        assert len((await (await there.get_session("c")).load()).messages) == 4


async def test_a_restore_can_be_undone(tmp_path: Path):
    """What was there before is kept, and can be restored in turn."""
    path = tmp_path / "chat.db"
    await talk(path, "one")
    copy(path, tmp_path / "copy.db")
    await talk(path, "two")
    bring_back(tmp_path / "copy.db", path)
    (kept,) = tmp_path.glob("chat.db.before-*Z")
    assert bring_back(kept, path) == 0
    agent = ChatAgent("echo", run=lambda turn: "")
    async with SessionManager(agent, f"sqlite:///{path}") as sessions:
        assert len((await (await sessions.get_session("c")).load()).messages) == 4


async def test_a_store_that_is_served_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The process that serves it is named, and nothing is changed."""
    path = tmp_path / "chat.db"
    await talk(path, "one")
    copy(path, tmp_path / "copy.db")
    async with SessionManager(ChatAgent("echo", run=lambda turn: ""), f"sqlite:///{path}"):
        assert bring_back(tmp_path / "copy.db", path) == 1
    assert f"pid {os.getpid()}" in capsys.readouterr().err
    assert list(tmp_path.glob("*before*")) == []


@pytest.mark.parametrize("damage", ["text", "cut", "foreign", "missing"])
async def test_what_is_no_backup_is_refused(damage: str, tmp_path: Path):
    """A file that is damaged, or some other program's, leaves the store as it was."""
    path, bad = tmp_path / "chat.db", tmp_path / "bad.db"
    await talk(path, "one")
    before = path.read_bytes()
    copy(path, bad)
    match damage:
        case "text":
            bad.write_text("hello")
        case "cut":
            bad.write_bytes(bad.read_bytes()[: 4096 * 3])
        case "foreign":
            bad.unlink()
            sqlite3.connect(bad).executescript("CREATE TABLE t (x)")
        case _:
            bad.unlink()
    assert bring_back(bad, path) == 1
    assert path.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} <= {
        "chat.db",
        *(f"chat.db-{one}" for one in ("wal", "shm")),
        "chat.db.lock",
        "bad.db",
    }


async def test_a_copy_is_private_and_takes_nobodys_place(tmp_path: Path):
    """Only its owner may read it, and a file that is there already stays."""
    path, target = tmp_path / "chat.db", tmp_path / "copy.db"
    await talk(path, "one")
    assert copy(path, target) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_bytes()
    assert copy(path, target) == 2
    assert target.read_bytes() == before


def test_only_files_are_copied(capsys: pytest.CaptureFixture[str]):
    """Who has PostgreSQL is told what there is for it."""
    assert main(["backup", "x.db", "--store", "memory://"]) == 2
    assert "pg_dump" in capsys.readouterr().err


async def test_a_copy_under_load_is_whole(chatrt: Any):
    """Everything that was acknowledged before the backup began is in it, while a server goes on taking more."""
    process, url = await chatrt.serve(PLAYBOOK, "--store", "sqlite:///load.db")
    acked: list[str] = []
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:

        async def keep_talking(chat: str) -> None:
            await http.post("/v1/sessions", json={"agent": "playbook", "chatId": chat})
            for number in range(10_000):
                body = {"kind": "message", "message": user(f"echo {number}", number)}
                (await http.post(f"/v1/sessions/{chat}/in", json=body)).raise_for_status()
                acked.append(f"{chat}/u{number}")

        talkers = [asyncio.create_task(keep_talking(f"chat{number}")) for number in range(4)]
        while len(acked) < 40:
            await asyncio.wait(talkers, timeout=0.05)
        before = list(acked)
        done = await chatrt.run("backup", "copy.db", "--store", "sqlite:///load.db")
        assert done.code == 0, done.err
        assert not any(talker.done() for talker in talkers)
        for talker in talkers:
            talker.cancel()
        await asyncio.gather(*talkers, return_exceptions=True)
    process.kill()
    await process.wait()
    done = await chatrt.run("restore", "copy.db", "--store", "sqlite:///load.db")
    assert done.code == 0, done.err
    _, url = await chatrt.serve(PLAYBOOK, "--store", "sqlite:///load.db")
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        found: set[str] = set()
        for chat in {one.split("/")[0] for one in before}:
            async with http.stream("GET", f"/v1/sessions/{chat}/out?until=idle") as response:
                decoder = SSEDecoder()
                async for data in response.aiter_raw():
                    decoder.decode(data)
            state = (await http.get(f"/v1/sessions/{chat}/messages")).json()
            found |= {f"{chat}/{message['id']}" for message in state["messages"]}
    assert set(before) <= found
