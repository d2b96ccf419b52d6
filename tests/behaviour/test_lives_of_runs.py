"""How a run begins, waits and ends: what hooks are told of it, and that nothing is lost on the way."""

from __future__ import annotations

from typing import Any

from chatrt import ChatAgent, current_run
from chatrt.testing import Gate


def answering(**options: Any) -> ChatAgent:
    """An agent that answers "ok"."""
    return ChatAgent("support", **{"run": lambda turn: "ok", **options})


# --- what is known of the run


async def test_turns_know_their_run_and_the_one_before(chat_harness):
    """on_boot, on_turn_start and run know whether the run was preloaded, and which run was before."""
    boots: list[Any] = []
    starts: list[Any] = []
    turns: list[Any] = []
    chat = await chat_harness(
        answering(
            run=lambda turn: turns.append((turn.run_id, turn.preloaded, turn.continuation, turn.previous_run_id)),
            on_boot=lambda event: boots.append((event.run_id, event.preloaded, event.previous_run_id)),
            on_turn_start=lambda event: starts.append((event.preloaded, event.continuation)),
        )
    )

    await chat.preload()
    await chat.send("one")
    await chat.crash()
    await chat.restart()
    await chat.send("two")

    first, second = boots[0][0], boots[1][0]
    assert boots == [(first, True, None), (second, False, first)]
    assert starts == [(True, False), (False, True)]
    assert turns == [(first, True, False, None), (second, False, True, first)]


async def test_a_resumed_run_is_its_own_and_not_the_one_before(chat_harness):
    """Back in memory a run has its id and its number of turns still, and no run before it."""
    turns: list[Any] = []
    chat = await chat_harness(
        answering(run=lambda turn: turns.append((turn.run_id, turn.number, turn.continuation, turn.previous_run_id)))
    )

    await chat.send("one")
    await chat.advance(60)
    await chat.send("two")

    run_id = turns[0][0]
    assert turns == [(run_id, 0, False, None), (run_id, 1, False, None)]


async def test_a_run_that_dies_behind_its_resume_is_not_resumed_again(chat_harness):
    """When a run that came back dies in an answer another run begins: a continuation, which knows the dead one."""
    boots: list[Any] = []
    recovered: list[Any] = []
    held = Gate()

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        if turn.number == 1:
            await held.wait()
        yield {"type": "text-end", "id": "t"}

    agent = answering(
        run=run,
        on_boot=lambda event: boots.append((event.run_id, event.continuation, event.resumed, event.previous_run_id)),
        on_recovery_boot=lambda event: recovered.append((event.run_id, event.previous_run_id)),
    )
    chat = await chat_harness(agent)
    await chat.send("one")
    await chat.advance(60)
    sent = await chat.start("two")
    await sent.until("text-delta")
    await chat.crash()
    await chat.restart()
    await chat.settle()

    first, second = boots[0][0], boots[-1][0]
    assert boots == [(first, False, False, None), (first, False, True, None), (second, True, False, first)]
    assert (first != second, recovered) == (True, [(second, first)])


async def test_a_preload_carries_client_data(chat_harness):
    """on_preload is told the chat, the run and the client data."""
    told: list[Any] = []
    chat = await chat_harness(
        answering(on_preload=lambda event: told.append((event.chat_id, event.run_id, event.client_data))),
        client_data={"name": "Ann"},
    )

    await chat.preload()

    assert told == [(chat.chat_id, told[0][1], {"name": "Ann"})]
    assert told[0][1]


async def test_hooks_of_waiting_know_the_chat(chat_harness):
    """on_chat_suspend and on_chat_resume have the phase, the run, its turns, the client data and the messages."""
    told: list[Any] = []

    def note(event):
        roles = [message["role"] for message in event.ui_messages]
        shown = [row["role"] for row in event.messages]
        told.append((type(event).__name__, event.phase, event.run_id, event.turn, event.client_data, roles, shown))

    chat = await chat_harness(answering(on_chat_suspend=note, on_chat_resume=note), client_data={"name": "Ann"})
    await chat.send("one")
    await chat.advance(60)
    await chat.send("two")

    run_id, both = told[0][2], ["user", "assistant"]
    assert told == [
        ("SuspendEvent", "turn", run_id, 1, {"name": "Ann"}, both, both),
        ("ResumeEvent", "turn", run_id, 1, {"name": "Ann"}, both, both),
    ]


# --- waiting


async def test_an_idle_time_of_nothing_suspends_at_once(chat_harness):
    """With an idle time of 0 the run leaves memory right behind its turn, and comes back for the next message."""
    told: list[str] = []
    agent = answering(
        idle_timeout=0,
        on_chat_suspend=lambda event: told.append("suspend"),
        on_chat_resume=lambda event: told.append("resume"),
    )
    chat = await chat_harness(agent)

    await chat.send("one")
    await chat.settle()
    left = not chat.is_in_memory
    await chat.send("two")

    assert (left, told[:2]) == (True, ["suspend", "resume"])


