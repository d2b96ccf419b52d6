"""What other code writes into a session: where it goes, that it is there once, and that nothing else happens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatrt import AgentChat, ChatAgent, SessionManager, current_run, session_writer
from chatrt.errors import InvalidChunkError, InvalidInputError, SessionClosedError, SessionNotFoundError, UsageError
from tests.runtime.driver import Gate, House
from tests.runtime.troubled_store import TroubledStore


def data(value: Any, **keys: Any) -> dict[str, Any]:
    return {"type": "data-note", "data": value, **keys}


def notes(message: dict[str, Any]) -> list[Any]:
    return [part["data"] for part in message["parts"] if part["type"] == "data-note"]


def waiting(gate: Gate, **options: Any) -> ChatAgent:
    """An agent that says something, waits at a gate and says the rest."""

    async def run(turn: Any) -> Any:
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "one "}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "two"}
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("agent", run=run, **options)


def plain(**options: Any) -> ChatAgent:
    return ChatAgent("agent", run=lambda turn: f"answer {turn.number}", **options)


def is_note(value: Any) -> Any:
    return lambda chunk: chunk["type"] == "data-note" and chunk["data"] == value


async def begin(house: House, agent: ChatAgent, gate: Gate) -> tuple[Any, Any]:
    """Start a turn and return the chat and the input, with the answer held at the gate."""
    chat = await house.open(agent)
    appended = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "go"}]})
    await gate.reached.wait()
    return chat, appended


# --- while a turn runs


async def test_write_shows_in_the_running_answer(house, gate):
    """A write shows while the turn runs, and is part of its answer, where it was written."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    gate.opened.set()
    await chat.settled(appended)
    (_, answer) = await chat.messages()
    assert [part["type"] for part in answer["parts"]] == ["text", "data-note"]
    assert notes(answer) == [1]


async def test_write_in_a_turn_has_no_end_of_its_own(house, gate):
    """A write that went into a turn is settled by it: one `turn-complete`, and nothing waits any more."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    gate.opened.set()
    await chat.settled(appended)
    state = await chat.session.load()
    assert (state.in_cursor, state.last_in_seq, state.status) == (2, 2, "idle")
    kinds = [record.kind async for batch in chat.session.outbox.read(0, live=False) for record in batch]
    assert kinds.count("turn-complete") == kinds.count("turn-start") == 1


async def test_transient_write_is_shown_and_not_kept(house, gate):
    """A transient write reaches who reads, and no message."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1, transient=True)])
    await chat.until(is_note(1))
    gate.opened.set()
    await chat.settled(appended)
    assert notes((await chat.messages())[-1]) == []


async def test_write_of_a_known_id_takes_its_place(house, gate):
    """A part of the same type and id takes the place of the earlier one (D18)."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1, id="a"), data("x", id="b")])
    await chat.inbox.write([data(2, id="a")])
    await chat.until(is_note(2))
    gate.opened.set()
    await chat.settled(appended)
    assert notes((await chat.messages())[-1]) == [2, "x"]


async def test_writes_without_ids_are_all_kept(house, gate):
    """Writes that name no id are parts of their own."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1), data(2)])
    await chat.inbox.write([data(3)])
    await chat.until(is_note(3))
    gate.opened.set()
    await chat.settled(appended)
    assert notes((await chat.messages())[-1]) == [1, 2, 3]


async def test_write_overtakes_messages_that_wait(house, gate):
    """A write goes into the turn that runs, not behind the messages that came before it."""
    chat, appended = await begin(house, waiting(gate), gate)
    second = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "more"}]})
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    gate.opened.set()
    await chat.settled(appended)
    await chat.settled(second)
    assert [notes(message) for message in await chat.messages()] == [[], [1], [], []]


async def test_write_before_the_answer_opens_waits_for_it(house, gate):
    """A write that comes while hooks get the turn ready is part of that turn's answer."""
    booting = Gate()
    agent = waiting(gate, on_boot=lambda event: booting.wait())
    chat = await house.open(agent)
    appended = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "go"}]})
    await booting.reached.wait()
    await chat.inbox.write([data(1)])
    booting.opened.set()
    await chat.until(is_note(1))
    gate.opened.set()
    await chat.settled(appended)
    assert notes((await chat.messages())[-1]) == [1]


