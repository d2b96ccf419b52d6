"""Conversations that a run has with other agents: who belongs to whom, what lasts, what cannot come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt import AgentChat, current_tool, sub_agent, tool
from chatrt.errors import UsageError
from tests.client.family import Child, asking, calling, echo


async def _ask_echo(turn: Any) -> str:
    return await AgentChat("echo").send_message("hello").text()


# --- from inside of a run


async def test_chat_without_an_address_talks_to_the_run_s_own_manager(family):
    """Inside of a run an `AgentChat` needs no address: other agents are where the run is."""
    family.serve(asking("boss", _ask_echo), echo())
    assert await family.chat("boss").send_message("go").text() == "hello (1)"


def test_chat_without_an_address_outside_of_a_run():
    """Outside of a run there is nothing to talk to without an address."""
    with pytest.raises(UsageError, match="outside of a run"):
        AgentChat("echo")
    with pytest.raises(UsageError):
        sub_agent("echo")


def test_two_addresses():
    """A chat has one address."""
    with pytest.raises(UsageError):
        AgentChat("echo", base_url="http://127.0.0.1:1", transport=object())


async def test_tenant_of_the_parent(family):
    """What a run asks for belongs to the tenant of its own session."""
    family.serve(asking("boss", _ask_echo), echo())
    await family.chat("boss", tenant="acme").send_message("go").text()
    tenants = {row.key.tenant async for row in family.sessions.iter_sessions(tenant="acme", agent="echo")}
    assert tenants == {"acme"}
    assert await family.children() == []


async def test_session_knows_who_started_it(family):
    """A session that a run starts has the run's session as parent, and the same root down the line."""
    leaf = Child("leaf")
    leaf.end()

    async def ask_leaf(turn: Any) -> str:
        return await AgentChat("leaf", id="leaf").send_message("x").text()

    async def ask_middle(turn: Any) -> str:
        return await AgentChat("middle", id="middle").send_message("x").text()

    family.serve(asking("boss", ask_middle), asking("middle", ask_leaf), leaf.agent)
    await family.chat("boss").send_message("go").text()
    middle = (await family.sessions.get_session("middle")).row.parent
    own = leaf.turns[0].parent
    assert (middle.chat_id, middle.root_id, middle.tool_call_id) == ("top", "top", None)
    assert (own.chat_id, own.root_id) == ("middle", "top")
    assert (await family.sessions.get_session("top")).row.parent is None


async def test_tool_call_is_noted(family):
    """A session that a tool starts names the call."""

    @tool
    async def ask() -> str:
        return await AgentChat("echo", id="kid").send_message("x").text()

    family.serve(calling("boss", [ask]), echo())
    await family.chat("boss").send_message("ask {}").text()
    assert (await family.sessions.get_session("kid")).row.parent.tool_call_id == "call_1"


async def test_session_that_was_there_has_no_new_parent(family):
    """A chat that began by itself stays nobody's child when a run talks to it."""

    async def ask(turn: Any) -> str:
        return await AgentChat("echo", id="own").send_message("x").text()

    family.serve(asking("boss", ask), echo())
    await family.chat("echo", "own").send_message("first").text()
    assert await family.chat("boss").send_message("go").text() == "x (3)"
    assert (await family.sessions.get_session("own")).row.parent is None


# --- keyed conversations


async def _ask_by_key(turn: Any) -> str:
    key, _, words = turn.ui_messages[-1]["parts"][0]["text"].partition(":")
    return await sub_agent("echo", key=key).send_message(words).text()


async def test_keyed_conversation_lasts_across_turns(family):
    """The same key goes on with the same conversation; another key is another one."""
    family.serve(asking("boss", _ask_by_key), echo())
    chat = family.chat("boss")
    answers = [await chat.send_message(said).text() for said in ("a:one", "b:two", "a:three", "b:four")]
    assert answers == ["one (1)", "two (1)", "three (3)", "four (3)"]
    assert len(await family.children()) == 2


