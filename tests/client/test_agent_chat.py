"""What an `AgentChat` does, over both transports alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.errors import (
    AgentMismatchError,
    AgentNotFoundError,
    ForbiddenChangeError,
    InvalidChunkError,
    InvalidMessageError,
    MessageNotFoundError,
    SessionClosedError,
    TurnFailedError,
    UsageError,
)


def texts(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


async def read_until(stream: Any, text: str) -> list[dict[str, Any]]:
    """Read chunks until their text is this; the iteration is left open."""
    chunks: list[dict[str, Any]] = []
    async for chunk in stream:
        chunks.append(chunk)
        if texts(chunks) == text:
            return chunks
    raise AssertionError(f"the stream ended with {texts(chunks)!r}")


# --- answers


async def test_text_is_the_answer(place):
    """`send_message(...).text()` returns what the agent says."""
    chat = await place.open()
    assert await chat.send_message("echo hello").text() == "hello"


@pytest.mark.behaviour(218)
async def test_chunks_are_those_of_one_turn(place):
    """Iterating a stream gives the chunks of its turn from `start` to `finish`."""
    chat = await place.open()
    chunks = [chunk async for chunk in chat.send_message("count 3")]
    assert (chunks[0]["type"], texts(chunks), chunks[-1]["type"]) == ("start", "w0 w1 w2 ", "finish")


async def test_second_turn_continues_the_chat(place):
    """A second message finds the first exchange in the history."""
    chat = await place.open()
    await chat.send_message("echo one").text()
    assert await chat.send_message("history").text() == "3"


async def test_another_object_continues_the_chat(place):
    """Another `AgentChat` with the same id goes on where the chat stands and sees only its own answer."""
    first = await place.open()
    await first.send_message("echo one").text()
    second = await place.open(id=first.id)
    assert await second.send_message("history").text() == "3"


async def test_result_tells_of_tools(place):
    """`result()` has the text, the calls and what came of them."""
    chat = await place.open()
    result = await chat.send_message("tool 2+3").result()
    assert (result.text, result.status, result.finish_reason) == ("5", "completed", "stop")
    assert [(call.tool_name, call.input) for call in result.tool_calls] == [("add", {"a": 2, "b": 3})]
    assert [outcome.output for outcome in result.tool_results] == [5]
    assert result.pending_tool_calls == []


async def test_result_has_the_stored_message(place):
    """The message of a result is the one in the history."""
    chat = await place.open()
    result = await chat.send_message("think").result()
    assert (await chat.messages())[-1] == result.message


async def test_messages_grow(place):
    """`messages()` yields whole messages that grow, one for each delta."""
    chat = await place.open()
    seen = [message async for message in chat.send_message("count 3").messages()]
    said = ["".join(part.get("text", "") for part in message["parts"]) for message in seen]
    assert said == sorted(said, key=len)
    assert {"", "w0 ", "w0 w1 ", "w0 w1 w2 "} == set(said)


async def test_snapshots_are_independent(place):
    """A message that was yielded does not change when the next chunk comes."""
    chat = await place.open()
    seen = [message async for message in chat.send_message("count 5").messages()]
    assert len({str(message) for message in seen}) == len(seen) > 5


async def test_parts_make_a_message(place):
    """A message can be given as parts."""
    chat = await place.open()
    parts = [{"type": "text", "text": "echo "}, {"type": "text", "text": "both"}]
    assert await chat.send_message(parts=parts).text() == "both"


async def test_whole_message_keeps_its_id(place):
    """A whole message is sent as it is."""
    chat = await place.open()
    message = {"id": "mine", "role": "user", "parts": [{"type": "text", "text": "echo x"}]}
    await chat.send_message(message).text()
    assert (await chat.messages())[0] == message


async def test_known_message_id_is_an_edit(place):
    """Sending under a known id replaces that message and what followed (D22)."""
    chat = await place.open()
    await chat.send_message("echo one", message_id="m1").text()
    await chat.send_message("echo two").text()
    assert await chat.send_message("history", message_id="m1").text() == "1"


async def test_awaiting_a_stream_sends(place):
    """Awaiting a stream returns it once the input is durable, before anything is answered."""
    chat = await place.open("valve")
    stream = await chat.send_message("hello")
    assert stream.seq == 1
    assert (await place.sessions.get_session(chat.id)).row.agent == "valve"


async def test_unused_stream_sends_nothing(place):
    """A stream that is never used sends nothing."""
    chat = await place.open()
    chat.send_message("echo lost")
    assert await chat.messages() == []


async def test_client_data_go_along(place):
    """Client data of the chat reach the run, and those of one message take their place."""
    seen: list[Any] = []

    def run(turn: Any) -> str:
        seen.append(turn.client_data)
        return "ok"

    place.valve.agent.run(run)
    chat = await place.open("valve", client_data={"user": 1})
    await chat.send_message("a").text()
    await chat.send_message("b", client_data={"user": 2}).text()
    assert seen == [{"user": 1}, {"user": 2}]


# --- one way to read, once


@pytest.mark.parametrize("second", ["chunks", "text", "result", "messages"])
async def test_a_stream_is_read_once(place, second):
    """A second way to read the same stream is refused."""
    chat = await place.open()
    stream = chat.send_message("echo x")
    await stream.text()
    ways = {"text": stream.text, "result": stream.result, "chunks": stream.__aiter__, "messages": stream.messages}
    with pytest.raises(UsageError, match=r"text\(\)"):
        await ways[second]()


@pytest.mark.behaviour(138)
async def test_no_number_before_it_is_sent(place):
    """A stream that was not sent has no sequence number yet."""
    chat = await place.open()
    with pytest.raises(UsageError):
        _ = chat.send_message("echo x").seq


# --- stop, failure


@pytest.mark.behaviour(218)
async def test_stop_ends_the_turn_and_keeps_what_was_said(place):
    """`stop` ends the running turn; text and message are what there was."""
    chat = await place.open("valve")
    place.valve.say("one ")
    stream = await chat.send_message("go")
    await read_until(await chat.reconnect(), "one ")
    assert await chat.stop("enough") is True
    result = await stream.result()
    assert (result.status, result.text, result.error) == ("stopped", "one ", None)
    assert (await chat.messages())[-1] == result.message


async def test_stopped_stream_ends_with_abort(place):
    """The chunks of a stopped turn end with `abort`, with the reason that was given."""
    chat = await place.open("valve")
    place.valve.say("one ")
    stream = chat.send_message("go")
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        if chunk["type"] == "text-delta":
            assert await chat.stop("enough")
    assert chunks[-1] == {"type": "abort", "reason": "enough"}
    assert stream.status == "stopped"


async def test_stop_before_the_first_word(place):
    """A turn can be stopped before it says anything."""
    chat = await place.open("valve")
    stream = await chat.send_message("go")
    assert await chat.stop() is True
    assert (await stream.result()).status == "stopped"


@pytest.mark.behaviour(219)
async def test_stop_of_nothing(place):
    """There is nothing to stop in a chat without a running turn, nor in one that never began."""
    chat = await place.open()
    assert await chat.stop() is False
    await chat.send_message("echo x").text()
    assert await chat.stop() is False


async def test_a_message_after_a_stop_is_answered(place):
    """The chat goes on after a stop."""
    chat = await place.open()
    stream = await chat.send_message("sleep")
    await chat.stop()
    await stream.result()
    assert await chat.send_message("echo again").text() == "again"


async def test_failed_turn_has_a_masked_error(place):
    """The result of a failed turn has its error, without the exception's text."""
    chat = await place.open()
    result = await chat.send_message("fail").result()
    assert (result.status, result.error["code"]) == ("failed", "internal-error")
    assert "boom" not in str(result)


