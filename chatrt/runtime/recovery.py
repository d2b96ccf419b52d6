"""Recovery: what a run finds of a turn that another run left unfinished, and how it is closed.

The records after the last `turn-complete` are that turn. What a person saw of it is kept and closed truthfully (D8,
D21); when nobody saw anything, the input is simply served again, under the same message id. An interrupted action is
always served again: its changes were never committed, and it was acknowledged.

`on_recovery_boot` may choose otherwise. Crashing in here is harmless: nothing is changed before one commit at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from chatrt.codec import loads
from chatrt.errors import UsageError
from chatrt.events import PendingToolCall, RecoveryBootEvent, RecoveryPlan
from chatrt.runtime.arrivals import is_from_user
from chatrt.runtime.calling import call
from chatrt.runtime.context import RunContext
from chatrt.runtime.finish import finish
from chatrt.runtime.merge import has_approved_calls
from chatrt.runtime.turns import TurnWork, checked_history
from chatrt.runtime.work import Interrupted
from chatrt.stores import Record, SessionKey, Store
from chatrt.ui import INJECTED, UIMessage, UIMessageChunk, get_tool_name, is_tool_part

logger = logging.getLogger("chatrt.runtime")

PAGE = 1000

Seam = Literal["final", "continued", "discarded", "stopped"]
"""How a head start was taken over; see `chatrt.runtime.head_start`."""


@dataclass(slots=True)
class UnfinishedTurn:
    """What `.out` holds of a turn without its `turn-complete`.

    Attributes:
        base: The message that is continued, as it was before.
        edit_seq: The last edit of the input that is answered; 0 if it was never edited.
        handed_on: Whether its run left it to the next one.
        is_head_start: Whether another process made the first step.
        seam: How that step was taken over, once it was; see `chatrt.runtime.head_start`.
        relayed: How many of the chunks stand before the seam.
        attempts: How many runs have worked at it.
    """

    in_seq: int
    trigger: str
    message_id: str
    base: UIMessage | None
    edit_seq: int = 0
    chunks: list[UIMessageChunk] = field(default_factory=list[UIMessageChunk])
    handed_on: bool = False
    is_head_start: bool = False
    seam: Seam | None = None
    relayed: int = 0
    attempts: int = 1

    @property
    def is_within_step(self) -> bool:
        """Whether the last step of the answer was not over."""
        ends = [chunk["type"] for chunk in self.chunks if chunk["type"] in ("start-step", "finish-step")]
        return bool(ends) and ends[-1] == "start-step"

    @property
    def is_kept(self) -> bool:
        """Whether a person saw more than that an answer began, or calls may have run; of turns only.

        What was relayed is no reason: it comes in again with the input, and the step is taken over once more. From then
        on calls may have started.
        """
        if self.handed_on or self.trigger not in ("message", "regenerate"):
            return False
        if self.is_head_start and self.seam not in ("continued", "stopped"):
            return self.seam is not None and _is_seen(self.chunks[self.relayed :])
        return _is_seen(self.chunks) or (bool(self.chunks) and self.base is not None and has_approved_calls(self.base))

    @property
    def is_announced(self) -> bool:
        """Whether `on_chat_start` must have fired: nothing is said before it, but for what was relayed."""
        own = self.chunks[self.relayed :] if self.is_head_start else self.chunks
        return any(chunk["type"] not in ("error", "reset-step") for chunk in own)

    @property
    def injected_ids(self) -> list[str]:
        """The waiting messages that were put into this turn, in their order: they are part of its answer."""
        parts = (cast("dict[str, Any]", chunk) for chunk in self.chunks if chunk["type"] == INJECTED)
        return [message_id for part in parts for message_id in part["data"]["messageIds"]]


async def find_unfinished_turn(store: Store, key: SessionKey, settled_seq: int) -> UnfinishedTurn | None:
    """Read what stands after the last `turn-complete`; None if nothing does."""
    turn: UnfinishedTurn | None = None
    cursor = settled_seq
    while records := (await store.read_out(key, after=cursor, limit=PAGE)).records:
        for record in records:
            if record.kind == "turn-start":
                turn = _begun(record)
            elif record.kind == "chunk" and turn is not None:
                turn.chunks.append(cast("UIMessageChunk", loads(record.body)))
            elif record.kind == "upgrade" and turn is not None:
                turn.handed_on = True
            elif record.kind == "resumed" and turn is not None:
                turn.attempts = loads(record.body)["attempt"]
            elif record.kind == "handover" and turn is not None:
                turn.seam, turn.relayed, turn.handed_on = loads(record.body)["outcome"], len(turn.chunks), False
        cursor = records[-1].seq
    return turn


async def take_up_unfinished_turn(work: TurnWork, turn: UnfinishedTurn) -> RecoveryPlan | None:
    """Bring the work to where the dead run came to, and ask the application what is to become of it.

    Args:
        work: Serves the input; the front of what waits lies behind that.
        turn: What is left of it.

    Returns:
        What the application plans; None if it has no plan.
    """
    context = work.context
    settled, before = context.history.all(), context.history.checkpoint()
    take_injected(work, turn.injected_ids)
    await work.resume(turn.message_id, turn.base, turn.chunks, announced=turn.is_announced)
    if context.agent.hooks.on_recovery_boot is None or context.agent.hooks.hydrate_messages is not None:
        return None
    plan = await _ask_for_plan(work, settled)
    if plan is not None and plan.messages is not None:
        came_in = [message for message in context.history.all() if message not in settled]
        if not any(message in plan.messages for message in came_in):
            context.history.restore(before)  # what is forgotten leaves no branch
    return plan


async def close_unfinished_turn(work: TurnWork, record: Record, plan: RecoveryPlan) -> None:
    """Settle the input of an interrupted turn with the answer it had so far, or as the application plans.

    Args:
        work: Serves the input; taken up to where the dead run came to.
        record: The input.
        plan: What to do.
    """
    context = work.context
    again = plan.turns is not None and any(m["id"] == _message_id(record) for m in plan.turns)
    _put_back_lost(context, [] if again else plan.messages)
    if plan.turns is not None:
        keep = {message["id"] for message in plan.turns}
        context.arrivals.withdraw(other for other in _waiting_users(work) if _message_id(other) not in keep)
    if again:
        context.arrivals.put_back([record])
    if plan.messages is not None:
        work.keeps_answer = False
        context.history.set(plan.messages)
    await finish(work, Interrupted(), will_retry=again)
    if plan.before_turns is not None:
        try:
            await call(plan.before_turns)
        except Exception:
            logger.exception("before_turns failed in chat %s", context.chat_id)


def take_injected(work: TurnWork, ids: list[str]) -> None:
    """Take the messages that were put into a dead turn from the front of what waits: they are settled with it."""
    arrivals = work.context.arrivals
    batch: list[Record] = []
    # One for each, in their order: what waits behind them may have the same id, and is yet to be answered.
    for record, message_id in zip(arrivals.queue, ids, strict=False):
        if record.kind != "message" or _message_id(record) != message_id:
            break
        batch.append(record)
    arrivals.take(batch)
    work.context.injected += batch


def _put_back_lost(context: RunContext, kept: list[UIMessage] | None) -> None:
    """Let messages that were injected into the lost answer wait again, unless they are among what is kept.

    Args:
        context: The run.
        kept: The messages to go on with; None if the partial answer is kept.
    """
    if kept is None:
        return
    parts = [part for message in kept for part in message["parts"] if part["type"] == INJECTED]
    shown = {message["id"] for message in kept} | {one for part in parts for one in part["data"]["messageIds"]}
    lost = [record for record in context.injected if _message_id(record) not in shown]
    context.injected[:] = [record for record in context.injected if record not in lost]
    if lost:
        context.state.settled += [record.seq for record in context.injected if record.seq > lost[0].seq]
    context.arrivals.put_back(lost)


async def _ask_for_plan(work: TurnWork, settled: list[UIMessage]) -> RecoveryPlan | None:
    context, hook, response = work.context, work.context.agent.hooks.on_recovery_boot, work.response
    if hook is None or response is None:
        return None
    raw = response.snapshot()
    unsettled = [*context.injected, *_waiting_users(work)]
    in_flight = [cast("UIMessage", loads(other.body)["message"]) for other in unsettled]
    if work.new_message is not None:
        in_flight.insert(0, work.new_message)
    event = RecoveryBootEvent(
        chat_id=context.chat_id,
        history=context.history,
        client_data=work.client_data,
        run_id=context.run_id,
        previous_run_id=context.previous_run_id,
        settled_messages=settled,
        in_flight_users=in_flight,
        partial_assistant=response.message(work.client_tools),
        pending_tool_calls=_pending(raw),
        response=response,
    )
    checkpoint = context.checkpoint()
    try:
        plan = await call(hook, event)
        return None if plan is None else _checked(plan, {message["id"] for message in in_flight})
    except Exception:
        logger.exception("on_recovery_boot failed in chat %s; it goes on as without the hook", context.chat_id)
        context.restore(checkpoint)
        return None


def _checked(plan: Any, in_flight: set[str]) -> RecoveryPlan:
    if not isinstance(plan, RecoveryPlan):
        raise UsageError(f"on_recovery_boot returns a RecoveryPlan or None, not a {type(plan).__name__}")
    unknown = [message["id"] for message in plan.turns or () if message["id"] not in in_flight]
    if unknown:
        raise UsageError(f"these messages are not in flight: {', '.join(unknown)}")
    messages = None if plan.messages is None else checked_history(plan.messages)
    return RecoveryPlan(messages=messages, turns=plan.turns, before_turns=plan.before_turns)


def _pending(message: UIMessage | None) -> list[PendingToolCall]:
    return [
        PendingToolCall(
            tool_call_id=part["toolCallId"], tool_name=get_tool_name(part), input=part.get("input"), part_index=index
        )
        for index, part in enumerate(message["parts"] if message is not None else ())
        if is_tool_part(part) and part.get("state") == "input-available"
    ]


def _waiting_users(work: TurnWork) -> Iterable[Record]:
    arrivals = work.context.arrivals
    return [record for record in arrivals.queue if is_from_user(record) and not arrivals.is_withdrawn(record)]


def _message_id(record: Record) -> str:
    body: dict[str, Any] = loads(record.body)
    message: dict[str, Any] = body.get("message") or {}
    return message.get("id", "")


def _begun(record: Record) -> UnfinishedTurn:
    body: dict[str, Any] = loads(record.body)
    turn = UnfinishedTurn(
        body["inSeq"], body["trigger"], body["messageId"], body.get("message"), body.get("editSeq", 0)
    )
    turn.is_head_start = body.get("headStart") is True
    return turn


def _is_seen(chunks: Iterable[UIMessageChunk]) -> bool:
    return any(chunk["type"] not in ("start", "start-step", "reset-step") for chunk in chunks)
