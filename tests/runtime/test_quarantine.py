"""Inputs that kill their workers: settled as failed after the third death, without a call of the application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.metrics import QUARANTINED
from chatrt.runtime import SessionManager
from chatrt.runtime.quarantine import QUARANTINE_DEATHS
from chatrt.stores import MemoryStore, Record
from chatrt.testing import ChatHarness
from chatrt.tools import tool
from tests.runtime.driver import Chat, House, kill, texts, user
from tests.runtime.troubled_store import idle, until


class Killer:
    """Stands where an application would kill its process: a worker that comes to it is killed by the test."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.deadly = True
        self.times = 0

    async def meet(self) -> None:
        if self.deadly:
            self.times += 1
            self.reached.set()
            await asyncio.Event().wait()


async def die(chat: ChatHarness, killer: Killer, times: int = QUARANTINE_DEATHS) -> None:
    """Kill the worker each time it comes to the deadly place, and start another one."""
    for _ in range(times):
        await killer.reached.wait()
        killer.reached.clear()
        await chat.crash()
        await chat.restart()


def deadly_in_run(killer: Killer, **options: Any) -> ChatAgent:
    async def run(turn: Any) -> str:
        await killer.meet()
        return "fine"

    return ChatAgent("a", run=run, **options)


def deadly_in_hook(name: str) -> Callable[[Killer], ChatAgent]:
    def make(killer: Killer) -> ChatAgent:
        async def hook(event: Any) -> Any:
            await killer.meet()
            match name:
                case "hydrate_messages":
                    return [*event.previous_messages, *event.incoming_messages]
                case "on_validate_messages":
                    return event.messages
                case "prepare_messages":
                    return event.messages
                case _:
                    return None

        return ChatAgent("a", run=lambda turn: "fine", **{name: hook})

    return make


def deadly_in_tools(killer: Killer) -> ChatAgent:
    async def tools(_event: Any) -> list[Any]:
        await killer.meet()
        return []

    return ChatAgent("a", run=lambda turn: "fine", tools=tools)