@pytest.mark.parametrize("mode", ["text", "messages"])
async def test_failed_turn_raises_where_only_the_answer_is_returned(place, mode):
    """`text()` and `messages()` raise the failure of the turn with its code."""
    chat = await place.open()
    stream = chat.send_message("fail")

    async def read_all() -> None:
        _ = [message async for message in stream.messages()]

    with pytest.raises(TurnFailedError) as caught:
        await (stream.text() if mode == "text" else read_all())
    assert caught.value.turn_code == "internal-error"
    assert caught.value.error_id


@pytest.mark.behaviour(218)
async def test_failed_chunks_end_with_error(place):
    """The chunks of a failed turn end with an `error` chunk, and the stream says how it ended."""
    chat = await place.open()
    stream = chat.send_message("fail")
    chunks = [chunk async for chunk in stream]
    assert (chunks[-1]["type"], stream.status) == ("error", "failed")


async def test_half_an_answer_stays_after_a_failure(place):
    """What was said before a failure is in the result, closed, as it is in the history."""
    chat = await place.open("valve")
    place.valve.say("half ", "boom")
    result = await chat.send_message("go").result()
    assert result.message["parts"][-1] == {"type": "text", "text": "half ", "state": "done"}
    assert (await chat.messages())[-1] == result.message