async def test_keyed_conversation_lasts_across_runs(family):
    """A keyed conversation is found again by another run of the parent, in another process."""
    family.serve(asking("boss", _ask_by_key), echo())
    await family.chat("boss").send_message("a:one").text()
    await family.crash()
    family.serve(*family.agents)
    assert await family.chat("boss").send_message("a:two").text() == "two (3)"


async def test_keys_of_different_parents(family):
    """A key means something within its session only."""
    family.serve(asking("boss", _ask_by_key), echo())
    await family.chat("boss", "one").send_message("a:x").text()
    assert await family.chat("boss", "two").send_message("a:y").text() == "y (1)"


@pytest.mark.parametrize("key", ["", "/../?#%", "ключ 🗝", "k" * 5000, "a\nb\x00", "\ud800"])
async def test_any_key_will_do(family, key):
    """A key is any text: the chat id it makes is always usable."""

    async def ask(turn: Any) -> str:
        chat = sub_agent("echo", key=key)
        return f"{len(chat.id)} {await chat.send_message('x').text()}"

    family.serve(asking("boss", ask), echo())
    assert await family.chat("boss").send_message("go").text() == "44 x (1)"


async def test_names_do_not_run_into_one_another(family):
    """Agent, key and chat id are told apart in the chat id that is made of them."""
    ids: list[str] = []

    async def ask(turn: Any) -> str:
        ids.extend(
            sub_agent(agent, key=key).id for agent, key in (("a", "bc"), ("ab", "c"), ("a", "b:c"), ("a:b", "c"))
        )
        return ""

    family.serve(asking("boss", ask))
    await family.chat("boss").send_message("go").text()
    assert len(set(ids)) == 4


async def test_chat_id_that_somebody_else_took(family):
    """A keyed conversation is refused when the session of its id was not started by this one: its words are a stranger's."""
    found: list[str] = []

    async def ask(turn: Any) -> str:
        chat = sub_agent("echo", key="a")
        found.append(chat.id)
        return await chat.send_message("x").text() if turn.number else ""

    family.serve(asking("boss", ask), echo())
    chat = family.chat("boss")
    await chat.send_message("go").text()
    await family.chat("echo", found[0]).send_message("forged").text()
    assert await chat.send_message("go").text() == "SubAgentTakenError"
    assert len(await family.chat("echo", found[0]).messages()) == 2


# --- what can never come


async def test_chain_that_is_too_long(family):
    """An agent that asks itself without end is refused where the chain gets too long, and everybody gets an answer."""
    depths: list[int] = []

    async def ask(turn: Any) -> str:
        depths.append(len(depths))
        return await AgentChat("boss").send_message("deeper").text()

    family.serve(asking("boss", ask), max_depth=3)
    assert await family.chat("boss").send_message("go").text() == "SubAgentDepthError"
    assert len(depths) == 4  # three that wait, and the one that may not


async def test_default_depth(family):
    """Eight turns may wait for one another, each for its sub-agent."""
    depths: list[int] = []

    async def ask(turn: Any) -> str:
        depths.append(len(depths))
        return await AgentChat("boss").send_message("deeper").text()

    family.serve(asking("boss", ask))
    await family.chat("boss").send_message("go").text()
    assert len(depths) == 9


async def test_own_session_cannot_be_waited_for(family):
    """A turn that would wait for the next turn of its own session is told so."""

    async def ask(turn: Any) -> str:
        return await AgentChat("boss", id=turn.chat_id).send_message("me").text()

    family.serve(asking("boss", ask))
    assert await family.chat("boss").send_message("go").text() == "SubAgentDeadlockError"
    assert len(await family.inbox("top")) == 1


async def test_ancestor_that_waits_cannot_be_waited_for(family):
    """A sub-agent that would wait for the turn which waits for it is told so, over any number of steps."""

    async def ask_middle(turn: Any) -> str:
        return await AgentChat("middle").send_message("x").text()

    async def ask_leaf(turn: Any) -> str:
        return await AgentChat("leaf").send_message("x").text()

    async def ask_boss(turn: Any) -> str:
        return await AgentChat("boss", id="top").send_message("x").text()

    family.serve(asking("boss", ask_middle), asking("middle", ask_leaf), asking("leaf", ask_boss))
    assert await family.chat("boss").send_message("go").text() == "SubAgentDeadlockError"