async def test_stopped_turn_keeps_what_was_written(house, gate):
    """What was written into an answer stays in it when the turn is stopped."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1)])
    await chat.inbox.stop()
    settled = await chat.settled(appended)
    assert settled.status == "stopped"
    assert notes((await chat.messages())[-1]) == [1]


async def test_write_into_an_action_s_answer(house, gate):
    """What is written while an action answers is part of that answer."""

    async def act(event: Any) -> Any:
        await gate.wait()
        return "done"

    chat = await house.open(plain(on_action=act))
    appended = await chat.inbox.act({"type": "x"})
    await gate.reached.wait()
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    gate.opened.set()
    await chat.settled(appended)
    assert notes((await chat.messages())[-1]) == [1]


async def test_write_interrupts_nothing(house, gate):
    """A write is no newer message: with the policy `interrupt` the turn goes on."""
    chat, appended = await begin(house, waiting(gate, when_busy="interrupt"), gate)
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    gate.opened.set()
    assert (await chat.settled(appended)).text == "one two"


# --- while nothing runs


async def test_idle_write_goes_to_the_last_answer(house):
    """A write that finds nothing running continues the last answer, for readers too."""
    chat = await house.open(plain())
    first = await chat.send("go")
    settled = await chat.settled(await chat.inbox.write([data(1)]))
    answer = (await chat.messages())[-1]
    assert [part["type"] for part in answer["parts"]] == ["text", "data-note"]
    assert settled.start["trigger"] == "write"
    assert settled.start["messageId"] == first.complete["messageId"] == settled.complete["messageId"]
    assert "data-note" not in str(settled.start["message"])
    assert (settled.types, settled.status) == (["start", "data-note", "finish"], "completed")


async def test_idle_write_runs_nothing(house):
    """A write begins no turn of the run function and calls no hook."""
    calls: list[str] = []

    def note(name: str) -> Any:
        return lambda event: calls.append(name)

    agent = plain(
        **{
            name: note(name)
            for name in (
                "on_boot",
                "on_chat_start",
                "on_turn_start",
                "on_before_turn_complete",
                "on_turn_complete",
                "on_chat_suspend",
                "on_chat_resume",
            )
        }
    )
    chat = await house.open(agent)
    await chat.settled(await chat.inbox.write([data(1)]))
    assert calls == []
    assert (await chat.send("go")).text == "answer 0"
    assert calls == ["on_boot", "on_chat_start", "on_turn_start", "on_before_turn_complete", "on_turn_complete"]


async def test_write_to_a_chat_that_has_not_begun(house):
    """A first write makes an answer of its own; the first turn's answer continues from a new message."""
    chat = await house.open(plain())
    await chat.settled(await chat.inbox.write([data(1)]))
    await chat.send("go")
    assert [message["role"] for message in await chat.messages()] == ["assistant", "user", "assistant"]


async def test_idle_write_behind_a_question(house):
    """Where the last message is a question, the write makes a new answer."""

    async def forget(event: Any) -> None:
        event.history.slice(0, 1)

    chat = await house.open(plain(on_action=forget))
    await chat.send("go")
    await chat.act({})
    await chat.settled(await chat.inbox.write([data(1)]))
    question, answer = await chat.messages()
    assert (question["role"], answer["role"], notes(answer)) == ("user", "assistant", [1])


async def test_idle_transient_write_changes_no_message(house):
    """A transient write that finds nothing running is shown, and no message is made of it."""
    chat = await house.open(plain())
    await chat.send("go")
    before = await chat.messages()
    settled = await chat.settled(await chat.inbox.write([data(1, transient=True)]))
    assert settled.types == ["start", "data-note", "finish"]
    assert await chat.messages() == before


async def test_stop_does_not_mean_a_write(house, gate):
    """Who stops right after sending means the message, also when a write waits before it."""
    store = TroubledStore()
    house.store = store
    chat = await house.open(waiting(gate))
    held = store.hold("acquire_lease")
    await chat.inbox.write([data(1)])
    await held.reached.wait()
    sent = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "go"}]})
    await chat.inbox.stop()
    held.opened.set()
    assert (await chat.settled(sent)).status == "stopped"


# --- once