# --- regenerate, actions, raw


async def test_regenerate_answers_anew(place):
    """`regenerate` replaces the last answer by another message."""
    chat = await place.open()
    first = await chat.send_message("echo x").result()
    again = await chat.regenerate().result()
    messages = await chat.messages()
    assert (again.text, len(messages), messages[-1]["id"]) == ("x", 2, again.message["id"])
    assert again.message["id"] != first.message["id"]


async def test_regenerate_an_earlier_answer(place):
    """`regenerate` with an id takes that answer's place and drops what came after (D22)."""
    chat = await place.open()
    first = await chat.send_message("echo one").result()
    await chat.send_message("echo two").text()
    assert await chat.regenerate(first.message["id"]).text() == "one"
    assert len(await chat.messages()) == 2


async def test_action_changes_the_history(place):
    """An action that says nothing has an empty result and its effect is committed."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    result = await chat.send_action({"type": "undo"}).result()
    assert (result.status, result.message, await chat.messages()) == ("completed", None, [])


async def test_action_may_answer(place):
    """What an action answers is streamed and kept (D3)."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    assert await chat.send_action({"type": "regenerate"}).text() == "x"
    assert len(await chat.messages()) == 2


async def test_refused_action_fails(place):
    """An action that does not fit the agent fails visibly and changes nothing (D20)."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    result = await chat.send_action({"type": "unheard-of"}).result()
    assert (result.status, result.error["code"]) == ("failed", "invalid-action")
    assert len(await chat.messages()) == 2


async def test_switch_goes_to_another_branch(place):
    """`siblings` names what stands at the place of a message, and `switch_to` makes one of it the active one."""
    chat = await place.open()
    first = (await chat.send_message("echo x").result()).message
    assert await chat.siblings(first["id"]) == [first["id"]]
    second = (await chat.regenerate().result()).message
    assert await chat.siblings(second["id"]) == [first["id"], second["id"]]

    result = await chat.switch_to(first["id"]).result()

    assert (result.status, result.message) == ("completed", None)
    assert (await chat.messages())[-1] == first
    assert await chat.siblings(first["id"]) == [first["id"], second["id"]]


async def test_versions_of_a_message_can_be_switched(place):
    """An edited message keeps its id, and each version of it has a name to switch to."""
    chat = await place.open()
    await chat.send_message("echo one", message_id="m1").text()
    await chat.send_message("echo two", message_id="m1").text()
    [older, own] = await chat.siblings("m1")
    assert own == "m1"

    await chat.switch_to(older).result()

    assert [message["parts"][-1]["text"] for message in await chat.messages()] == ["echo one", "one"]


async def test_switch_to_an_unknown_message_fails(place):
    """What no branch holds cannot be switched to, and has no siblings."""
    chat = await place.open()
    with pytest.raises(MessageNotFoundError):
        await chat.siblings("nope")
    await chat.send_message("echo x").text()

    result = await chat.switch_to("nope").result()

    assert (result.status, result.error["code"]) == ("failed", "message-not-found")
    with pytest.raises(MessageNotFoundError):
        await chat.siblings("nope")


@pytest.mark.behaviour(219)
async def test_raw_sends_the_last_message_only(place):
    """`send_raw` sends the newest message of a history; the rest is the server's."""
    chat = await place.open()
    forged = {"id": "a", "role": "assistant", "parts": [{"type": "text", "text": "never said"}]}
    question = {"id": "b", "role": "user", "parts": [{"type": "text", "text": "history"}]}
    assert await chat.send_raw([forged, question]).text() == "1"


