"""A turn whose first step another process makes: what is relayed, when hooks fire, and who goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel, Usage
from chatrt.run_control import current_run
from chatrt.tools import ApprovalDecision, Tool, tool
from tests.runtime.driver import Chat, Gate, House, user
from tests.runtime.head_starts import ANSWER, Warm, begun, called

HOOKS = (
    "on_boot",
    "on_preload",
    "on_validate_messages",
    "on_chat_start",
    "on_turn_start",
    "prepare_messages",
    "on_before_turn_complete",
    "on_turn_complete",
)
PASSING = {
    "on_validate_messages": lambda event: event.messages,
    "prepare_messages": lambda event: event.messages,
}


def watched(fired: list[str], **options: Any) -> ChatAgent:
    """An agent that writes down which hooks fire, and `run` as well."""

    def note(name: str) -> Any:
        def hook(event: Any) -> Any:
            fired.append(name)
            return PASSING.get(name, lambda event: None)(event)

        return hook

    def run(turn: Any) -> str:
        fired.append("run")
        return "from run"

    return ChatAgent("a", run=run, **{**{name: note(name) for name in HOOKS}, **options})


def counting(model: ScriptedModel, *tools: Tool, **options: Any) -> ChatAgent:
    """An agent that answers with a model and its tools."""
    return ChatAgent("a", tools=tools, run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options)


@tool
async def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@tool
def ask_user(question: str) -> str:
    """Ask the person."""


async def outcomes(chat: Chat) -> list[str]:
    """The outcomes of the seams on `.out`."""
    async for batch in chat.session.outbox.read(live=False):
        return [json.loads(record.body)["outcome"] for record in batch if record.kind == "handover"]
    return []


# --- a whole answer


@pytest.mark.behaviour(111)
async def test_a_whole_answer_is_taken_over_without_run(house: House):
    """A final handover fires every hook of a turn but prepare_messages, and run is not called."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", "warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()
    await chat.send("next")

    assert fired[: fired.index("run")][:6] == [
        "on_boot",
        "on_validate_messages",
        "on_chat_start",
        "on_turn_start",
        "on_before_turn_complete",
        "on_turn_complete",
    ]
    assert (turn.text, turn.status) == ("from warm", "completed")


@pytest.mark.behaviour(111)
async def test_the_answer_has_the_id_it_was_begun_with(house: House):
    """The message in the history, the response of the hooks and the `turn-complete` have the id of the first step."""
    seen: list[Any] = []
    chat = await house.open(watched([], on_turn_complete=seen.append))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()
    await chat.send("next")

    assert turn.complete["messageId"] == turn.start["messageId"] == ANSWER
    assert (seen[0].response_message["id"], seen[0].finish_reason) == (ANSWER, "stop")
    assert (await chat.messages())[1]["id"] == ANSWER


@pytest.mark.behaviour(37)
async def test_the_question_is_part_of_the_history(house: House):
    """The chat begins with the message it was begun with, and the answer behind it."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat, "what is new?")
    await warm.says(begun("nothing"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "what is new?"), ("assistant", "nothing")]


@pytest.mark.behaviour(122)
async def test_hooks_see_the_answer_in_the_history(house: House):
    """When a turn starts behind a head start, the history holds the question and what was said."""
    seen: list[Any] = []
    agent = watched([], on_turn_start=lambda event: seen.extend(message["id"] for message in event.ui_messages))
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert seen == ["u1", ANSWER]


async def test_the_usage_of_the_step_counts(house: House):
    """What the first step used is the turn's usage, and part of the session's total (D10)."""
    seen: list[Any] = []
    chat = await house.open(watched([], on_turn_complete=seen.append))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True, usage=Usage(input_tokens=7, output_tokens=2).to_json())

    await warm.settled()
    await chat.send("next")

    assert (seen[0].usage.input_tokens, seen[-1].total_usage.output_tokens) == (7, 2)


async def test_a_cut_answer_says_so(house: House):
    """The finish reason of the step is that of the turn."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from wa"))
    await warm.hands_over(final=True, reason="length")

    assert (await warm.settled()).complete["finishReason"] == "length"