PLACES: dict[str, Callable[[Killer], ChatAgent]] = {
    "run": deadly_in_run,
    "tools": deadly_in_tools,
    **{
        name: deadly_in_hook(name)
        for name in (
            "on_boot",
            "hydrate_messages",
            "on_validate_messages",
            "on_chat_start",
            "on_turn_start",
            "prepare_messages",
        )
    },
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_message_that_kills_three_workers_is_given_up(place: str):
    """Wherever a message kills its workers, it is settled as failed after the third death, and the chat goes on."""
    killer, told = Killer(), []
    agent = PLACES[place](killer)
    agent.on_turn_complete(lambda event: told.append((event.status, getattr(event.error, "code", None))))
    async with ChatHarness(agent) as chat:
        sent = await chat.start("deadly")
        await die(chat, killer)
        done = await sent.result()
        killer.deadly = False
        again = await chat.send("harmless")

        assert (done.status, (done.error or {}).get("code")) == ("failed", "input-quarantined")
        assert killer.times == QUARANTINE_DEATHS
        assert told == [("failed", "input-quarantined"), ("completed", None)]
        assert again.text == "fine"
        assert [text for role, text in texts(list(chat.messages)) if role == "user"] == ["deadly", "harmless"]


async def test_nothing_of_the_application_is_called_for_it():
    """Before a deadly input is settled neither its hooks nor the hook for errors are called; what people read is masked."""
    killer, called = Killer(), []

    def on_error(error: BaseException) -> str:
        called.append(error)
        return str(error)

    async with ChatHarness(deadly_in_run(killer, on_error=on_error)) as chat:
        sent = await chat.start("deadly")
        await die(chat, killer)
        await sent.result()
        (error,) = [chunk["errorText"] for chunk in chat.chunks if chunk["type"] == "error"]

        assert called == []
        assert error.startswith("An error occurred. (err_")
        assert chat.sessions.metrics.counts[QUARANTINED] == {("a",): 1}


async def test_what_was_seen_of_the_answer_is_kept():
    """An answer that went on after two deaths is closed with what it said; its open call tells the truth."""
    killer = Killer()

    @tool(effect="pure")
    async def crash() -> str:
        """Crash."""
        await killer.meet()
        return "survived"

    async def run(turn: Any) -> Any:
        from chatrt.generate import stream_text
        from chatrt.models import ScriptedModel
        from chatrt.models.scripted import call, text, tool_call

        model = ScriptedModel([call(text("Let me see."), tool_call("crash", {}))])
        return stream_text(model, turn.messages, tools=turn.tools)

    async with ChatHarness(ChatAgent("a", run=run, tools=[crash])) as chat:
        sent = await chat.start("deadly")
        await die(chat, killer)
        done = await sent.result()
        (part,) = [part for part in chat.messages[-1]["parts"] if part["type"] == "tool-crash"]

        assert (done.status, (done.error or {}).get("code")) == ("failed", "input-quarantined")
        assert texts(list(chat.messages)) == [("user", "deadly"), ("assistant", "Let me see.")]
        assert part["state"] == "output-error"
        assert [record.kind for record in chat.records(".out")].count("turn-start") == 1


async def test_what_waits_behind_it_is_answered():
    """Only the input that workers die over is given up: what was said behind it is answered, in order."""
    killer = Killer()

    async def run(turn: Any) -> str:
        words = turn.ui_messages[-1]["parts"][0]["text"]
        if words == "deadly":
            await killer.meet()
        return f"re {words}"

    async with ChatHarness(ChatAgent("a", run=run)) as chat:
        first = await chat.start("deadly")
        second = await chat.start("harmless")
        await die(chat, killer)

        assert (await first.result()).status == "failed"
        assert (await second.result()).text == "re harmless"


async def test_an_action_that_kills_is_given_up():
    """An action that kills its workers is settled as failed, and changes nothing."""
    killer = Killer()

    async def act(event: Any) -> None:
        event.history.slice(0, 0)
        await killer.meet()

    async with ChatHarness(ChatAgent("a", run=lambda turn: "fine", on_action=act)) as chat:
        await chat.send("hello")
        sent = asyncio.ensure_future(chat.act({"type": "clear"}))
        await die(chat, killer)
        await asyncio.gather(sent, return_exceptions=True)
        await chat.settle()
        (last,) = [r.body for r in chat.records(".out") if r.kind == "turn-complete" and r.body["inSeq"] == 2]

        assert (last["status"], last["error"]["code"]) == ("failed", "input-quarantined")
        assert texts(list(chat.messages)) == [("user", "hello"), ("assistant", "fine")]


async def test_two_deaths_are_forgiven():
    """An input that is answered after two deaths is answered, and the count begins anew with the next one."""
    killer = Killer()
    async with ChatHarness(deadly_in_run(killer)) as chat:
        for words in ("one", "two"):
            killer.deadly = True
            sent = await chat.start(words)
            await die(chat, killer, 1)
            await killer.reached.wait()
            killer.reached.clear()
            await chat.crash()
            killer.deadly = False
            await chat.restart()
            assert (await sent.result()).status == "completed"


async def test_workers_that_are_shut_down_do_not_count():
    """A turn that is handed over by one deploy after another is no deadly one."""
    killer = Killer()
    async with ChatHarness(deadly_in_run(killer)) as chat:
        sent = await chat.start("slow")
        for number in range(QUARANTINE_DEATHS + 1):
            await killer.reached.wait()
            killer.reached.clear()
            await chat.drain(grace=0)
            killer.deadly = number < QUARANTINE_DEATHS
            await chat.restart()
        assert (await sent.result()).status == "completed"


# --- neighbours


class Neighbours:
    """Chats on one store, of which one kills its worker; all others take their time."""

    def __init__(self, count: int) -> None:
        self.store, self.clock = MemoryStore(), ManualClock()
        self.names = [f"chat-{number}" for number in range(count)]
        self.deadly = self.names[count // 2]
        self.running: set[str] = set()
        self.killed = asyncio.Event()
        self.release = asyncio.Event()
        self.most_at_once = 0

        async def run(turn: Any) -> str:
            self.running.add(turn.chat_id)
            self.most_at_once = max(self.most_at_once, len(self.running))
            try:
                if turn.chat_id == self.deadly:
                    self.killed.set()
                    await asyncio.Event().wait()
                await self.release.wait()
                return "fine"
            finally:
                self.running.discard(turn.chat_id)

        self.agent = ChatAgent("a", run=run, idle_timeout=0.0)

    async def open(self) -> SessionManager:
        sessions = SessionManager(self.agent, self.store, clock=self.clock)
        await sessions.start()
        return sessions

    async def statuses(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self.names:
            records: list[Record] = (await self.store.read_out(_key(name), after=0)).records
            ends = [json.loads(record.body)["status"] for record in records if record.kind == "turn-complete"]
            found[name] = ",".join(ends)
        return found


def _key(name: str) -> Any:
    from chatrt.stores import SessionKey

    return SessionKey("", name)


async def test_only_the_guilty_one_is_given_up():
    """Chats that die with a deadly one are taken up one at a time from then on, and all of them are answered."""
    street = Neighbours(6)
    sessions = await street.open()
    for name in street.names:
        session = await sessions.start_session("a", name)
        await session.inbox.send_message(user("hello"))
    for _ in range(2):
        await street.killed.wait()
        await until(lambda: len(street.running) == len(street.names))
        await kill(sessions)
        street.killed.clear()
        sessions = await street.open()
    street.most_at_once = 0
    street.release.set()
    for _ in range(400):
        await idle()
        if street.killed.is_set():
            await kill(sessions)
            street.killed.clear()
            sessions = await street.open()
        street.clock.advance(0.5)
    statuses = await street.statuses()
    await sessions.aclose(grace=0.0)

    assert statuses == {name: "failed" if name == street.deadly else "completed" for name in street.names}
    assert street.most_at_once == 1


async def test_a_suspect_that_lives_long_does_not_keep_the_others_waiting():
    """A suspect that settles nothing for half a minute has the next one started beside it."""
    street = Neighbours(3)
    street.deadly = "nobody"
    sessions = await street.open()
    for name in street.names:
        session = await sessions.start_session("a", name)
        await session.inbox.send_message(user("hello"))
    for _ in range(2):
        await until(lambda: len(street.running) == len(street.names))
        await kill(sessions)
        sessions = await street.open()
    await idle()
    at_first = len(street.running)
    for _ in range(35):
        street.clock.advance(1.0)
        await idle()
    later = len(street.running)
    await sessions.aclose(grace=0.0)

    assert (at_first, later) == (1, 2)


async def test_an_append_does_not_hurry_a_suspect(house: House):
    """Whoever writes to a suspect chat has it taken up in its turn, not at once."""
    street = Neighbours(2)
    street.deadly = "nobody"
    sessions = await street.open()
    for name in street.names:
        await (await sessions.start_session("a", name)).inbox.send_message(user("hello"))
    for _ in range(2):
        await until(lambda: len(street.running) == len(street.names))
        await kill(sessions)
        sessions = await street.open()
    await idle()
    first = set(street.running)
    for name in street.names:
        chat = Chat(await sessions.get_session(name), sessions)
        await chat.inbox.send_message(user("are you there?"))
    await idle()
    beside = set(street.running)
    street.release.set()
    await until(lambda: not street.running)
    for _ in range(3):
        street.clock.advance(1.0)
        await idle()
    statuses = await street.statuses()
    await sessions.aclose(grace=0.0)

    assert (len(first), beside) == (1, first)
    assert statuses == dict.fromkeys(street.names, "completed,completed")
