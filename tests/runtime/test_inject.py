"""What is injected stands in the prompts at its place, and in no message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.compaction import Compaction
from chatrt.errors import UsageError
from chatrt.generate import stream_text
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.run_control import current_run
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.background import last_prompt, look, looks, note, prompt, scripted, stored
from tests.runtime.driver import Gate, House, user


async def test_what_a_hook_injects_is_shown_to_the_model(house: House):
    """A message that waits when run is called stands behind the question, and no message of the chat tells of it."""
    agent = scripted("fine", on_turn_start=lambda _: current_turn().inject([note("be kind")]))
    chat = await house.open(agent)

    await chat.send("hi")

    assert last_prompt(agent) == ["hi", "be kind"]
    assert await chat.texts() == [("user", "hi"), ("assistant", "fine")]


async def test_it_stays_at_its_place(house: House):
    """Later prompts have it where it was shown first."""

    def inject_once(event):
        if event.turn == 0:
            current_turn().inject([note("be kind")])

    agent = scripted("fine", "well", on_turn_start=inject_once)
    chat = await house.open(agent)
    await chat.send("hi")

    await chat.send("how are you")

    assert last_prompt(agent) == ["hi", "be kind", "fine", "how are you"]


async def test_it_stays_in_another_run(house: House):
    """A crash behind the turn takes nothing of it."""

    def inject_once(event):
        if event.turn == 0 and not event.continuation:
            current_turn().inject([note("be kind")])

    agent = scripted("fine", "well", on_turn_start=inject_once)
    await (await house.open(agent)).send("hi")
    await house.crash()

    await (await house.open(agent)).send("how are you")

    assert last_prompt(agent) == ["hi", "be kind", "fine", "how are you"]


async def test_what_is_injected_behind_a_turn_waits_for_the_next(house: House):
    """A message from on_turn_complete stands behind the next question."""

    def inject(event):
        if event.turn == 0:
            current_turn().inject([note("they like tea")])

    agent = scripted("fine", "well", on_turn_complete=inject)
    chat = await house.open(agent)
    await chat.send("hi")

    await chat.send("how are you")

    assert last_prompt(agent) == ["hi", "fine", "how are you", "they like tea"]


async def test_what_waits_survives_the_run(house: House):
    """A message that has no place yet is stored as soon as the run is idle; another run shows it."""

    def inject(event):
        if event.turn == 0 and not event.continuation:
            current_turn().inject([note("they like tea")])

    agent = scripted("fine", "well", on_turn_complete=inject)
    chat = await house.open(agent)
    await chat.send("hi")
    await stored(house, chat, "waiting")
    await house.crash()

    await (await house.open(agent)).send("how are you")

    assert last_prompt(agent)[-1] == "they like tea"


async def test_what_a_late_task_injects_is_stored(house: House, gate: Gate):
    """A task that outlives its turn may inject while the run is idle; that is stored without another turn."""
    tasks = []

    async def later(control):
        await gate.wait()
        control.inject([note("they like tea")])

    agent = scripted("fine", on_turn_complete=lambda _: tasks.append(asyncio.create_task(later(current_run()))))
    chat = await house.open(agent)
    await chat.send("hi")

    gate.opened.set()

    assert await stored(house, chat, "waiting") == [note("they like tea")]


async def test_between_the_steps_it_goes_in_at_once(house: House):
    """What a tool injects stands behind its result, in the next step and in every later prompt."""

    @tool
    async def study(place: str) -> str:
        """Study a place."""
        current_turn().inject([note("it is old")])
        return "stone"

    agent = scripted(call(tool_call("study", {"place": "wall"})), looks("box"), "done", "well", tools=[study, look])
    chat = await house.open(agent)
    await chat.send("go")
    first = ["go", "tool-call", "tool-result", "it is old"]
    assert prompt(agent.model.requests[1]) == first
    assert prompt(agent.model.requests[2]) == [*first, "tool-call", "tool-result"]

    await chat.send("more")

    assert last_prompt(agent) == [*first, "tool-call", "tool-result", "done", "more"]


async def test_it_never_comes_between_a_result_and_what_follows(house: House):
    """When a person has answered a call the prompt ends with the result; what waits goes in between later steps."""

    def inject(event):
        if event.turn == 1:
            current_turn().inject([note("hurry")])

    asks = call(tool_call("ask_user", {"question": "which?"}, id="ask"))
    agent = scripted(asks, looks("box"), "done", on_turn_start=inject)
    chat = await house.open(agent)
    turn = await chat.send("go")

    part = {"type": "tool-ask_user", "toolCallId": "ask", "state": "output-available", "output": "left"}
    await chat.answer(part, message_id=turn.complete["messageId"])

    answered = ["go", "tool-call", "tool-result"]
    assert prompt(agent.model.requests[1]) == answered
    assert prompt(agent.model.requests[2]) == [*answered, "tool-call", "tool-result", "hurry"]


async def test_going_back_takes_it_away(house: House):
    """A message whose place has left the branch is shown no more, and kept no more."""

    def inject(event):
        if event.turn == 1:
            current_turn().inject([note("be kind")])

    agent = scripted("one", "two", "three", on_turn_start=inject, on_action=lambda event: event.history.slice(0, 2))
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2")
    await stored(house, chat, "injected")
    await chat.act({})

    await chat.send("3")

    assert last_prompt(agent) == ["1", "one", "3"]
    assert "layers" not in (await house.store.load_snapshot(chat.session.key)).state


async def test_a_regenerated_answer_has_it_too(house: House):
    """It stands behind the question, whatever becomes of the answer."""

    def inject(event):
        if event.trigger == "message":
            current_turn().inject([note("be kind")])

    agent = scripted("one", "one again", on_turn_start=inject)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.regenerate()

    assert last_prompt(agent) == ["1", "be kind"]


async def test_an_edited_question_is_without_it(house: House):
    """Another text under the same id is another question (D22)."""

    def inject(event):
        if event.turn == 0:
            current_turn().inject([note("about tea")])

    agent = scripted("one", "two", on_turn_start=inject)
    chat = await house.open(agent)
    await chat.send("tea?", "u1")

    await chat.send("coffee?", "u1")

    assert last_prompt(agent) == ["coffee?"]


async def test_a_summary_covers_it(house: House):
    """What stood before the place of a compaction is part of the summary, and not kept beside it."""
    seen = []

    def summarize(event):
        seen.append(prompt(event))
        return "a summary"

    long = call(text("one"), finish(input_tokens=900))
    agent = scripted(
        long,
        "two",
        compaction=Compaction(summarize=summarize, threshold=500),
        on_turn_start=lambda event: event.turn or current_turn().inject([note("be kind")]),
    )
    chat = await house.open(agent)
    await chat.send("1")

    await chat.send("2")

    assert seen == [["1", "be kind", "one"]]
    assert len(last_prompt(agent)) == 2
    assert "injected" not in (await house.store.load_snapshot(chat.session.key)).state["layers"]


async def test_what_comes_with_a_summary_stands_behind_it(house: House):
    """Between two steps the summary comes first, then what was injected."""

    @tool
    async def study(place: str) -> str:
        """Study a place."""
        current_turn().inject([note("it is old")])
        return "stone"

    agent = scripted(
        call(tool_call("study", {"place": "wall"}), finish("tool-calls", input_tokens=900)),
        "done",
        "well",
        tools=[study],
        compaction=Compaction(summarize=lambda _: "a summary", threshold=500),
    )
    chat = await house.open(agent)
    await chat.send("go")
    assert last_prompt(agent)[1:] == ["it is old"]

    await chat.send("more")

    assert last_prompt(agent)[1:] == ["it is old", "done", "more"]


async def test_a_boundary_has_an_order(house: House, gate: Gate):
    """The summary, then what a person said meanwhile, then the background; so it is in the next prompts, too."""

    @tool
    async def study(place: str) -> str:
        """Study a place."""
        current_turn().inject([note("it is old")])
        await gate.wait()
        return "stone"

    agent = scripted(
        call(tool_call("study", {"place": "wall"}), finish("tool-calls", input_tokens=900)),
        "done",
        "well",
        tools=[study],
        when_busy="steer",
        compaction=Compaction(summarize=lambda _: "a summary", threshold=500),
    )
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    await chat.until_read(await chat.inbox.send_message(user("hurry")))
    gate.opened.set()
    await chat.settled(sent)
    assert last_prompt(agent)[1:] == ["hurry", "it is old"]

    await chat.send("more")

    assert last_prompt(agent)[1:] == ["hurry", "it is old", "done", "more"]


async def test_actions_have_a_background_too(house: House):
    """What an action injects goes into the steps of its own answer, or waits for the next turn."""

    def act(event):
        current_turn().inject([note(event.action["say"])])
        return stream_text(agent.model, event.messages, tools=[look]) if event.action["answers"] else None

    agent = scripted("one", looks("box"), "done", "two", on_action=act)
    chat = await house.open(agent)
    await chat.send("1")
    await chat.act({"say": "first", "answers": True})
    assert last_prompt(agent)[-1] == "first"
    await chat.act({"say": "second", "answers": False})

    await chat.send("2")

    assert last_prompt(agent)[-2:] == ["2", "second"]


@pytest.mark.parametrize("given", [[user("a UI message", "u9")], "text", [{"role": "nobody", "content": "x"}]])
async def test_only_model_messages_are_injected(house: House, given: Any):
    """A UI message, a text or an unknown role is a bug of the program, told where it is made."""
    raised = []

    def inject(event):
        with pytest.raises(UsageError) as caught:
            current_turn().inject(given)
        raised.append(caught)

    agent = scripted("fine", on_turn_start=inject)
    chat = await house.open(agent)

    await chat.send("hi")

    assert len(raised) == 1
    assert last_prompt(agent) == ["hi"]


async def test_a_run_that_is_over_takes_nothing(house: House):
    """Who holds on to a run that has ended is told so: nothing is lost silently."""
    controls = []
    agent = scripted("fine", on_turn_start=lambda _: controls.append(current_run()))
    await (await house.open(agent)).send("hi")
    await house.crash()

    async def work() -> None: ...

    with pytest.raises(UsageError):
        controls[0].inject([note("late")])
    with pytest.raises(UsageError):
        controls[0].defer(work())
