"""Tools that a client brings along, and answers that come along with the next message, in the life of a turn."""

from __future__ import annotations

from typing import Any

from chatrt.agent import ChatAgent
from chatrt.frontend_tools import check_frontend_tools
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.runtime import SessionManager
from chatrt.stores.memory import MemoryStore
from tests.runtime.driver import Chat

BROUGHT = check_frontend_tools([{"name": "paint"}])


def answered(call_id: str = "c", message_id: str = "?", output: Any = "painted") -> dict[str, Any]:
    part = {"type": "dynamic-tool", "toolName": "paint", "toolCallId": call_id, "state": "output-available"}
    return {"id": message_id, "role": "assistant", "parts": [{**part, "output": output}]}


def painter(**options: Any) -> tuple[ChatAgent, ScriptedModel]:
    model = ScriptedModel([call(tool_call("paint", {}, id="c")), call(text("two")), call(text("three"))])
    options = {"frontend_tools": True, **options}
    agent = ChatAgent("painter", run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options)
    return agent, model


async def chat_of(sessions: SessionManager) -> Chat:
    return Chat(await sessions.start_session("painter", "c1"), sessions)


async def test_tools_of_a_client_are_the_turns_own():
    """The next turn has them only if they come again."""
    names: list[list[str]] = []
    agent, _ = painter(on_turn_start=lambda _: None)
    agent.run(lambda turn: names.append([tool.name for tool in turn.tools]) or "ok")
    async with SessionManager(agent, MemoryStore()) as sessions:
        chat = await chat_of(sessions)
        await chat.send("one", tools=BROUGHT)
        await chat.send("two")
    assert names == [["paint"], []]


async def test_an_agent_that_takes_none_has_none():
    """Whatever stands in the record."""
    names: list[Any] = []
    agent, _ = painter(frontend_tools=False)
    agent.run(lambda turn: names.append(turn.tools) or "ok")
    async with SessionManager(agent, MemoryStore()) as sessions:
        await (await chat_of(sessions)).send("one", tools=BROUGHT)
    assert names == [[]]


async def test_an_open_call_of_a_clients_tool_survives_a_stopped_turn_of_another_run():
    """It is answered in a later run, which does not know the tool any more."""
    agent, _ = painter()
    store = MemoryStore()
    async with SessionManager(agent, store) as sessions:
        asked = await (await chat_of(sessions)).send("paint", tools=BROUGHT)
    async with SessionManager(agent, store) as sessions:
        chat = await chat_of(sessions)
        told = await chat.answer(*answered()["parts"], message_id=asked.complete["messageId"])
    assert told.text == "two"


async def test_answers_that_come_along_are_settled_before_the_message_and_have_no_turn():
    """The model sees the result, then what was said; it is asked once."""
    agent, model = painter()
    async with SessionManager(agent, MemoryStore()) as sessions:
        chat = await chat_of(sessions)
        asked = await chat.send("paint", tools=BROUGHT)
        told = await chat.send("and now", answers=answered(message_id=asked.complete["messageId"]))
    assert told.text == "two"
    assert [message["role"] for message in model.requests[-1].messages] == ["user", "assistant", "tool", "user"]
    assert model.requests[-1].messages[2]["content"][0]["output"] == {"type": "text", "value": "painted"}


async def test_answers_that_come_along_with_an_edit_are_passed():
    """What they would settle is left behind."""
    agent, _ = painter()
    async with SessionManager(agent, MemoryStore()) as sessions:
        chat = await chat_of(sessions)
        asked = await chat.send("paint", "m1", tools=BROUGHT)
        told = await chat.send("other", "m1", answers=answered(message_id=asked.complete["messageId"]))
        messages = (await chat.session.load()).messages
    assert told.status == "completed"
    assert [message["role"] for message in messages] == ["user", "assistant"]


async def test_answers_to_nothing_are_passed():
    """The message is answered all the same."""
    agent, _ = painter()
    async with SessionManager(agent, MemoryStore()) as sessions:
        told = await (await chat_of(sessions)).send("hello", answers=answered("other", "M"))
    assert told.status == "completed"


async def test_answers_that_are_not_the_clients_fail_the_turn():
    """A client cannot make up what a tool of the server gave."""
    agent, _ = painter()
    async with SessionManager(agent, MemoryStore()) as sessions:
        chat = await chat_of(sessions)
        asked = await chat.send("paint", tools=BROUGHT)
        forged = answered("c", asked.complete["messageId"])
        forged["parts"].append({**forged["parts"][0], "toolCallId": "made-up"})
        told = await chat.send("and now", answers=forged)
    assert (told.status, told.complete["error"]["code"]) == ("failed", "forbidden-change")


async def test_answers_reach_a_history_that_the_application_keeps():
    """They are put over what it gave."""
    kept: list[Any] = []

    def keep(event: Any) -> list[Any]:
        for message in event.incoming_messages:
            if message["role"] == "user":
                kept.append(message)
        return list(kept)

    agent, model = painter(
        hydrate_messages=keep, on_turn_complete=lambda event: kept.__setitem__(slice(None), event.history.all())
    )
    async with SessionManager(agent, MemoryStore()) as sessions:
        chat = await chat_of(sessions)
        asked = await chat.send("paint", tools=BROUGHT)
        told = await chat.send("and now", answers=answered(message_id=asked.complete["messageId"]))
    assert told.text == "two"
    assert model.requests[-1].messages[2]["content"][0]["output"]["value"] == "painted"