async def test_write_is_not_repeated_by_the_next_run(house, gate):
    """A write that a turn took in, ahead of a message that waited, is not done again when another run serves that."""
    chat, appended = await begin(house, waiting(gate), gate)
    second = Gate()
    await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "more"}]})
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    chat.session.agent.hooks.run = _stuck(second)
    gate.opened.set()
    await chat.settled(appended)
    await second.reached.wait()
    await house.crash()
    chat = await house.open(plain())
    await chat.session.inbox.stop()
    await chat.settled(_Seq(2))
    assert [notes(message) for message in await chat.messages()][:3] == [[], [1], []]
    assert sum(len(notes(message)) for message in await chat.messages()) == 1


async def test_crash_with_a_write_that_was_shown(house, gate):
    """What was shown of a write is kept with the interrupted answer, once."""
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1), data(2, id="a")])
    await chat.until(is_note(2))
    await house.crash()
    chat = await house.open(plain())
    assert (await chat.settled(appended)).status == "interrupted"
    await chat.send("more")
    assert [notes(message) for message in await chat.messages()] == [[], [1, 2], [], []]


async def test_crash_with_a_shown_write_and_a_message_that_waits(house, gate):
    """A write that was shown does not move to the answer of the message that waited before it."""
    chat, appended = await begin(house, waiting(gate), gate)
    second = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "more"}]})
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    await house.crash()
    chat = await house.open(plain())
    await chat.settled(appended)
    await chat.settled(second)
    assert [notes(message) for message in await chat.messages()] == [[], [1], [], []]


async def test_crash_before_a_write_was_stored_in_the_answer(house, gate):
    """A write that the dead run had not shown is done by the next one."""
    store = TroubledStore()
    house.store = store
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    held = store.hold("append_out_groups")
    await chat.inbox.write([data(1)])
    await held.reached.wait()
    await house.crash()
    chat = await house.open(plain())
    await chat.settled(appended)
    await chat.settled(_Seq(2))
    assert [notes(message) for message in await chat.messages()] == [[], [1]]


async def test_crash_between_two_equal_writes(house, gate):
    """Of two writes that say the same, the one that was not shown yet is done by the next run."""
    store = TroubledStore()
    house.store = store
    chat, appended = await begin(house, waiting(gate), gate)
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    held = store.hold("append_out_groups")
    again = await chat.inbox.write([data(1)])
    await held.reached.wait()
    await house.crash()
    chat = await house.open(plain())
    await chat.settled(appended)
    await chat.settled(again)
    assert [notes(message) for message in await chat.messages()] == [[], [1, 1]]


async def test_crash_while_an_idle_write_is_committed(house):
    """A write whose commit is lost is served again, and its part is there once."""
    store = TroubledStore()
    house.store = store
    chat = await house.open(plain())
    await chat.send("go")
    held = store.hold("commit")
    appended = await chat.inbox.write([data(1)])
    await held.reached.wait()
    await house.crash()
    chat = await house.open(plain())
    await chat.settled(appended)
    assert [notes(message) for message in await chat.messages()] == [[], [1]]


async def test_repeated_write(house):
    """A write of a known part id changes nothing."""
    chat = await house.open(plain())
    first = await chat.inbox.write([data(1)], part_id="p")
    await chat.settled(first)
    assert (await chat.inbox.write([data(1)], part_id="p")).repeated
    assert [notes(message) for message in await chat.messages()] == [[1]]


async def test_write_into_a_turn_that_is_handed_on(house, gate):
    """What was written into a turn that newer code takes over is part of the answer that one gives."""

    async def hand_on(event: Any) -> None:
        if handed:
            return
        handed.append(True)
        await gate.wait()
        current_run().request_upgrade()

    handed: list[bool] = []
    chat = await house.open(plain(on_turn_start=hand_on))
    appended = await chat.inbox.send_message({"role": "user", "parts": [{"type": "text", "text": "go"}]})
    await gate.reached.wait()
    await chat.inbox.write([data(1)])
    await chat.until(is_note(1))
    gate.opened.set()
    assert (await chat.settled(appended)).status == "completed"
    assert [notes(message) for message in await chat.messages()] == [[], [1]]


# --- at the door


@pytest.mark.parametrize(
    ("chunk", "path"),
    [
        ({"type": "text-start", "id": "t"}, "/chunks/1/type"),
        ({"type": "data-x"}, "/chunks/1/data"),
        ({"type": "data-x", "data": 1, "id": 3}, "/chunks/1/id"),
        ({"type": "nothing"}, "/chunks/1/type"),
        ("text", "/chunks/1"),
    ],
)
async def test_only_data_can_be_written(house, chunk, path):
    """What is no data chunk is refused with its place, and nothing is written."""
    chat = await house.open(plain())
    with pytest.raises(InvalidChunkError) as refused:
        await chat.inbox.write([data(1), chunk])
    assert refused.value.path == path
    assert (await chat.session.position()).last_in_seq == 0


