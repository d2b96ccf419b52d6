"""Two applications on one PostgreSQL database: what is asked of one of them holds for a turn that the other one runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chatrt.ids import RandomIds
from chatrt.stores.postgres import PostgresStore, migrate
from tests.runtime.driver import kill
from tests.server.kit import Feed, Kit, chunks, text_of, user
from tests.server.test_ag_ui import connect, post, said
from tests.server.test_ag_ui import text_of as ag_ui_text
from tests.server.test_metrics import figures
from tests.server.test_trigger import put as trigger_put
from tests.server.test_trigger import said as trigger_said
from tests.server.test_trigger import window

Pair = tuple[Kit, Kit]


@pytest.fixture
async def pair(make_kit: Callable[..., Awaitable[Kit]], postgres_url: str) -> Pair:
    """One application that will run the turns, and another one."""
    await migrate(postgres_url)
    options: dict[str, Any] = {"agent": {"when_busy": "queue"}, "ids": None}
    return (
        await make_kit(store=PostgresStore(postgres_url), **options),
        await make_kit(store=PostgresStore(postgres_url), **options),
    )


@pytest.fixture
def chat() -> str:
    """A chat of the test's own: the database is the module's."""
    return RandomIds().new("chat")


@asynccontextmanager
async def running(pair: Pair, chat: str, words: str = "hold g") -> AsyncIterator[tuple[Kit, Kit, Feed]]:
    """A turn that has said a word and waits: the application that runs it, the other one, and a reader.

    Which of them takes a chat up is chance; the reader is always at the first one.
    """
    body = {"id": chat, "messages": [user(words)]}
    async with pair[0].http.stream("POST", "/api/chat/kit", json=body) as response:
        feed = Feed(response)
        await feed.until("before")
        here, there = pair if (await pair[0].sessions.get_session(chat)).is_served else pair[::-1]
        yield here, there, feed


async def settled(kit: Kit, chat: str) -> dict[str, Any]:
    """What is loaded when nothing is to come."""
    async with kit.http.stream("GET", f"/v1/sessions/{chat}/out", params={"until": "idle"}) as response:
        await Feed(response).rest()
    return (await kit.http.get(f"/v1/sessions/{chat}/messages")).json()


def texts(messages: list[Any]) -> list[str]:
    return ["".join(part.get("text", "") for part in message["parts"]) for message in messages]


# --- what is seen


@pytest.mark.parametrize(
    "path", ["/v1/sessions/{}/messages", "/api/chat/kit/{}/messages", "/api/v1/sessions/{}/transcript"]
)
async def test_a_page_that_reloads_anywhere_sees_the_question(pair: Pair, chat: str, path: str):
    """Each wire shows the same at both processes while the turn runs at one of them."""
    async with running(pair, chat) as (here, there, _):
        shown = (await there.http.get(path.format(chat))).json()
        assert texts(shown["messages"]) == ["hold g"]
        assert shown.get("pending", []) == []
        assert shown == (await here.http.get(path.format(chat))).json()


async def test_an_answer_is_resumed_anywhere(pair: Pair, chat: str):
    """The stock resume replays the message from its first part and goes on live."""
    async with (
        running(pair, chat) as (here, there, _),
        there.http.stream("GET", f"/api/chat/kit/{chat}/stream") as response,
    ):
        feed = Feed(response)
        await feed.until("before")
        here.gates["g"].set()
        await feed.rest()
    assert text_of(chunks(feed.raw)) == "before after"


async def test_who_connects_anywhere_is_told_the_run(pair: Pair, chat: str):
    """AG-UI's connect tells the history with the question, then the answer, as a run."""
    async with (
        running(pair, chat) as (here, there, _),
        there.http.stream("GET", f"/api/ag-ui/kit/{chat}/connect") as response,
    ):
        feed = Feed(response)
        told = [event.data for event in await feed.until("before")]
        here.gates["g"].set()
        told += [event.data for event in await feed.rest()]
    snapshots = [data for data in told if "MESSAGES_SNAPSHOT" in data]
    assert len(snapshots) == 1
    assert "hold g" in snapshots[0]
    assert any("after" in data for data in told)


async def test_a_chat_that_runs_elsewhere_is_not_settled(pair: Pair, chat: str):
    """The long poll says so at any process, and goes on with the answer."""
    async with running(pair, chat) as (here, there, _), window(there, chat, **{"x-peek-settled": "1"}) as out:
        assert "x-session-settled" not in out.response.headers
        here.gates["g"].set()
        assert {"type": "text-delta", "id": "t", "delta": "after"} in await out.turn()


# --- what is asked for


async def _stop_natively(kit: Kit, chat: str) -> Any:
    return await kit.http.post(f"/v1/sessions/{chat}/in", json={"kind": "stop"})


