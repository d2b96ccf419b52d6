"""Background work: what is deferred runs beside the answers, what is injected stands in the prompts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.compaction import Compaction
from chatrt.errors import UsageError
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.run_control import current_run
from chatrt.runtime.background import DEFER_SECONDS
from chatrt.runtime.work import STOP_GRACE_SECONDS
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import Chat, Gate, House, user


def note(words: str) -> Any:
    return {"role": "system", "content": words}


@tool
async def look(place: str) -> str:
    """Look somewhere."""
    return f"seen {place}"


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def looks(place: str) -> Any:
    return call(tool_call("look", {"place": place}, id=f"call_{place}"))


def scripted(*script: Any, **options: Any) -> ChatAgent:
    """An agent whose model plays the script."""
    model = ScriptedModel(list(script))
    options.setdefault("tools", [look, ask_user])
    options.setdefault("run", lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    agent = ChatAgent("a", **options)
    agent.model = model
    return agent


def prompt(request: Any) -> list[str]:
    """A prompt, row by row: its text, or what kind of tool parts it has."""
    return [
        row["content"]
        if isinstance(row["content"], str)
        else " ".join(part.get("text", part["type"]) for part in row["content"])
        for row in request.messages
    ]


def last_prompt(agent: Any) -> list[str]:
    return prompt(agent.model.requests[-1])


async def stored(house: House, chat: Chat, what: str) -> Any:
    """Wait until the session's layers in the store have something of a kind."""
    while what not in (layers := (await house.store.load_snapshot(chat.session.key)).state.get("layers", {})):
        await asyncio.sleep(0)
    return layers[what]


async def let_pass(clock: ManualClock, seconds: float) -> None:
    """Let so much time pass, in steps, with everything that happens on the way."""
    for _ in range(int(seconds * 2)):
        clock.advance(0.5)
        for _ in range(20):
            await asyncio.sleep(0)


# --- injected messages


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


# --- deferred work


async def test_deferred_work_runs_beside_the_answer(house: House, gate: Gate):
    """The answer streams while deferred work goes on."""
    agent = scripted("fine", on_turn_start=lambda _: current_turn().defer(gate.wait))
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))

    await chat.until(lambda chunk: chunk["type"] == "text-end")
    assert not gate.opened.is_set()
    gate.opened.set()

    assert (await chat.settled(sent)).status == "completed"


async def test_the_turn_ends_behind_it(house: House, gate: Gate):
    """Deferred work is done before on_before_turn_complete."""
    order = []

    async def work():
        await gate.wait()
        order.append("work")

    agent = scripted(
        "fine",
        on_turn_start=lambda _: current_turn().defer(work()),
        on_before_turn_complete=lambda _: order.append("hook"),
    )
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-end")

    gate.opened.set()
    await chat.settled(sent)

    assert order == ["work", "hook"]


async def test_the_turn_does_not_wait_for_ever(house: House, gate: Gate):
    """After DEFER_SECONDS the turn ends without it, and it goes on."""
    done = []

    async def work():
        await gate.wait()
        done.append(True)

    clock = ManualClock()
    agent = scripted("fine", on_turn_start=lambda _: current_turn().defer(work))
    chat = await house.open(agent, clock=clock)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-end")
    settled = asyncio.create_task(chat.settled(sent))
    await let_pass(clock, DEFER_SECONDS - 1)
    assert not settled.done()

    await let_pass(clock, 2)
    assert (await settled).status == "completed"
    gate.opened.set()
    while not done:
        await asyncio.sleep(0)


async def test_a_stop_does_not_cancel_it(house: House, gate: Gate):
    """A person who ends the answer does not end what runs beside it."""
    done = []

    async def work():
        await gate.wait()
        done.append(True)

    answering = Gate()

    async def run(turn):
        turn.defer(work)
        await answering.wait()

    chat = await house.open(scripted(run=run))
    sent = await chat.inbox.send_message(user("hi"))
    await answering.reached.wait()
    await gate.reached.wait()

    await chat.inbox.stop()
    gate.opened.set()

    assert (await chat.settled(sent)).status == "stopped"
    assert done == [True]


async def test_it_is_no_part_of_an_answer_that_ignores_its_end(house: House, gate: Gate):
    """An answer that goes on behind a stop is not heard; what run deferred still is, while the turn waits for it."""
    deaf, clock = Gate(), ManualClock()

    async def work():
        await gate.wait()
        current_turn().response.write({"type": "data-work", "data": "done"})

    async def run(turn):
        turn.defer(work)
        while not deaf.opened.is_set():
            try:
                await deaf.wait()
            except asyncio.CancelledError:
                continue

    chat = await house.open(scripted(run=run), clock=clock, lease_ttl=1e6)
    sent = await chat.inbox.send_message(user("hi"))
    await deaf.reached.wait()
    await chat.inbox.stop()
    await let_pass(clock, STOP_GRACE_SECONDS + 1)

    gate.opened.set()
    turn = await chat.settled(sent)
    deaf.opened.set()

    assert (turn.status, "data-work" in turn.types) == ("stopped", True)


async def test_a_failure_does_not_wait_for_it(house: House, gate: Gate):
    """A failed turn is told at once; its deferred work goes on."""
    done = []

    async def work():
        await gate.wait()
        done.append(True)

    async def run(turn):
        turn.defer(work)
        raise RuntimeError("no")

    chat = await house.open(scripted(run=run))

    turn = await chat.send("hi")
    gate.opened.set()
    while not done:
        await asyncio.sleep(0)

    assert turn.status == "failed"