@pytest.mark.behaviour(219)
async def test_raw_regenerates(place):
    """`send_raw` with the trigger `regenerate-message` asks for another answer."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    assert await chat.send_raw([], trigger="regenerate-message").text() == "x"
    assert len(await chat.messages()) == 2


async def test_raw_needs_a_message(place):
    """`send_raw` of nothing is refused."""
    chat = await place.open()
    with pytest.raises(UsageError):
        chat.send_raw([])


# --- tools that the client answers, approvals


async def test_client_tool_goes_on_in_the_same_message(place):
    """The answer to a client's tool continues the message that called it."""
    chat = await place.open()
    asked = await chat.send_message("ask favourite colour").result()
    (call,) = asked.pending_tool_calls
    assert (call.tool_name, call.input) == ("ask_user", {"question": "favourite colour"})
    answered = await chat.add_tool_output(call.tool_call_id, "blue").result()
    assert (answered.text, answered.message["id"]) == ("answer: blue", asked.message["id"])
    assert (await chat.messages())[-1] == answered.message
    assert len(await chat.messages()) == 2


async def test_client_tool_may_fail(place):
    """A client can say that its tool failed."""
    chat = await place.open()
    asked = await chat.send_message("ask colour").result()
    answered = await chat.add_tool_output(asked.pending_tool_calls[0].tool_call_id, error_text="no colours").result()
    assert answered.text.startswith("answer: ")
    assert "no colours" in answered.text


@pytest.mark.parametrize(
    ("approved", "text", "state"), [(True, "sent", "output-available"), (False, "not sent", "output-denied")]
)
async def test_approval(place, approved, text, state):
    """An approval runs the tool, a denial does not; both go on in the same message."""
    chat = await place.open()
    asked = await chat.send_message("approve bob").result()
    (call,) = asked.pending_tool_calls
    assert (call.tool_name, call.state) == ("send_email", "approval-requested")
    answered = await chat.approve(call.approval_id, approved).result()
    assert (answered.text, answered.message["id"]) == (text, asked.message["id"])
    assert [part["state"] for part in answered.message["parts"] if part["type"] == "tool-send_email"] == [state]
    assert [outcome.tool_name for outcome in answered.tool_results] == ["send_email"]


async def test_snapshots_of_a_continued_message_begin_with_its_earlier_parts(place):
    """`messages()` of a continuation shows the whole message from its first snapshot on."""
    chat = await place.open()
    asked = await chat.send_message("confirm it").result()
    stream = chat.approve(asked.pending_tool_calls[0].approval_id, True)
    seen = [message async for message in stream.messages()]
    assert {message["id"] for message in seen} == {asked.message["id"]}
    assert all(any(part["type"] == "tool-do_it" for part in message["parts"]) for message in seen)


@pytest.mark.parametrize("answer", ["output", "approval"])
async def test_unknown_call_cannot_be_answered(place, answer):
    """An answer to a call that the history does not hold is refused before anything is sent."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    with pytest.raises(UsageError, match="nothing"):
        await (chat.add_tool_output("nothing", 1) if answer == "output" else chat.approve("nothing", True))


async def test_forged_output_fails_the_turn(place):
    """An output for a call that is the server's is refused (D15)."""
    chat = await place.open()
    asked = await chat.send_message("approve bob").result()
    result = await chat.add_tool_output(asked.pending_tool_calls[0].tool_call_id, {"sent": True}).result()
    assert (result.status, result.error["code"]) == ("failed", ForbiddenChangeError.code)


# --- writing from elsewhere


