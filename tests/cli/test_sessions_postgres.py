"""`chatrt sessions` on a PostgreSQL database that two servers serve meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatrt.sse import SSEDecoder
from tests.cli.conftest import Chatrt, Finished
from tests.cli.test_backup import PLAYBOOK, user
from tests.server.kit import Feed

KEY = "k" * 32


@dataclass
class Served:
    """Two servers on one database, and the command line beside them."""

    chatrt: Chatrt
    store: str
    servers: list[httpx.AsyncClient]

    async def sessions(self, *words: str) -> Finished:
        return await self.chatrt.run("sessions", "--store", self.store, *words)

    async def say(self, chat: str, text: str, number: int = 1) -> None:
        """Say something by the first server, and wait until it is settled by the second one."""
        await self.begin(chat, text, number)
        async with self.servers[1].stream("GET", f"/v1/sessions/{chat}/out?until=idle") as response:
            await Feed(response).rest()

    async def begin(self, chat: str, text: str, number: int = 1) -> None:
        await self.servers[0].post("/v1/sessions", json={"agent": "playbook", "chatId": chat})
        body = {"kind": "message", "message": user(text, number)}
        (await self.servers[0].post(f"/v1/sessions/{chat}/in", json=body)).raise_for_status()


@pytest.fixture
async def served(chatrt: Chatrt, postgres_url: str) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        servers: list[httpx.AsyncClient] = []
        for _ in range(2):
            _, url = await chatrt.serve(PLAYBOOK, "--store", postgres_url, CHATRT_SECRET_KEY=KEY)
            http = httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=30)
            servers.append(await stack.enter_async_context(http))
        yield Served(chatrt, postgres_url, servers)


async def test_sessions_are_listed_shown_replayed_and_copied_while_they_are_served(served: Served, tmp_path: Path):
    """Nobody is kept out, and what is printed is what was stored."""
    await served.say("one", "echo hi there")
    await served.say("one", "echo again", 2)

    listed = await served.sessions("list", "--json")
    assert [json.loads(line)["chatId"] for line in listed.out.splitlines()] == ["one"]
    shown = await served.sessions("show", "one")
    assert [word in shown.out for word in ("echo hi there", "hi there", "again")] == [True] * 3
    replayed = await served.sessions("replay", "one", "--format", "sse")
    events = list(SSEDecoder().decode(replayed.out.encode()))
    assert [int(event.id or 0) for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "turn-complete"

    file = tmp_path / "one.jsonl"
    assert (await served.sessions("export", "one", "-o", str(file))).code == 0
    assert (await served.sessions("import", str(file), "--chat-id", "copy")).code == 0
    for server in served.servers:
        messages = (await server.get("/v1/sessions/copy/messages")).json()["messages"]
        assert messages == (await server.get("/v1/sessions/one/messages")).json()["messages"]
    await served.say("copy", "history", 3)
    assert '"5"' in json.dumps((await served.servers[0].get("/v1/sessions/copy/messages")).json()["messages"][-1])


async def test_a_session_is_closed_in_mid_answer(served: Served):
    """Its servers take nothing more; the answer that runs comes to its end, and its readers with it."""
    await served.begin("closed", "count 150")
    async with served.servers[1].stream("GET", "/v1/sessions/closed/out") as response:
        feed = Feed(response)
        await feed.until("w3 ")
        assert (await served.sessions("close", "closed", "--reason", "enough")).code == 0
        rest = await feed.rest()
    assert rest[-1].event == "turn-complete"
    assert json.loads(rest[-1].data)["status"] == "completed"
    for server in served.servers:
        body = {"kind": "message", "message": user("more", 9)}
        assert (await server.post("/v1/sessions/closed/in", json=body)).status_code == 409
    assert json.loads((await served.sessions("list", "--status", "closed", "--json")).out)["closedReason"] == "enough"


async def test_a_session_is_deleted_in_mid_answer(served: Served):
    """It is gone at every server, nothing of it is written any more, and its id is free for another chat."""
    await served.begin("gone", "sleep")
    async with served.servers[1].stream("GET", "/v1/sessions/gone/out") as response:
        feed = Feed(response)
        await feed.until("text-delta")
        assert (await served.sessions("delete", "gone", "--yes")).code == 0
        await feed.rest()
    for server in served.servers:
        assert (await server.get("/v1/sessions/gone/messages")).status_code == 404
    await served.say("gone", "history")
    for server in served.servers:
        messages = (await server.get("/v1/sessions/gone/messages")).json()["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
    assert (await served.sessions("show", "never")).code == 1


async def test_a_database_without_tables_stays_without(chatrt: Chatrt, postgres: Any):
    """To look is not to make."""
    url = postgres.create_database("sessions_none")
    for _ in range(2):
        looked = await chatrt.run("sessions", "--store", url, "list")
        assert (looked.code, "no tables" in looked.err) == (1, True)
