"""A turn as the process shows it that does not run it: two session managers on one PostgreSQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

import pytest

from chatrt import ChatAgent
from chatrt.codec import loads
from chatrt.generate import stream_text
from chatrt.ids import RandomIds
from chatrt.models import FunctionModel
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.runtime import SessionManager
from chatrt.stores import Appended
from chatrt.stores.postgres import PostgresStore, migrate
from chatrt.tools import tool
from tests.runtime.driver import Chat, Gate, texts, user
from tests.runtime.test_human_in_the_loop import decision, output

Opened = tuple[Chat, Chat]
Open = Callable[[ChatAgent], Awaitable[Opened]]


@pytest.fixture
async def open_twice(postgres_url: str) -> AsyncIterator[Open]:
    """Open one chat in two session managers: first the one that has its run, then the other one."""
    await migrate(postgres_url)
    async with AsyncExitStack() as stack:

        async def open_chat(agent: ChatAgent) -> Opened:
            pair = [SessionManager(agent, PostgresStore(postgres_url)) for _ in range(2)]
            # The one that is to serve is alone when the chat begins, so that nobody else takes it up.
            first, second = [await stack.enter_async_context(sessions) for sessions in pair[:1]], pair[1]
            chat_id = RandomIds().new("chat")
            here = Chat(await first[0].start_session(agent.id, chat_id), first[0])
            await here.settled(await here.inbox.act("begin"))
            await stack.enter_async_context(second)
            return here, Chat(await second.get_session(chat_id), second)

        yield open_chat


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


@tool(needs_approval=True)
async def send_email(to: str) -> str:
    """Send an e-mail."""
    return f"sent to {to}"


def holding(gate: Gate | dict[str, Gate], **options: Any) -> ChatAgent:
    """An agent that waits at the gate, or at that of its words, where a message or an action begins with `hold`.

    `look` lets it call a tool that waits there, and `ask` one that the client answers and one that needs approval; when
    it goes on behind them it waits too.
    """

    async def wait(words: str) -> None:
        if isinstance(gate, Gate):
            await gate.wait()
        elif words in gate:
            await gate[words].wait()

    @tool
    async def look() -> str:
        """Look."""
        await wait("look")
        return "seen"

    async def speak(request: Any) -> AsyncIterator[Any]:
        rows = request.messages
        said = [part["text"] for row in rows if row["role"] == "user" for part in row["content"]][-1]
        step: list[Any] = [*text(f"to {said}"), *finish()]
        if said.startswith("ask") and rows[-1]["role"] == "user":
            step = call(
                tool_call("ask_user", {"question": "?"}, id="c1"), tool_call("send_email", {"to": "bob"}, id="c2")
            )
        elif said.startswith("look") and rows[-1]["role"] == "user":
            step = call(tool_call("look", {}))
        for part in step:
            yield part
            if said.startswith("hold"):
                await wait(said)
            elif rows[-1]["role"] == "tool":
                await wait("then")

    async def run(turn: Any) -> Any:
        return stream_text(FunctionModel(speak), turn.messages, tools=turn.tools)

    async def act(event: Any) -> None:
        if event.action == "hold":
            await wait("hold")

    return ChatAgent("a", run=run, tools=[ask_user, send_email, look], on_action=act, **options)


async def begun(chat: Chat, gate: Gate, in_seq: int) -> None:
    """Return when an answer waits at the gate, and that it has begun is stored."""
    await gate.reached.wait()
    async for record in chat.records():
        if record.kind == "turn-start" and loads(record.body)["inSeq"] == in_seq:
            return


async def agreed(here: Chat, there: Chat) -> Any:
    """What both processes show, which is the same."""
    shown = await here.session.load()
    assert asdict(await there.session.load()) == asdict(shown)
    return shown


# --- what is shown of each kind of turn, in mid-answer


async def a_message(chat: Chat) -> Appended:
    return await chat.inbox.send_message(user("hold on"))


async def an_edit(chat: Chat) -> Appended:
    return await chat.inbox.send_message(user("hold on", "u1"))


async def an_edit_by_another_id(chat: Chat) -> Appended:
    return await chat.inbox.send_message(user("hold on"), message_id="u1")


async def an_action(chat: Chat) -> Appended:
    return await chat.inbox.act("hold")


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (a_message, ["one", "to one", "two", "to two", "hold on"]),
        (an_edit, ["hold on"]),
        (an_edit_by_another_id, ["hold on"]),
        (an_action, ["one", "to one", "two", "to two"]),
    ],
)
async def test_what_is_shown_in_mid_answer(open_twice: Open, gate: Gate, begin: Any, said: list[str]):
    """Messages, branches, what waits, the status and the cursors are the same as in the process that runs the turn."""
    here, there = await open_twice(holding(gate))
    await here.send("one", "u1")
    await here.send("two", "u2")
    await begun(there, gate, (await begin(there)).seq)

    shown = await agreed(here, there)

    assert (shown.status, shown.pending, [words for _, words in texts(shown.messages)]) == ("running", [], said)
    gate.opened.set()


async def test_the_answer_that_is_given_again_is_not_shown(open_twice: Open, gate: Gate):
    """A regenerate shows the conversation up to the question, and the branches that there are by then."""
    here, there = await open_twice(holding(gate))
    gate.opened.set()
    await here.send("hold one", "u1")
    await here.send("two", "u2")
    await here.regenerate()
    gate.opened.clear()
    gate.reached.clear()
    again = await there.inbox.regenerate((await there.messages())[1]["id"])
    await begun(there, gate, again.seq)

    shown = await agreed(here, there)

    assert texts(shown.messages) == [("user", "hold one")]
    gate.opened.set()


async def test_answered_calls_are_shown_answered(open_twice: Open, gate: Gate):
    """The message that is continued has the answers that it goes on with."""
    here, there = await open_twice(holding(gate))
    asked = await here.send("ask")
    message_id = asked.start["messageId"]
    approval = next(chunk for chunk in asked.chunks if chunk["type"] == "tool-approval-request")
    await here.answer(output("c1", "because"), message_id=message_id)
    answer: Any = {
        "id": message_id,
        "role": "assistant",
        "parts": [decision("c2", approval["approvalId"], approved=True)],
    }
    await begun(there, gate, (await there.inbox.send_message(answer)).seq)

    shown = await agreed(here, there)

    assert {part["state"] for part in shown.messages[-1]["parts"] if part["type"].startswith("tool-")} == {
        "output-available",
        "approval-responded",
    }
    gate.opened.set()


async def test_what_waits_is_what_was_not_put_into_the_turn(open_twice: Open):
    """Neither the question nor what was injected waits; what came later does, as it was edited last."""
    looking, then = Gate(), Gate()
    here, there = await open_twice(holding({"look": looking, "hold it": then}))
    await begun(there, looking, (await there.inbox.send_message(user("look"))).seq)
    steered = await there.inbox.send_message(user("hold it"), steer=True)
    await here.until_read(steered)
    looking.opened.set()
    await there.until(lambda chunk: chunk["type"] == "data-pending-message-injected")
    waiting = await there.inbox.send_message(user("wrnog", "u9"))
    dropped = await there.inbox.send_message(user("never"))
    await there.inbox.edit_pending(waiting.seq, user("right"))
    late = await there.inbox.withdraw(dropped.seq)
    await here.until_read(late)

    shown = await agreed(here, there)

    assert [(one.in_seq, one.message["id"]) for one in shown.pending] == [(waiting.seq, "u9")]
    assert texts([one.message for one in shown.pending]) == [("user", "right")]
    assert texts(shown.messages) == [("user", "look")]
    then.opened.set()


async def test_what_is_said_about_the_question_comes_too_late_everywhere(open_twice: Open, gate: Gate):
    """Once the answer has begun, an edit or a withdrawal of its question changes nothing that anybody sees."""
    here, there = await open_twice(holding(gate))
    asked = await there.inbox.send_message(user("hold on"))
    await begun(there, gate, asked.seq)
    await there.inbox.edit_pending(asked.seq, user("something else"))
    await here.until_read(await there.inbox.withdraw(asked.seq))

    assert texts((await agreed(here, there)).messages) == [("user", "hold on")]
    gate.opened.set()


async def test_a_question_that_was_edited_is_shown_as_it_is_answered(open_twice: Open):
    """What is being answered are the words of the last edit that came in time."""
    first, second = Gate(), Gate()
    here, there = await open_twice(holding({"hold one": first, "hold right": second}))
    await there.inbox.send_message(user("hold one"))
    await first.reached.wait()
    waiting = await there.inbox.send_message(user("hold wrnog", "u9"))
    await here.until_read(await there.inbox.edit_pending(waiting.seq, user("hold right")))
    first.opened.set()
    await begun(there, second, waiting.seq)
    await here.until_read(await there.inbox.edit_pending(waiting.seq, user("too late")))

    assert texts((await agreed(here, there)).messages)[2] == ("user", "hold right")
    second.opened.set()


async def test_of_a_history_that_the_application_brings_the_question_is_shown(open_twice: Open, gate: Gate):
    """What `hydrate_messages` gave is the run's alone until it is committed; the question stands behind what is stored."""
    agent = holding(gate)
    brought: list[Any] = []

    @agent.hydrate_messages
    async def hydrate(event: Any) -> Any:
        return [*brought, *event.incoming_messages]

    here, there = await open_twice(agent)
    brought.append(user("from elsewhere", "x1"))
    await begun(there, gate, (await there.inbox.send_message(user("hold on", "u1"))).seq)
    shown = [texts((await chat.session.load()).messages) for chat in (here, there)]

    assert shown == [[("user", words) for words in said] for said in (["from elsewhere", "hold on"], ["hold on"])]
    gate.opened.set()