async def test_write_into_a_running_answer(place):
    """Data that a program writes show in the answer that runs, and stay in it."""
    chat = await place.open("valve")
    place.valve.say("one ")
    stream = chat.send_message("go")
    await read_until(stream, "one ")
    await chat.write({"type": "data-job", "id": "j", "data": 7})
    place.valve.end()
    follower = await chat.reconnect()
    if follower is not None:
        await follower.result()
    assert {"type": "data-job", "id": "j", "data": 7} in (await chat.messages())[-1]["parts"]


async def test_write_begins_a_chat(place):
    """A chat that has not begun can be written to; no turn is begun by it."""
    chat = await place.open()
    await chat.write({"type": "data-job", "data": 1}, {"type": "data-job", "data": 2})
    follower = await chat.reconnect()
    if follower is not None:
        await follower.result()
    (message,) = await chat.messages()
    assert [part["data"] for part in message["parts"]] == [1, 2]


async def test_only_data_are_written(place):
    """What is no data chunk is refused the same way over both ways."""
    chat = await place.open()
    with pytest.raises(InvalidChunkError, match="only data chunks"):
        await chat.write({"type": "text-start", "id": "t"})


# --- readers


@pytest.mark.behaviour(218)
async def test_reconnect_goes_on_after_what_was_seen(place):
    """A reader that left in mid-answer comes back and gets the rest, nothing lost and nothing twice."""
    chat = await place.open("valve")
    place.valve.say("one ", "two ")
    stream = chat.send_message("go")
    seen = await read_until(stream, "one two ")
    await stream.aclose()
    again = await chat.reconnect()
    place.valve.say("three")
    place.valve.end()
    seen += [chunk async for chunk in again]
    assert texts(seen) == "one two three"
    assert [chunk["type"] for chunk in seen].count("start") == 1


@pytest.mark.behaviour(138)
async def test_reconnect_of_a_new_object_begins_with_the_turn(place):
    """Another object, say after a restart of the program, reads the running turn from its beginning."""
    chat = await place.open("valve")
    place.valve.say("one ", "two ")
    await read_until(chat.send_message("go"), "one ")
    later = await place.open("valve", id=chat.id)
    stream = await later.reconnect()
    place.valve.end()
    assert await stream.text() == "one two "


async def test_reconnect_from_a_cursor(place):
    """A cursor that was kept elsewhere says where the chunks go on; the result is whole all the same."""
    chat = await place.open("valve")
    place.valve.say("one ", "two ")
    await read_until(chat.send_message("go"), "one ")
    later = await place.open("valve", id=chat.id)
    stream = await later.reconnect(chat.cursor)
    place.valve.end()
    assert texts([chunk async for chunk in stream]) == "two "
    assert (await chat.messages())[-1]["parts"][-1]["text"] == "one two "


async def test_result_after_reconnect_is_whole(place):
    """`result()` of a reconnected stream has the answer from its beginning."""
    chat = await place.open("valve")
    place.valve.say("one ", "two ")
    await read_until(chat.send_message("go"), "one ")
    stream = await chat.reconnect()
    place.valve.end()
    assert (await stream.result()).text == "one two "


async def test_reconnect_when_settled(place):
    """There is nothing to reconnect to when no turn runs, nor in a chat that never began."""
    chat = await place.open()
    assert await chat.reconnect() is None
    await chat.send_message("echo x").text()
    assert await chat.reconnect() is None


async def test_reading_no_further_does_not_stop_the_turn(place):
    """A reader that leaves does not stop the turn (D16)."""
    chat = await place.open("valve")
    place.valve.say("one ")
    stream = chat.send_message("go")
    await read_until(stream, "one ")
    await stream.aclose()
    follower = await chat.reconnect()
    place.valve.say("two")
    place.valve.end()
    assert await follower.text() == "one two"


async def test_two_readers_see_the_same(place):
    """Two readers of one turn each get all of it."""
    chat = await place.open("valve")
    stream = await chat.send_message("go")
    other = await (await place.open("valve", id=chat.id)).reconnect()
    place.valve.say("one ", "two")
    place.valve.end()
    assert await asyncio.gather(stream.text(), other.text()) == ["one two", "one two"]