async def test_failing_work_is_logged(house: House, caplog):
    """What deferred work raises fails no turn; also when it awaited something that was cancelled."""

    async def fails():
        raise RuntimeError("deferred and broken")

    async def awaits_the_cancelled():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    def on_turn_start(event):
        current_turn().defer(fails)
        current_turn().defer(awaits_the_cancelled())

    chat = await house.open(scripted("fine", on_turn_start=on_turn_start))

    turn = await chat.send("hi")

    assert turn.status == "completed"
    assert "deferred and broken" in caplog.text
    assert "was cancelled" in caplog.text


async def test_it_knows_where_it_is(house: House):
    """current_turn and current_run are there inside of deferred work, and it may write into the answer."""
    seen = []

    async def work():
        seen.append((current_turn().number, current_run().chat_id))
        current_turn().response.write({"type": "data-seen", "data": True})

    chat = await house.open(scripted("fine", on_turn_start=lambda _: current_turn().defer(work)))

    turn = await chat.send("hi")

    assert seen == [(0, "chat")]
    assert "data-seen" in turn.types


async def test_what_deferred_work_injects_is_in_the_next_prompt(house: House):
    """A prefetch that ends while a tool runs is read by the next step."""
    fetched = asyncio.Event()

    async def prefetch():
        current_turn().inject([note("they live in Oslo")])
        fetched.set()

    @tool
    async def think(about: str) -> str:
        """Think."""
        await fetched.wait()
        return "hm"

    agent = scripted(
        call(tool_call("think", {"about": "it"})),
        "done",
        tools=[think],
        on_turn_start=lambda _: current_turn().defer(prefetch),
    )
    chat = await house.open(agent)

    await chat.send("hi")

    # Whichever was first: it stands behind the question or behind the result, once.
    assert last_prompt(agent).count("they live in Oslo") == 1


async def test_an_action_ends_behind_its_work(house: House):
    """What an action defers is done before its turn-complete."""
    done = []

    async def work():
        await asyncio.sleep(0)
        done.append(True)

    chat = await house.open(scripted(on_action=lambda _: current_turn().defer(work)))

    settled = await chat.act({})

    assert (settled.status, done) == ("completed", [True])


async def test_work_behind_a_turn_holds_up_no_other(house: House, gate: Gate):
    """What on_turn_complete defers is not waited for: neither this turn nor the next one does."""
    clock = ManualClock()

    def on_turn_complete(event):
        if event.turn == 0:
            current_turn().defer(gate.wait)

    chat = await house.open(scripted("one", "two", on_turn_complete=on_turn_complete), clock=clock)
    await chat.send("1")
    await gate.reached.wait()

    turn = await chat.send("2")

    assert turn.status == "completed"
    gate.opened.set()


async def test_work_from_on_boot_runs_in_the_background(house: House, gate: Gate):
    """What on_boot defers holds up no turn."""
    clock = ManualClock()
    chat = await house.open(scripted("one", on_boot=lambda _: current_run().defer(gate.wait)), clock=clock)

    turn = await chat.send("1")

    assert turn.status == "completed"
    assert gate.reached.is_set()
    gate.opened.set()


async def test_the_run_stays_in_memory_for_it(house: House, gate: Gate):
    """Behind its idle time the run waits for deferred work, and leaves when that has ended."""
    clock, done = ManualClock(), []

    async def work():
        await gate.wait()
        current_run().inject([note("reviewed")])
        done.append(True)

    agent = scripted("one", on_turn_complete=lambda _: current_turn().defer(work), idle_timeout=30)
    chat = await house.open(agent, clock=clock)
    await chat.send("1")
    await gate.reached.wait()
    await let_pass(clock, 32)

    gate.opened.set()

    assert await stored(house, chat, "waiting") == [note("reviewed")]
    assert done == [True]


async def test_the_run_does_not_stay_for_ever(house: House, gate: Gate):
    """DEFER_SECONDS behind its idle time the run leaves, and cancels what still runs."""
    clock = ManualClock()
    cancelled = asyncio.Event()

    async def work():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    agent = scripted("one", on_turn_complete=lambda _: current_turn().defer(work), idle_timeout=30)
    chat = await house.open(agent, clock=clock)
    await chat.send("1")
    await gate.reached.wait()
    await let_pass(clock, 32)
    assert not cancelled.is_set()

    await let_pass(clock, DEFER_SECONDS)
    assert cancelled.is_set()


async def test_it_is_cancelled_with_the_run(house: House, gate: Gate):
    """A run that is killed takes its deferred work along."""
    cancelled = asyncio.Event()

    async def work():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    agent = scripted("one", on_turn_complete=lambda _: current_turn().defer(work))
    await (await house.open(agent)).send("1")
    await gate.reached.wait()

    await house.crash()

    await cancelled.wait()


async def test_a_shutdown_waits_for_it(house: House, gate: Gate):
    """A session manager that closes in peace lets deferred work end, and stores what it has left."""

    async def work():
        await gate.wait()
        current_run().inject([note("reviewed")])

    agent = scripted("one", "two", on_turn_complete=lambda event: event.continuation or current_turn().defer(work))
    await (await house.open(agent)).send("1")
    await gate.reached.wait()

    closing = asyncio.create_task(house.sessions.aclose())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    gate.opened.set()
    await closing
    house.sessions = None

    await (await house.open(agent)).send("2")
    assert last_prompt(agent) == ["1", "one", "2", "reviewed"]