async def _stop_by_trigger(kit: Kit, chat: str) -> Any:
    return await trigger_put(kit, {"kind": "stop"}, chat)


async def _stop_by_closing(kit: Kit, chat: str) -> Any:
    return await kit.http.post(f"/api/v1/sessions/{chat}/close", json={"reason": "enough"})


@pytest.mark.parametrize(
    "stop",
    [
        _stop_natively,
        lambda kit, chat: kit.http.post(f"/api/chat/kit/{chat}/stop"),
        lambda kit, chat: kit.http.post(f"/api/ag-ui/kit/{chat}/stop"),
        _stop_by_trigger,
        _stop_by_closing,
    ],
    ids=["native", "ai-sdk", "ag-ui", "trigger", "trigger, by closing"],
)
async def test_a_stop_is_taken_anywhere(pair: Pair, chat: str, stop: Callable[..., Any]):
    """By whatever wire it comes, the reader at the other process sees the turn end, and what was said stays."""
    async with running(pair, chat, "hold never") as (_, there, feed):
        assert (await stop(there, chat)).is_success
        assert "abort" in [event.data for event in await feed.rest()][-2]
    assert texts((await settled(there, chat))["messages"]) == ["hold never", "before "]


async def test_readers_of_a_chat_that_is_closed_in_mid_answer_come_to_their_end(pair: Pair, chat: str):
    """Also those at a process that neither runs the turn nor closed the chat: with the whole answer."""
    async with (
        running(pair, chat) as (here, there, _),
        there.http.stream("GET", f"/v1/sessions/{chat}/out") as response,
    ):
        feed = Feed(response)
        await feed.until("before")
        assert (await here.http.post(f"/v1/sessions/{chat}/close")).is_success
        session = await there.sessions.get_session(chat)
        while session.row.status == "open":
            await asyncio.sleep(0)
        for _ in range(5):  # by then it has also looked whether anything is unsettled, and found the turn
            await session.position()
        here.gates["g"].set()
        rest = await asyncio.wait_for(feed.rest(), 20)
    assert [event.event for event in rest if event.event not in ("message", None)] == ["turn-complete"]


async def test_what_waits_is_edited_and_withdrawn_anywhere(pair: Pair, chat: str):
    """Both processes show the same list all the time, and what is left of it is answered."""

    async def waiting(kit: Kit) -> list[str]:
        pending = (await kit.http.get(f"/v1/sessions/{chat}/messages")).json()["pending"]
        return texts([one["message"] for one in pending])

    async with running(pair, chat) as (here, there, feed):
        first = await there.put(chat, {"kind": "message", "message": user("echo one")})
        second = await there.put(chat, {"kind": "message", "message": user("echo two")})
        assert await waiting(here) == await waiting(there) == ["echo one", "echo two"]
        await there.put(chat, {"kind": "edit", "inSeq": first["seq"], "message": user("echo three")})
        await there.put(chat, {"kind": "withdraw", "inSeq": second["seq"]})
        assert await waiting(here) == await waiting(there) == ["echo three"]
        here.gates["g"].set()
        await feed.rest()
    assert texts((await settled(there, chat))["messages"]) == ["hold g", "before after", "echo three", "three"]


async def test_an_action_is_taken_anywhere(pair: Pair, chat: str):
    """It waits for the turn that runs elsewhere, and acts on what that leaves."""
    async with running(pair, chat) as (here, there, feed):
        await there.put(chat, {"kind": "action", "action": {"type": "undo"}})
        here.gates["g"].set()
        await feed.rest()
    assert (await settled(there, chat))["messages"] == []


# --- what people answer