@pytest.mark.behaviour(136)
async def test_each_stream_has_its_own_turn(place):
    """Of two messages sent at once each stream gets the answer to its own."""
    chat = await place.open()
    first, second = await chat.send_message("count 3"), await chat.send_message("echo second")
    assert await asyncio.gather(second.text(), first.text()) == ["second", "w0 w1 w2 "]


async def test_cursor_moves_with_reading(place):
    """The cursor is the last record that was read."""
    chat = await place.open()
    assert chat.cursor == 0
    await chat.send_message("echo x").text()
    state = await (await place.sessions.get_session(chat.id)).load()
    assert chat.cursor == state.cursor


async def test_steer_needs_a_running_turn(place):
    """`steer` sends nothing and says so when no turn runs."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    assert await chat.steer("echo y") is False
    assert len(await chat.messages()) == 2


@pytest.mark.behaviour(218)
async def test_steer_while_a_turn_runs(place):
    """`steer` sends while a turn runs; with the policy `queue` it is answered next."""
    chat = await place.open("valve")
    stream = await chat.send_message("go")
    assert await chat.steer("and this") is True
    place.valve.say("first")
    place.valve.end()
    assert await stream.text() == "first"
    follower = await chat.reconnect()
    place.valve.say("second")
    place.valve.end()
    assert await follower.text() == "second"


# --- the session


async def test_preload_creates_the_session(place):
    """`preload` creates the session before the first message."""
    chat = await place.open()
    await chat.preload()
    assert (await place.sessions.get_session(chat.id)).agent.id == "playbook"


async def test_closed_chat_takes_no_more(place):
    """After `close` an input is refused; what was said can still be read."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    assert await chat.close("done") is True
    with pytest.raises(SessionClosedError):
        await chat.send_message("echo y")
    assert len(await chat.messages()) == 2


async def test_close_of_nothing(place):
    """A chat that never began cannot be closed."""
    assert await (await place.open()).close() is False


async def test_leaving_the_block_does_not_close_the_session(place):
    """`async with` closes connections, not the session."""
    chat = await place.open()
    await chat.send_message("echo x").text()
    await chat.aclose()
    later = await place.open(id=chat.id)
    assert await later.send_message("history").text() == "3"


@pytest.mark.parametrize("chat_id", ["a/b:c %", "..", ".", "?x=1#y", "ümlaut 🦊", "a%2Fb", "x" * 256])
async def test_odd_chat_ids(place, chat_id):
    """Any chat id that the server takes can be used as it is."""
    chat = await place.open(id=chat_id)
    assert await chat.send_message("echo x").text() == "x"
    assert [row.key.chat_id async for row in place.sessions.iter_sessions()] == [chat_id]


async def test_unknown_agent(place):
    """An agent that is not served raises the same error over both ways."""
    chat = await place.open("nobody")
    with pytest.raises(AgentNotFoundError, match="nobody"):
        await chat.send_message("hello")


async def test_chat_of_another_agent(place):
    """A chat belongs to the agent it began with."""
    chat = await place.open()
    await chat.preload()
    other = await place.open("valve", id=chat.id)
    with pytest.raises(AgentMismatchError):
        await other.send_message("hello")


@pytest.mark.behaviour(218)
async def test_refused_message_raises(place):
    """A message that is none is refused when it is sent, and the stream can say so again."""
    chat = await place.open()
    stream = chat.send_message({"id": "m", "role": "user", "parts": []})
    with pytest.raises(InvalidMessageError):
        await stream
    assert await chat.messages() == []


def test_where_must_be_said():
    """An `AgentChat` needs exactly one of a session manager and a base URL."""
    with pytest.raises(UsageError):
        AgentChat(ChatAgent("a"))


def test_what_must_be_said():
    """A message is a text, a message or parts: one of them."""
    chat = AgentChat("a", base_url="http://127.0.0.1:1")
    with pytest.raises(UsageError):
        chat.send_message()
    with pytest.raises(UsageError):
        chat.send_message("a", parts=[])