@pytest.mark.behaviour(113)
async def test_reasoning_survives(house: House):
    """Reasoning and what the provider attached to it are in the stored answer."""
    signed = {"anthropic": {"signature": "s"}}
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(
        [
            *begun("x")[:2],
            {"type": "reasoning-start", "id": "r"},
            {"type": "reasoning-delta", "id": "r", "delta": "hm"},
            {"type": "reasoning-end", "id": "r", "providerMetadata": signed},
            *begun("so")[2:],
        ]
    )
    await warm.hands_over(final=True)

    await warm.settled()

    part = (await chat.messages())[1]["parts"][1]
    assert (part["type"], part["text"], part["providerMetadata"], part["state"]) == ("reasoning", "hm", signed, "done")


# --- relaying


async def test_chunks_are_on_the_log_before_the_handover(house: House):
    """What is relayed is read on `.out` at once, behind one `turn-start` that says so."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")

    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    turn = await warm.settled()
    assert turn.start == {"inSeq": 1, "trigger": "message", "messageId": ANSWER, "headStart": True}
    assert turn.chunks == [*begun("from ", "warm"), {"type": "finish", "finishReason": "stop"}]


async def test_a_batch_that_comes_twice_counts_once(house: House):
    """Each batch says where it begins, so that a repeat adds nothing."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    chunks: Any = begun("once")
    await chat.inbox.relay_chunks(1, 0, chunks[:4])
    await chat.inbox.relay_chunks(1, 0, chunks)
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "once"