async def test_sub_agent_may_leave_a_note_for_who_waits(family):
    """Sending to the waiting parent without waiting for the answer is allowed: it is answered afterwards."""

    async def ask(turn: Any) -> str:
        if turn.number:
            return f"read: {turn.ui_messages[-1]['parts'][0]['text']}"
        return await AgentChat("kid").send_message("x").text()

    async def note(turn: Any) -> str:
        await AgentChat("boss", id="top").send_message("a note")
        return "noted"

    family.serve(asking("boss", ask), asking("kid", note))
    chat = family.chat("boss")
    assert await chat.send_message("go").text() == "noted"
    follower = await chat.reconnect()
    if follower is not None:
        await follower.result()
    assert (await chat.messages())[-1]["parts"][-1]["text"] == "read: a note"


async def test_sub_agent_may_ask_a_parent_that_is_over(family, gate):
    """A sub-agent that was left running may ask its parent and wait, once the turn that started it has ended."""
    answers: list[str] = []

    async def ask(turn: Any) -> str:
        if turn.number:
            return "well done"
        await AgentChat("kid", id="kid").send_message("x")
        return "started"

    async def report(turn: Any) -> str:
        await gate.wait()
        answers.append(await AgentChat("boss", id="top").send_message("done").text())
        return "reported"

    family.serve(asking("boss", ask), asking("kid", report))
    assert await family.chat("boss").send_message("go").text() == "started"
    gate.opened.set()
    assert await family.settled("kid") == "completed"
    assert answers == ["well done"]


async def test_two_agents_may_talk_for_long(family):
    """Turns that nobody waits for any more do not count: two agents may send each other any number of messages."""

    over = asyncio.Event()
    heard: list[int] = []

    def passing(other: str) -> Any:
        async def ask(turn: Any) -> str:
            count = int(turn.ui_messages[-1]["parts"][0]["text"])
            heard.append(count)
            if count:
                await AgentChat(other, id=other).send_message(str(count - 1))
            else:
                over.set()
            return f"{count}"

        return ask

    family.serve(asking("ping", passing("pong")), asking("pong", passing("ping")), max_depth=3)
    await family.chat("ping", "ping").send_message("20").text()
    await over.wait()
    assert heard == list(range(20, -1, -1))


# --- what a tool knows of its call


async def test_current_tool_in_what_a_tool_calls(family):
    """Code that a tool calls finds the call it is part of, in threads too; the sub-agent's own run does not."""
    seen: dict[str, Any] = {}

    def deep() -> str:
        return current_tool().tool_call_id

    @tool
    async def on_the_loop() -> str:
        seen["name"] = current_tool().tool_name
        return deep()

    @tool
    def in_a_thread() -> str:
        return deep()

    async def look(turn: Any) -> str:
        return current_tool().tool_name

    @tool
    async def ask() -> str:
        return await AgentChat("kid").send_message("x").text()

    family.serve(calling("boss", [on_the_loop, in_a_thread, ask]), asking("kid", look))
    chat = family.chat("boss")
    assert await chat.send_message("on_the_loop {}").text() == "got call_1"
    assert await chat.send_message("in_a_thread {}").text() == "got call_5"
    assert await chat.send_message("ask {}").text() == "got UsageError"
    assert seen == {"name": "on_the_loop"}


def test_current_tool_outside_of_tools():
    """Outside of tools there is no call."""
    with pytest.raises(UsageError):
        current_tool()


async def test_current_tool_is_over_with_the_call(family):
    """After the tools of a step the run is in no call any more."""
    over = asyncio.Event()

    @tool
    async def nothing() -> str:
        return ""

    boss = calling("boss", [nothing])

    @boss.on_before_turn_complete
    async def look(event: Any) -> None:
        with pytest.raises(UsageError):
            current_tool()
        over.set()

    family.serve(boss)
    assert await family.chat("boss").send_message("nothing {}").text() == "got "
    assert over.is_set()