async def test_nothing_to_write(house):
    """A write without chunks is refused."""
    chat = await house.open(plain())
    with pytest.raises(InvalidInputError):
        await chat.inbox.write([])


async def test_write_to_a_closed_chat(house):
    """A closed session takes no writes."""
    chat = await house.open(plain())
    await house.sessions.close_session("chat")
    with pytest.raises(SessionClosedError):
        await chat.inbox.write([data(1)])


# --- from other sessions


async def test_targets(house):
    """From inside of a run a writer finds its own session, its parent and the root of the family, or any chat id."""
    agents = [
        _family_member("top", "middle"),
        _family_member("middle", "leaf"),
        ChatAgent("leaf", run=_write_everywhere),
        ChatAgent("other", run=lambda turn: "x"),
    ]
    sessions = house.sessions = SessionManager(agents, house.store)
    await sessions.start_session("other", "other")
    await AgentChat("top", id="top", sessions=sessions).send_message("go").text()
    await AgentChat("other", id="other", sessions=sessions).send_message("go").text()
    found = {}
    for chat_id in ("top", "middle", "leaf", "other"):
        messages = (await (await sessions.get_session(chat_id)).load()).messages
        found[chat_id] = sorted(note for message in messages for note in notes(message))
    assert found == {"top": ["root"], "middle": ["parent"], "leaf": ["self"], "other": ["other"]}


async def test_root_of_a_session_without_parent(house):
    """A session that began by itself is its own root, and has no parent to write to."""

    async def run(turn: Any) -> str:
        await session_writer().write(data("root"))
        with pytest.raises(UsageError, match="no parent"):
            session_writer("parent")
        return "done"

    chat = await house.open(ChatAgent("agent", run=run))
    assert (await chat.send("go")).text == "done"
    await chat.send("again")
    assert [note for message in await chat.messages() for note in notes(message)] == ["root", "root"]


async def test_writer_outside_of_runs(house):
    """Outside of a run a writer needs a session manager, and the chat id."""
    chat = await house.open(plain())
    await session_writer("chat", sessions=house.sessions).write(data(1), data(2))
    await chat.settled(_Seq(1))
    assert [notes(message) for message in await chat.messages()] == [[1, 2]]
    with pytest.raises(SessionNotFoundError):
        await session_writer("nobody", sessions=house.sessions).write(data(1))
    with pytest.raises(UsageError):
        session_writer("chat")


async def test_merge_writes_a_whole_stream(house, gate):
    """`merge` writes every chunk in order; what comes while others are being stored goes together."""
    chat, appended = await begin(house, waiting(gate), gate)

    async def chunks() -> Any:
        for number in range(20):
            yield data(number)

    await session_writer("chat", sessions=house.sessions).merge(chunks())
    gate.opened.set()
    await chat.settled(appended)
    assert notes((await chat.messages())[-1]) == list(range(20))
    assert (await chat.session.position()).last_in_seq < 21


async def test_merge_refuses_what_is_no_data(house):
    """`merge` ends with the error of the first chunk that is no data chunk."""
    chat = await house.open(plain())

    async def chunks() -> Any:
        yield data(1)
        yield {"type": "start"}

    with pytest.raises(InvalidChunkError):
        await session_writer("chat", sessions=house.sessions).merge(chunks())
    await chat.settled(_Seq(1))
    assert [notes(message) for message in await chat.messages()] == [[1]]


class _Seq:
    """An input, by its number alone."""

    def __init__(self, seq: int) -> None:
        self.seq = seq


def _stuck(gate: Gate) -> Any:
    async def run(turn: Any) -> Any:
        yield {"type": "text-start", "id": "t"}
        await gate.wait()

    return run


def _family_member(name: str, child: str) -> ChatAgent:
    async def run(turn: Any) -> str:
        return await AgentChat(child, id=child).send_message("go").text()

    return ChatAgent(name, run=run)


async def _write_everywhere(turn: Any) -> str:
    for target in ("self", "parent", "root", "other"):
        await session_writer(target).write({"type": "data-note", "data": target})
    return json.dumps(turn.parent.root_id)