@pytest.mark.parametrize(
    "chunks",
    [
        [{"type": "text-start", "id": "t"}],
        [{"type": "start", "messageId": "another"}],
        [*begun("x"), {"type": "data-note", "data": 1}],
        [*begun("x"), {"type": "error", "errorText": "x"}],
        [*begun("x"), {"type": "text-delta", "id": "nobody", "delta": "x"}],
        [*begun("x"), {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"}],
        [*begun("x"), {"type": "nonsense"}],
    ],
)
async def test_only_what_a_step_says_is_relayed(house: House, chunks: list[Any]):
    """Chunks that no model step makes are not taken over: the run answers by itself."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(chunks)
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_a_gap_is_not_taken_over(house: House):
    """When a batch is missing, the run answers by itself."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    chunks: Any = begun("from warm")
    await chat.inbox.relay_chunks(1, 1, chunks[1:])
    await warm.hands_over(final=True)

    await warm.settled()

    assert (await chat.texts())[1] == ("assistant", "from run")


async def test_a_page_that_loads_sees_the_question(house: House):
    """While the first step is made, whoever loads the chat gets the question, and the words from `.out`."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat, "what is new?")
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")

    state = await chat.session.load()

    assert ([message["id"] for message in state.messages], state.pending, state.status) == (["u1"], [], "running")


async def test_a_message_behind_many_batches_is_shown_as_waiting(house: House):
    """However much was relayed, a message that waits behind it is told to whoever loads the chat."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    for _ in range(120):
        await warm.says([])
    await warm.says(begun("x", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "x")
    await chat.inbox.send_message(user("next", "u2"))

    state = await chat.session.load()

    assert [waiting.message["id"] for waiting in state.pending] == ["u2"]


# --- when hooks fire


@pytest.mark.behaviour(116)
async def test_nothing_fires_before_the_handover(house: House):
    """Until the step is handed over only on_boot has fired; on_preload never does."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await chat.until(lambda chunk: chunk["type"] == "finish-step")
    before = list(fired)

    await warm.hands_over(final=True)
    await warm.settled()

    assert (before, "on_preload" in fired, "on_turn_start" in fired) == (["on_boot"], False, True)


async def test_a_slow_boot_keeps_nothing_back(house: House, gate: Gate):
    """What is said while on_boot still runs is taken over when it is done."""
    chat = await house.open(watched([], on_boot=lambda event: gate.wait()))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)
    await gate.reached.wait()
    gate.opened.set()

    assert (await warm.settled()).text == "from warm"


@pytest.mark.behaviour(114)
async def test_hydrate_is_given_the_first_message(house: House):
    """With hydrate_messages the hook gets the question, and the answer stands behind what it returns."""
    incoming: list[Any] = []
    seen: list[Any] = []

    def hydrate(event: Any) -> list[Any]:
        incoming.extend(event.incoming_messages)
        return [*event.previous_messages, *event.incoming_messages]

    agent = watched([], hydrate_messages=hydrate, on_turn_complete=lambda event: seen.append(event.ui_messages))
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)
    await warm.settled()
    await chat.send("next")

    assert [message["id"] for message in incoming][:1] == ["u1"]
    assert [(message["role"], message["id"]) for message in seen[0]] == [("user", "u1"), ("assistant", ANSWER)]


@pytest.mark.behaviour(123)
async def test_an_answer_that_is_hydrated_already_is_not_doubled(house: House):
    """When the application's own history has the answer by its id, it stays one message."""
    stored: Any = {"id": ANSWER, "role": "assistant", "parts": [{"type": "text", "text": "from"}]}
    agent = watched([], hydrate_messages=lambda event: [*event.incoming_messages, stored])
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


async def test_what_a_hook_makes_of_the_answer_stays(house: House):
    """An edit of on_turn_start is not undone by the end of the turn (D1)."""
    edited: Any = {"id": ANSWER, "role": "assistant", "parts": [{"type": "text", "text": "edited"}]}
    agent = watched([], on_turn_start=lambda event: event.history.replace(ANSWER, edited))
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    await warm.settled()

    assert (await chat.texts())[1] == ("assistant", "edited")


async def test_a_hook_that_raises_fails_the_turn_and_keeps_the_answer(house: House):
    """What a person has seen stays in the history when on_turn_start fails (D21)."""

    def broken(event: Any) -> None:
        raise RuntimeError("broken")

    chat = await house.open(watched([], on_turn_start=broken))
    warm = await Warm.start(chat)
    await warm.says(begun("from warm"))
    await warm.hands_over(final=True)

    turn = await warm.settled()

    assert turn.status == "failed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from warm")]


# --- calls


@pytest.mark.behaviour(112)
async def test_calls_are_carried_out_and_the_model_goes_on(house: House):
    """The run carries out the call and asks the model for the second step; the first call is not made again."""
    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    model.assert_exhausted()
    roles = [message["role"] for message in model.requests[0].messages]
    assert (roles, len(model.requests)) == (["user", "assistant", "tool"], 1)
    assert turn.types.index("tool-output-available") == turn.types.index("tool-input-available") + 2
    assert turn.types.count("start") == turn.types.count("finish") == 1


@pytest.mark.behaviour(112)
async def test_the_model_reads_what_was_said_and_found(house: House):
    """The prompt of the second step has the words of the first, its call and the result."""
    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    await warm.settled()

    said, found = model.requests[0].messages[1:]
    assert [part["type"] for part in said["content"]] == ["text", "tool-call"]
    assert found["content"][0]["output"] == {"type": "text", "value": "found x"}


@pytest.mark.behaviour(121)
async def test_the_stored_message_shows_no_approvals(house: House):
    """A call that was carried out behind a head start is stored like any other."""
    chat = await house.open(counting(ScriptedModel(["it is so"]), search))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    await warm.settled()

    [_, message] = await chat.messages()
    assert message["id"] == ANSWER
    assert message["parts"] == [
        {"type": "step-start"},
        {"type": "text", "text": "let me see", "state": "done"},
        {
            "type": "tool-search",
            "toolCallId": "call-0",
            "state": "output-available",
            "input": {"query": "x"},
            "output": "found x",
        },
        {"type": "step-start"},
        {"type": "text", "text": "it is so", "state": "done"},
    ]


@pytest.mark.behaviour(115)
async def test_a_call_with_hydrate(house: House):
    """With hydrate_messages the model sees user, assistant and tool, and one assistant message has the id."""
    model = ScriptedModel(["it is so"])
    agent = counting(model, search, hydrate_messages=lambda event: [*event.previous_messages, *event.incoming_messages])
    chat = await house.open(agent)
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    await warm.settled()

    assert [message["role"] for message in model.requests[0].messages] == ["user", "assistant", "tool"]
    assert [message["id"] for message in await chat.messages()] == ["u1", ANSWER]


async def test_several_calls_and_a_broken_one(house: House):
    """Calls run together; one that fails is told to the model as any failed call is."""

    @tool
    async def broken() -> str:
        """Break."""
        raise RuntimeError("secret")

    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search, broken))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"}), ("broken", {}), ("unheard-of", {})))
    await warm.hands_over(final=False)

    await warm.settled()

    states = [part["state"] for part in (await chat.messages())[1]["parts"] if part["type"].startswith("tool-")]
    assert (states, len(model.requests)) == (["output-available", "output-error", "output-error"], 1)