async def test_a_failed_turn_is_followed_by_the_same_wait(chat_harness):
    """Behind a failed turn the chat is suspended and resumed as behind any."""
    told: list[str] = []

    def run(turn):
        raise RuntimeError

    agent = answering(
        run=run,
        on_chat_suspend=lambda event: told.append(f"suspend {event.phase}"),
        on_chat_resume=lambda event: told.append(f"resume {event.phase}"),
    )
    chat = await chat_harness(agent)
    await chat.send("one")
    await chat.advance(60)
    await chat.send("two")

    assert told == ["suspend turn", "resume turn"]


async def test_an_unused_preload_has_a_timeout_of_its_own(chat_harness):
    """A preloaded run that nobody used stays suspended for `preload_timeout`; what comes later starts another run."""
    told: list[str] = []
    agent = answering(
        idle_timeout=10,
        turn_timeout=1000,
        preload_timeout=100,
        on_boot=lambda event: told.append(f"boot {event.run_id}"),
        on_chat_suspend=lambda event: told.append(f"suspend {event.phase}"),
        on_chat_resume=lambda event: told.append("resume"),
        on_chat_start=lambda event: told.append("chat start"),
    )
    chat = await chat_harness(agent)

    await chat.preload()
    await chat.advance(111)
    await chat.send("Hi")

    assert told[1:2] + told[3:] == ["suspend preload", "chat start"]
    assert told[0] != told[2]


async def test_a_close_ends_a_preloaded_run(chat_harness):
    """When the chat is closed before anything was said, the run ends and no hook of a turn fires."""
    told: list[str] = []
    agent = answering(
        on_chat_start=lambda event: told.append("chat start"),
        on_turn_complete=lambda event: told.append("complete"),
        on_chat_suspend=lambda event: told.append("suspend"),
    )
    chat = await chat_harness(agent)

    await chat.preload()
    await chat.close()
    await chat.settle()

    assert (chat.is_in_memory, told, chat.messages) == (False, [], [])


async def test_timeouts_that_were_set_hold_for_the_rest_of_the_run(chat_harness):
    """What one turn sets is true behind later turns too, and wins over the agent's options; not in another run."""

    def run(turn):
        if turn.number == 0 and not turn.continuation:
            turn.control.set_idle_timeout(300)
        return "ok"

    chat = await chat_harness(answering(run=run, idle_timeout=10, turn_timeout=20))
    await chat.send("one")
    await chat.send("two")
    await chat.advance(299)
    warm = chat.is_in_memory
    await chat.advance(30)
    await chat.send("three")
    await chat.advance(11)

    assert (warm, chat.is_in_memory) == (True, False)


# --- ending


async def test_an_upgrade_hands_on_what_waits(chat_harness):
    """Inputs that wait when a run asks for newer code are the next run's, in order, each answered once."""
    held = Gate()
    runs: list[str] = []

    async def boot(event):
        runs.append(event.run_id)
        if len(runs) == 1:
            await held.wait()

    def start(event):
        if len(runs) == 1:
            current_run().request_upgrade()

    chat = await chat_harness(
        answering(
            run=lambda turn: f"{runs.index(turn.run_id)}: {turn.ui_messages[-1]['parts'][0]['text']}",
            on_boot=boot,
            on_turn_start=start,
        )
    )

    sent = [await chat.start(word) for word in ("one", "two", "three")]
    await held.reached.wait()
    held.open()

    assert [(await each.result()).text for each in sent] == ["1: one", "1: two", "1: three"]
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 3


async def test_an_upgrade_is_no_crash(chat_harness):
    """Behind a hand-over nothing is recovered, although hooks had written something: on_recovery_boot is silent."""
    told: list[str] = []

    def start(event):
        event.response.write({"type": "data-note", "id": "n", "data": event.turn})
        if not event.continuation:
            current_run().request_upgrade()

    agent = answering(on_turn_start=start, on_recovery_boot=lambda event: told.append("recovery"))
    chat = await chat_harness(agent)

    result = await chat.send("Hi")

    assert (result.status, result.text, told) == ("completed", "ok", [])


async def test_a_run_that_ended_needs_no_recovery(chat_harness):
    """Behind `end_run` the next run is a clean continuation."""
    told: list[str] = []

    def run(turn):
        turn.end_run()
        return "ok"

    agent = answering(
        run=run,
        on_boot=lambda event: told.append(f"boot continuation={event.continuation} resumed={event.resumed}"),
        on_recovery_boot=lambda event: told.append("recovery"),
    )
    chat = await chat_harness(agent)
    await chat.send("one")
    await chat.settle()
    await chat.send("two")

    assert told == ["boot continuation=False resumed=False", "boot continuation=True resumed=False"]
