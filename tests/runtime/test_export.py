"""Exports: a session as lines of JSON, there and back again, and files that are none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.errors import AgentNotFoundError, ConflictError, InvalidInputError, SessionNotFoundError
from chatrt.runtime import Session, SessionManager
from chatrt.runtime.export import VERSION, read_dump
from chatrt.runtime.state import portable_state
from chatrt.stores import MemoryStore, SQLiteStore, Store
from chatrt.testing.playbook import playbook


def user(text: str, message_id: str) -> Any:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


async def settled(session: Session, in_seq: int) -> None:
    async for batch in session.outbox.read(0):
        if any(r.kind == "turn-complete" and json.loads(r.body)["inSeq"] == in_seq for r in batch):
            return


async def lived(sessions: SessionManager, chat_id: str = "c1") -> Session:
    """A session with an answer, another one beside it, an action, and a title."""
    session = await sessions.start_session("playbook", chat_id, client_data={"who": "Ada"}, metadata={"title": "Žluť"})
    await session.inbox.send_message(user("echo one", "m1"), part_id="first")
    await session.inbox.send_message(user("tool 2+3", "m2"))
    await session.inbox.regenerate()
    await settled(session, (await session.inbox.act({"type": "undo"})).seq)
    return session


async def exported(sessions: SessionManager, chat_id: str = "c1", tenant: str = "") -> bytes:
    return b"".join([piece async for piece in sessions.export_session(chat_id, tenant=tenant)])


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


@pytest.fixture(params=["memory", "sqlite"])
async def other(request, tmp_path) -> AsyncIterator[SessionManager]:
    """Another store, where sessions go."""
    store: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "other.db")
    async with SessionManager(playbook, store) as sessions:
        yield sessions


@pytest.fixture
async def here(tmp_path) -> AsyncIterator[SessionManager]:
    """The store that sessions come from."""
    async with SessionManager(playbook, SQLiteStore(tmp_path / "here.db")) as sessions:
        yield sessions


async def test_there_and_back_again(here, other):
    """What is imported exports to the very same bytes."""
    await lived(here)
    data = await exported(here)
    await other.import_session([data])
    assert await exported(other) == data


async def test_what_is_in_an_export(here):
    """A header, the session, its messages with those they follow, inputs, records, and an end that counts them."""
    session = await lived(here)
    found = lines(await exported(here))
    assert found[0] == {"type": "header", "format": "chatrt.session", "version": VERSION}
    assert found[1]["metadata"] == {"title": "Žluť"}
    assert found[1]["clientData"] == {"who": "Ada"}
    kinds = [line["type"] for line in found[2:-1]]
    assert kinds == sorted(kinds, key=["message", "input", "record"].index)
    assert found[-1] == {
        "type": "end",
        "messages": kinds.count("message"),
        "inputs": kinds.count("input"),
        "records": kinds.count("record"),
    }
    messages = [line for line in found if line["type"] == "message"]
    assert len(messages) > len((await session.load()).messages)  # the branches too
    followed = {line.get("parentId") for line in messages}
    assert found[1]["leafId"] in {line["nodeId"] for line in messages}
    assert None in followed


async def test_an_export_has_nothing_of_the_worker(here):
    """No lease, run or suspension goes along, and usage is told apart."""
    await lived(here)
    session = lines(await exported(here))[1]
    assert session["state"].keys().isdisjoint({"runId", "suspended", "handedOn", "settled", "withdrawn", "stopped"})
    assert "totalUsage" not in session["state"]
    assert session["usage"].keys() == {"total", "last"}
    assert not {"epoch", "owner", "tenant"} & session.keys()


async def test_an_imported_session_goes_on(here, other):
    """The same messages and branches, the next numbers, and another answer."""
    before = await (await lived(here)).load()
    session = await other.import_session([await exported(here)])
    after = await session.load()
    assert (after.messages, after.branches, after.cursor) == (before.messages, before.branches, before.cursor)
    assert after.status == "idle"
    assert (await session.inbox.send_message(user("x", "m1"), part_id="first")).repeated
    sent = await session.inbox.send_message(user("history", "m9"))
    assert sent.seq == before.last_in_seq + 1
    await settled(session, sent.seq)
    state = await session.load()
    assert [m["id"] for m in state.messages[:-1]] == [*(m["id"] for m in before.messages), "m9"]


async def test_a_stop_after_an_import_stops():
    """A stop that acted before, behind what was settled, does not keep a new one of a smaller number from acting."""
    assert portable_state({"stopCursor": 9, "runs": 2, "stopped": {"7": None}}, 4) == {"stopCursor": 4, "runs": 2}


async def test_another_chat_id_and_tenant(here, other):
    """A session may come back under another name, and in another tenant."""
    await lived(here)
    session = await other.import_session([await exported(here)], tenant="theirs", chat_id="copy")
    assert (session.key.tenant, session.chat_id) == ("theirs", "copy")
    assert await other.find_session("c1") is None
    assert lines(await exported(other, "copy", "theirs"))[2:] == lines(await exported(here))[2:]


async def test_what_waits_is_not_exported(here, other):
    """A turn that runs is left out with its question: it is answered where it is."""
    session = await lived(here)
    quiet = await exported(here)
    await session.inbox.send_message(user("sleep", "m5"))
    await session.inbox.send_message(user("echo later", "m6"))
    async for batch in session.outbox.read((await session.position()).cursor):
        if any(b"text-delta" in record.body for record in batch):
            break
    busy = await exported(here)
    assert lines(busy)[2:] == lines(quiet)[2:]
    await session.inbox.stop()


async def test_pieces_may_be_cut_anywhere(here, other):
    """A file is read in pieces of any size, from an async source too."""
    await lived(here)
    data = await exported(here)

    async def bytewise() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 7):
            yield data[start : start + 7]

    await other.import_session(bytewise())
    assert await exported(other) == data


async def test_an_unknown_session(here):
    """There is nothing to export."""
    with pytest.raises(SessionNotFoundError):
        await exported(here, "nobody")


async def test_a_session_that_is_there(here):
    """An import overwrites nothing."""
    await lived(here)
    with pytest.raises(ConflictError):
        await here.import_session([await exported(here)])


async def test_an_agent_that_is_not_served(here):
    """A session of an agent that nobody serves here is not taken in."""
    await lived(here)
    data = await exported(here)
    async with SessionManager(ChatAgent("other", run=lambda _: None)) as sessions:
        with pytest.raises(AgentNotFoundError):
            await sessions.import_session([data])
        assert [row async for row in sessions.iter_sessions()] == []


def spoiled(data: bytes) -> Iterator[tuple[str, bytes]]:
    head, session, *rest = data.splitlines(keepends=True)
    end = rest.pop()
    yield "empty", b""
    yield "only a header", head
    yield "no end", head + session + b"".join(rest)
    yield "a line too few", head + session + b"".join(rest[1:]) + end
    yield "cut in a line", data[: len(data) // 2]
    yield "no header", session + b"".join(rest) + end
    yield "another format", head.replace(b"chatrt.session", b"chatrt.backup") + session + b"".join(rest) + end
    yield "a newer version", head.replace(b'"version":1', b'"version":2') + session + b"".join(rest) + end
    yield "two sessions", head + session + session + b"".join(rest) + end
    yield "behind the end", data + rest[0]
    yield "no JSON", head + b"{\n" + b"".join(rest) + end
    yield "no object", head + b"7\n" + b"".join(rest) + end
    yield "another type", head + session + b'{"type":"mood"}\n' + b"".join(rest) + end
    yield "a missing key", head + session.replace(b'"agent"', b'"actor"') + b"".join(rest) + end
    yield "a wrong status", head + session.replace(b'"open"', b'"ajar"') + b"".join(rest) + end
    yield "a wrong time", head + session.replace(b'"createdAt":"', b'"createdAt":"x') + b"".join(rest) + end
    yield "a wrong cursor", head + session.replace(b'"inCursor":', b'"inCursor":-') + b"".join(rest) + end
    yield "a wrong message", head + session + data.split(session)[1].replace(b'"role":"user"', b'"role":"boss"', 1)


async def test_files_that_are_no_exports(here):
    """Each is refused with the line it goes wrong at, and nothing is written."""
    await lived(here)
    refused = 0
    async with SessionManager(playbook) as sessions:
        for name, data in spoiled(await exported(here)):
            with pytest.raises(InvalidInputError, match=r"^line \d+: "):
                await sessions.import_session([data])
            assert await sessions.find_session("c1") is None, name
            refused += 1
    assert refused == 18


async def test_a_dump_keeps_what_came_in(here):
    """Times are kept to the millisecond, and bodies as the JSON they are."""
    await lived(here)
    dump = await read_dump([await exported(here)])
    assert dump.inputs[0].part_id == "first"
    assert json.loads(dump.inputs[0].record.body)["message"]["id"] == "m1"
    stored = await here.store.read_in((await here.get_session("c1")).key, after=0)
    assert [one.record.at for one in dump.inputs] == [record.at for record in stored]