async def test_a_tool_that_needs_approval_asks(house: House):
    """A head start is no way around an approval: the call is not carried out, the turn ends with the question."""
    ran: list[str] = []

    @tool(needs_approval=True)
    async def pay(to: str) -> str:
        """Pay."""
        ran.append(to)
        return "paid"

    model = ScriptedModel(["thank you"])
    chat = await house.open(counting(model, pay))
    warm = await Warm.start(chat)
    await warm.says(called(("pay", {"to": "Ada"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (ran, len(model.requests), turn.complete["finishReason"]) == ([], 0, "tool-calls")
    part = (await chat.messages())[1]["parts"][-1]
    assert part["state"] == "approval-requested"

    answer = {**part, "state": "approval-responded", "approval": {"id": part["approval"]["id"], "approved": True}}
    await chat.answer(answer, message_id=ANSWER)

    assert (ran, (await chat.messages())[1]["id"], len(model.requests)) == (["Ada"], ANSWER, 1)


@pytest.mark.parametrize(
    ("decision", "state"), [(ApprovalDecision.deny("no"), "output-denied"), (ApprovalDecision.approve(), None)]
)
async def test_a_policy_decides_as_in_any_step(house: House, decision: ApprovalDecision, state: str | None):
    """What a policy denies does not run, what it approves does, and the model goes on with either."""
    ran: list[str] = []

    @tool(needs_approval=decision)
    async def pay(to: str) -> str:
        """Pay."""
        ran.append(to)
        return "paid"

    model = ScriptedModel(["so be it"])
    chat = await house.open(counting(model, pay))
    warm = await Warm.start(chat)
    await warm.says(called(("pay", {"to": "Ada"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    [part] = [part for part in (await chat.messages())[1]["parts"] if part["type"] == "tool-pay"]
    assert (turn.text, part["state"]) == ("let me see" + "so be it", state or "output-available")
    assert ran == ([] if state else ["Ada"])


async def test_a_call_of_a_client_tool_stays_open(house: House):
    """The turn ends with the open call, and the client's answer continues the same message."""
    model = ScriptedModel(["thank you"])
    chat = await house.open(counting(model, ask_user))
    warm = await Warm.start(chat)
    await warm.says(called(("ask_user", {"question": "who?"})))
    await warm.hands_over(final=False)
    turn = await warm.settled()
    asked = len(model.requests)
    part = (await chat.messages())[1]["parts"][-1]

    await chat.answer({**part, "state": "output-available", "output": "me"}, message_id=ANSWER)

    assert (turn.status, asked, part["state"]) == ("completed", 0, "input-available")
    [_, message] = await chat.messages()
    assert (message["id"], message["parts"][-1]["text"]) == (ANSWER, "thank you")


async def test_a_mixed_step_waits_for_the_client(house: House):
    """Calls with a body run, the client's stays open, and the model waits for all of them."""
    model = ScriptedModel(["thank you"])
    chat = await house.open(counting(model, search, ask_user))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"}), ("ask_user", {"question": "who?"})))
    await warm.hands_over(final=False)

    await warm.settled()

    states = [part["state"] for part in (await chat.messages())[1]["parts"] if part["type"].startswith("tool-")]
    assert (states, model.requests) == (["output-available", "input-available"], [])


async def test_a_broken_call_is_told_to_the_model(house: House):
    """When every call of the step was invalid, the model is asked again right away."""
    model = ScriptedModel(["never mind"])
    chat = await house.open(counting(model, search))
    warm = await Warm.start(chat)
    invalid = {"toolCallId": "c", "toolName": "search", "input": "{", "errorText": "no JSON", "dynamic": True}
    await warm.says([*begun("let me see")[:-1], {"type": "tool-input-error", **invalid}, {"type": "finish-step"}])
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (turn.text, len(model.requests)) == ("let me see" + "never mind", 1)


# --- nothing to take over


@pytest.mark.behaviour(110)
async def test_a_skip_lets_the_run_answer(house: House):
    """When there is nothing to take over the run answers from the beginning, with all hooks."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.skips()

    turn = await warm.settled()

    assert (turn.text, turn.types[0], turn.types.count("start"), "on_turn_start" in fired) == (
        "from run",
        "start",
        1,
        True,
    )
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_what_was_relayed_is_taken_back(house: House):
    """A skip behind some words takes them back for every reader: what is stored is the run's answer alone."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.says(begun("from wa", done=False))
    await warm.skips()

    turn = await warm.settled()

    assert turn.types[:6] == ["start", "start-step", "text-start", "text-delta", "text-end", "reset-step"]
    assert (turn.types.count("start"), await outcomes(chat)) == (1, ["discarded"])
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_an_empty_step_is_nothing_to_take_over(house: House):
    """A handover of a step that said nothing lets the run answer."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "from run"


@pytest.mark.behaviour(117)
async def test_silence_lets_the_run_answer(house: House):
    """When nothing is said for the agent's head_start_timeout, the run answers from the beginning."""
    clock = ManualClock()
    chat = await house.open(watched([], head_start_timeout=20.0), clock=clock)
    warm = await Warm.start(chat)
    await warm.says(begun("from wa", done=False))
    cursor = await chat.until(lambda chunk: chunk.get("delta") == "from wa")

    clock.advance(20.0)

    await chat.until(lambda chunk: chunk.get("delta") == "from run", after=cursor)
    assert (await warm.settled()).status == "completed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "from run")]


async def test_a_sign_of_life_is_enough(house: House):
    """An empty batch says that the step is still being made."""
    clock = ManualClock()
    chat = await house.open(watched([], head_start_timeout=20.0), clock=clock)
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from ")
    clock.advance(15.0)
    await chat.until_read(await chat.inbox.relay_chunks(1, warm.relayed, []))
    work: Any = chat.sessions._runs[chat.session.key]._arrivals._at_hand
    while work._said:
        await asyncio.sleep(0)
    clock.advance(15.0)
    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    assert (await warm.settled()).text == "from warm"


async def test_what_comes_too_late_changes_nothing(house: House):
    """What is relayed behind the seam is passed, and the chat goes on."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await warm.skips()
    await warm.settled()

    await warm.says(begun("late"))
    await warm.hands_over(final=True)
    await chat.send("next")

    assert [text for _, text in await chat.texts()] == ["hi", "from run", "next", "from run"]


async def test_an_edited_message_voids_the_head_start(house: House, gate: Gate):
    """A message that was changed while it waited is answered by the run: the first step answers other words."""

    async def run(turn: Any) -> str:
        await gate.wait()
        return f"to {turn.ui_messages[-1]['parts'][0]['text']}"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.inbox.send_message(user("first", "u0"))
    await gate.reached.wait()
    warm = await Warm.start(chat, "old words")
    await warm.says(begun("to old words"))
    await warm.hands_over(final=True)
    await chat.inbox.edit_pending(warm.sent.seq, user("new words"))
    await chat.until_read(await chat.inbox.stop(in_seq=99))
    gate.opened.set()

    assert (await warm.settled()).text == "to new words"


# --- stop


async def test_a_stop_keeps_what_was_said(house: House):
    """A stop while the step is made ends the turn: the words stay, run is not called, hooks are told."""
    fired: list[str] = []
    chat = await house.open(watched(fired))
    warm = await Warm.start(chat)
    await warm.says(begun("from wa", done=False))
    await chat.until(lambda chunk: chunk.get("delta") == "from wa")

    await chat.inbox.stop()

    turn = await warm.settled()
    assert (turn.status, turn.types[-2:], await outcomes(chat)) == ("stopped", ["text-end", "abort"], ["stopped"])
    assert await chat.texts() == [("user", "hi"), ("assistant", "from wa")]
    assert "on_turn_start" in fired
    assert "run" not in fired


async def test_a_stop_before_the_first_word(house: House):
    """A stop before anything was said leaves the question and nothing else."""
    chat = await house.open(watched([]))
    warm = await Warm.start(chat)
    await chat.inbox.stop()

    assert (await warm.settled()).status == "stopped"
    assert await chat.texts() == [("user", "hi")]


async def test_a_stop_while_calls_are_carried_out(house: House, gate: Gate):
    """A call that had started when the turn was stopped says that it was interrupted (D8)."""

    @tool
    async def slow() -> str:
        """Take long."""
        await gate.wait()
        return "done"

    chat = await house.open(counting(ScriptedModel(["never"]), slow))
    warm = await Warm.start(chat)
    await warm.says(called(("slow", {})))
    await warm.hands_over(final=False)
    await gate.reached.wait()

    await chat.inbox.stop()

    assert (await warm.settled()).status == "stopped"
    assert (await chat.messages())[1]["parts"][-1]["errorText"] == "interrupted"


# --- with other inputs


async def test_messages_behind_a_head_start_wait_for_their_turn(house: House):
    """A message that arrives while the step is made is answered next, and is not put into this turn."""
    chat = await house.open(watched([], when_busy="steer"))
    warm = await Warm.start(chat)
    await warm.says(begun("from ", done=False))
    second = await chat.inbox.send_message(user("second", "u2"))
    await warm.says([{"type": "text-delta", "id": "t", "delta": "warm"}, *begun()[-2:]])
    await warm.hands_over(final=True)

    await chat.settled(second)

    assert [text for _, text in await chat.texts()] == ["hi", "from warm", "second", "from run"]


async def test_an_upgrade_leaves_the_answer_to_the_next_run(house: House):
    """Newer code that was asked for before run is called goes on with the calls, and nothing is said twice."""
    upgraded: list[bool] = []

    def upgrade(event: Any) -> None:
        if not upgraded:
            upgraded.append(True)
            current_run().request_upgrade()

    model = ScriptedModel(["it is so"])
    chat = await house.open(counting(model, search, on_turn_start=upgrade))
    warm = await Warm.start(chat)
    await warm.says(called(("search", {"query": "x"})))
    await warm.hands_over(final=False)

    turn = await warm.settled()

    assert (turn.status, turn.types.count("start"), turn.text) == ("completed", 1, "let me see" + "it is so")
    assert [message["id"] for message in await chat.messages()] == ["u1", ANSWER]