def _answer(kit_chat: str, part: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    return {"id": kit_chat, "messages": [{**message, "parts": [*message["parts"][:-1], part]}]}


@pytest.mark.parametrize(
    ("words", "answer", "said_then"),
    [
        ("ask why", {"state": "output-available", "output": "because"}, "answer: because"),
        ("approve bob", {"state": "approval-responded", "approval": {"id": "approval-1", "approved": True}}, "sent"),
    ],
)
@pytest.mark.parametrize("wire", ["native", "ai-sdk", "trigger"])
async def test_a_call_is_answered_anywhere(
    pair: Pair, chat: str, wire: str, words: str, answer: dict[str, Any], said_then: str
):
    """The answer comes in at the process that does not have the run; the same message goes on."""
    here, there = pair
    await here.say(chat, words)
    asked = (await settled(there, chat))["messages"][-1]
    call = next(part for part in asked["parts"] if part["type"].startswith("tool-"))
    message = {"id": asked["id"], "role": "assistant", "parts": [{**call, **answer}]}
    match wire:
        case "native":
            await there.put(chat, {"kind": "message", "message": message})
        case "ai-sdk":
            body = {"id": chat, "messages": [message], "messageId": asked["id"]}
            assert text_of(chunks((await there.http.post("/api/chat/kit", json=body)).content)) == said_then
        case _:
            sent = trigger_said("x")
            sent["payload"] |= {"message": message, "chatId": chat}
            assert (await trigger_put(there, sent, chat)).is_success
    messages = (await settled(there, chat))["messages"]
    assert [one["id"] for one in messages][1:] == [asked["id"]]
    assert texts(messages)[-1] == said_then
    assert messages == (await settled(here, chat))["messages"]


async def test_an_interrupt_of_ag_ui_is_settled_anywhere(pair: Pair, chat: str):
    """The history that its answers are read against is the same everywhere."""
    here, there = pair
    await post(here.http, chat, said("ask why"))
    messages = (await connect(there.http, chat))[1]["messages"]
    result = {"id": "t1", "role": "tool", "toolCallId": "call-1", "content": "because"}
    events = await post(there.http, chat, *messages, result, run="r2")
    assert ag_ui_text(events) == "answer: because"


# --- dropping the connection


@pytest.mark.parametrize("asked", ["where it runs", "elsewhere"])
async def test_a_turn_that_somebody_reads_is_not_stopped_by_who_asks_next(pair: Pair, chat: str, asked: str):
    """A process that has no reader of a turn stops nothing: another one may have. Who asks waits."""
    async with running(pair, chat) as (here, there, _):
        pass  # who asked drops the connection, as the stock `stop()` does
    asker, other = (here, there) if asked == "where it runs" else (there, here)
    async with other.http.stream("GET", f"/api/chat/kit/{chat}/stream") as response:
        feed = Feed(response)
        await feed.until("before")
        second = asyncio.create_task(ask_when_unread(asker, chat))
        await taken(other, chat)
        here.gates["g"].set()
        await feed.rest()
        assert text_of(chunks(feed.raw)) == "before after"
        assert text_of(await second) == "next"


@pytest.mark.parametrize("asked", ["where it runs", "elsewhere"])
async def test_a_dropped_connection_stops_nothing_where_processes_share_a_store(pair: Pair, chat: str, asked: str):
    """Whether nobody reads is known to nobody: the next message is answered when the turn is over."""
    async with running(pair, chat) as (here, there, _):
        pass
    asker = here if asked == "where it runs" else there
    second = asyncio.create_task(ask_when_unread(asker, chat))
    await taken(asker, chat)
    here.gates["g"].set()
    assert text_of(await second) == "next"
    assert texts((await settled(here, chat))["messages"]) == ["hold g", "before after", "echo next", "next"]


async def ask_when_unread(kit: Kit, chat: str) -> list[Any]:
    session = await kit.sessions.get_session(chat)
    while session.outbox.readers:
        await asyncio.sleep(0)
    return await kit.say(chat, "echo next")


async def taken(kit: Kit, chat: str) -> None:
    """Return when a second input has come in."""
    session = await kit.sessions.get_session(chat)
    while (await session.position()).last_in_seq < 2:
        await asyncio.sleep(0)


# --- what operators see


async def test_a_takeover_shows_in_the_figures(make_kit: Callable[..., Awaitable[Kit]], postgres_url: str, chat: str):
    """Prometheus is told the turn that was taken up, the work and the readers of the one that lives, and commit times."""
    await migrate(postgres_url)
    options: dict[str, Any] = {"ids": None, "lease_ttl": 1.0}
    pair = (
        await make_kit(store=PostgresStore(postgres_url), **options),
        await make_kit(store=PostgresStore(postgres_url), **options),
    )
    async with running(pair, chat) as (here, there, _):
        await kill(here.sessions)
        assert texts((await settled(there, chat))["messages"]) == ["hold g", "before "]
    await there.put(chat, {"kind": "message", "message": user("hold h")})
    async with there.http.stream("GET", f"/v1/sessions/{chat}/out") as response:
        while "hold h" not in texts((await there.http.get(f"/v1/sessions/{chat}/messages")).json()["messages"]):
            await asyncio.sleep(0)
        assert response.is_success
        seen = await figures(there)
    assert seen["chatrt_takeovers_total", ()] == 1
    assert seen["chatrt_commit_seconds_count", ()] >= 1
    assert {name: seen[f"chatrt_{name}", ()] for name in ("active_runs", "live_readers", "waiting_inputs")} == {
        "active_runs": 1,
        "live_readers": 1,
        "waiting_inputs": 1,
    }
    assert seen["chatrt_reader_lag_records", ()] >= 0
    assert seen["chatrt_unserved_sessions", ()] >= 0
