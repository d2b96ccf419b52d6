"""The one door by which every turn and action ends: close what is open, commit once, tell the last hook once.

    Completed   finish                      turn-complete {status: completed}
    Stopped     open parts closed, abort    turn-complete {status: stopped}
    Failed      open parts closed, error    turn-complete {status: failed, error: {code, message, id}}
    Interrupted open parts closed, abort    turn-complete {status: interrupted}

The last chunks, the `turn-complete`, the changed messages, the cursor and the usage are one transaction.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from chatrt import failpoints
from chatrt.agent import ChatAgent
from chatrt.codec import dumps
from chatrt.errors import ChatrtError, InputQuarantinedError, PublicError, TurnInterruptedError
from chatrt.events import BeforeTurnCompleteEvent, TurnCompleteEvent, TurnStatus
from chatrt.runtime.calling import call
from chatrt.runtime.context import RunContext
from chatrt.runtime.counting import count_work
from chatrt.runtime.response import Response
from chatrt.runtime.state import DurableState
from chatrt.runtime.turns import TurnWork
from chatrt.runtime.work import Completed, Failed, Interrupted, Outcome, Stopped, Work
from chatrt.stores import NewRecord
from chatrt.ui import UIMessage, overlay_tool_states

logger = logging.getLogger("chatrt.runtime")

KEPT_TURNS = 2
KEPT_SETTLED = 102
"""How many settled inputs `.out` keeps at most, so that it does not grow where nothing but actions come."""

MASKED = "An error occurred."
"""What people read when nothing else was chosen for them (D11); the same words as the AI SDK's."""


@dataclass(frozen=True, slots=True)
class PublicFailure:
    """What of a failure may cross to the client: a stable code, a text for people, and an id to find it in the logs."""

    code: str
    message: str
    id: str

    def to_json(self) -> dict[str, str]:
        """Return the `error` of a `turn-complete` record."""
        return {"code": self.code, "message": self.message, "id": self.id}


async def finish(work: Work, outcome: Outcome, *, will_retry: bool = False) -> UIMessage | None:
    """End a piece of work; afterwards it is settled and durable, or a `StoreError` was raised and it is neither.

    Args:
        work: The work.
        outcome: How it ended.
        will_retry: Whether the same input is served once more: what was said is over, its turn is not.

    Returns:
        The answer as the history has it; None if nothing was said.
    """
    context = work.context
    response = _opened(work)
    raw = response.snapshot()
    _close(work, response, outcome)
    message = _keep_answer(work, response, outcome, response.kept)
    said = _said(work, response, outcome)
    if isinstance(work, TurnWork) and isinstance(outcome, Completed | Stopped):
        outcome = await _before_complete(work, response, outcome, message, raw)
        _close(work, response, outcome)
    problem = context.find_unstorable()
    if problem is not None:
        outcome, said = Failed(problem), response.base
        await _take_back(work)
    failure = _say_how_it_ended(work, response, outcome)
    message = _keep_answer(work, response, outcome, said)
    response.end()
    failpoints.reach("turn.pre_complete")
    last_seq = await _commit(work, outcome, message, failure, will_retry=will_retry)
    failpoints.reach("turn.completed")
    if not will_retry:
        count_work(context.writer.metrics, work, _status(outcome), message)
    if isinstance(work, TurnWork) and not will_retry:
        context.turns += 1
        if isinstance(outcome, Failed) and isinstance(outcome.error, InputQuarantinedError):
            _parse_client_data_late(work)
        await tell_turn_complete(work, outcome, message, raw, last_seq)
    return message


def public_failure(agent: ChatAgent, error: BaseException, error_id: str) -> PublicFailure:
    """Choose what a client may know of an exception (D11)."""
    code = error.code if isinstance(error, ChatrtError) else ChatrtError.code
    if isinstance(error, PublicError):
        return PublicFailure(code, error.message, error_id)
    if agent.hooks.on_error is not None and not isinstance(error, InputQuarantinedError):
        try:
            return PublicFailure(code, agent.hooks.on_error(error), error_id)
        except Exception:
            logger.exception("on_error of agent %s failed", agent.id)
    return PublicFailure(code, f"{MASKED} ({error_id})", error_id)


async def tell_turn_complete(
    work: TurnWork,
    outcome: Outcome,
    message: UIMessage | None,
    raw: UIMessage | None,
    last_seq: int,
) -> None:
    """Fire `on_turn_complete`; what it raises is logged (D5), what it does to the history is kept."""
    context = work.context
    hook = context.agent.hooks.on_turn_complete
    if hook is None:
        return
    event = TurnCompleteEvent(
        chat_id=context.chat_id,
        history=context.history,
        client_data=work.client_data,
        convert=work.convert,
        run_id=context.run_id,
        turn=context.turns - 1,
        trigger=work.trigger,
        continuation=context.continuation,
        status=_status(outcome),
        last_seq=last_seq,
        new_ui_messages=_new_messages(work, message),
        response_message=message,
        raw_response_message=raw,
        finish_reason=_finish_reason(work, outcome),
        usage=work.usage,
        total_usage=context.state.total_usage,
        error=_error(outcome),
    )
    try:
        await call(hook, event)
    except Exception:
        logger.exception("on_turn_complete failed in chat %s; the turn stays as it was", context.chat_id)
    problem = context.find_unstorable()
    if problem is not None:
        logger.error("what on_turn_complete left cannot be stored; it is dropped", exc_info=problem)
        await context.take_back()
    if context.history.changes() or context.has_new_state:
        await context.commit([])


def _parse_client_data_late(work: Work) -> None:
    """Read for the last hook what was not read before the commit, because that calls the application."""
    try:
        work.parse_client_data()
    except Exception:
        logger.exception("the client data of input %d of chat %s", work.in_seq, work.context.chat_id)


def _opened(work: Work) -> Response:
    """A turn that failed early still keeps the user's message, and still has a beginning on `.out`."""
    message: UIMessage | None = work.body.get("message")
    history = work.context.history
    if isinstance(work, TurnWork) and not work.merged and message is not None and message["role"] == "user":
        if history.find_message(message["id"]) is None and "messageId" not in work.body:
            history.append(message)
            work.new_message = message
        work.merged = True
    if work.response is None:
        work.open_late()
    if work.response is None:  # pragma: no cover - open_response sets it
        raise AssertionError
    return work.response


def _close(work: Work, response: Response, outcome: Outcome) -> None:
    if isinstance(outcome, Completed):
        response.close_texts()
    else:
        dropped, state = response.close_all(work.client_tools), work.context.state
        state.layers = state.layers.without_parts(response.message_id, dropped)


def _said(work: Work, response: Response, outcome: Outcome) -> UIMessage | None:
    return response.message(None if isinstance(outcome, Completed) else work.client_tools)


def _keep_answer(work: Work, response: Response, outcome: Outcome, before: UIMessage | None) -> UIMessage | None:
    """Make the answer, as it stands, part of the history; what hooks made of it meanwhile stays (D1).

    Args:
        work: Whose answer it is.
        response: The answer.
        outcome: How it ended.
        before: The answer as it was when it became part of the history: at first, the message that is continued, or
            what a head start said.

    Returns:
        The answer as it is in the history; None if nothing was said, or a hook removed it.
    """
    message = _said(work, response, outcome)
    if message is None or message == response.base or not work.keeps_answer:
        return None
    history = work.context.history
    stored = history.find_message(message["id"])
    if stored is None:
        if before is not response.base:
            return None
        history.append(message)
        return message
    if before is not None and stored != before:
        edited = overlay_tool_states(stored, message)
        grown: UIMessage = {**edited, "parts": [*edited["parts"], *message["parts"][len(before["parts"]) :]]}
        message = grown
    if stored != message:
        history.advance(message)
    return message


async def _take_back(work: Work) -> None:
    """Forget what was made of the history, but for the message that came in."""
    await work.context.take_back()
    if isinstance(work, TurnWork):
        work.merged = False
    _opened(work)


async def _before_complete(
    work: TurnWork, response: Response, outcome: Outcome, message: UIMessage | None, raw: UIMessage | None
) -> Outcome:
    context = work.context
    hook = context.agent.hooks.on_before_turn_complete
    if hook is None:
        return outcome
    total = context.state.total_usage
    event = BeforeTurnCompleteEvent(
        chat_id=context.chat_id,
        history=context.history,
        client_data=work.client_data,
        convert=work.convert,
        run_id=context.run_id,
        turn=context.turns,
        trigger=work.trigger,
        continuation=context.continuation,
        new_ui_messages=_new_messages(work, message),
        response_message=message,
        raw_response_message=raw,
        stopped=isinstance(outcome, Stopped),
        finish_reason=_finish_reason(work, outcome),
        usage=work.usage,
        total_usage=total if work.usage is None else total + work.usage,
        response=response,
    )
    try:
        await call(hook, event)
    except Exception as error:
        return Failed(error)
    error = work.answer_error
    return outcome if error is None or isinstance(outcome, Stopped) else Failed(error)


def _say_how_it_ended(work: Work, response: Response, outcome: Outcome) -> PublicFailure | None:
    match outcome:
        case Completed():
            response.finish()
        case Stopped(reason):
            response.abort(reason)
        case Interrupted():
            response.abort("interrupted")
        case Failed(error):
            error_id = work.context.ids.new("err")
            failure = public_failure(work.context.agent, error, error_id)
            if response.stream_error not in (None, MASKED):
                failure = PublicFailure(failure.code, response.stream_error or MASKED, error_id)
            logger.error("%s: input %d of chat %s failed", error_id, work.in_seq, work.context.chat_id, exc_info=error)
            response.fail(failure.message)
            return failure
    return None


async def _commit(
    work: Work, outcome: Outcome, message: UIMessage | None, failure: PublicFailure | None, *, will_retry: bool
) -> int:
    body: dict[str, Any] = {"inSeq": work.in_seq, "trigger": work.trigger, "status": _status(outcome)}
    if message is not None:
        body["messageId"] = message["id"]
    finish_reason = _finish_reason(work, outcome)
    if finish_reason is not None:
        body["finishReason"] = finish_reason
    if failure is not None:
        body["error"] = failure.to_json()
    if will_retry:
        body["willRetry"] = True
    state = work.context.state
    state.add_usage(work.usage)
    if isinstance(work, TurnWork) and not will_retry:
        state.run_turns = work.context.turns + 1
    return await settle(work.context, body)


async def settle(context: RunContext, body: dict[str, Any]) -> int:
    """Commit a `turn-complete` with all that belongs to it; returns the sequence number of the last record.

    Messages that were injected into the turn are settled with it: each has a `turn-complete` of its own behind it.
    """
    is_turn = body["trigger"] in ("message", "regenerate") and body["status"] != "withdrawn"
    trim_to = _trim(context.state, context.settled_seq + 1, is_turn=is_turn)
    settled_up_to = context.arrivals.settled_up_to  # what `commit` makes the cursor: nothing is awaited in between
    if settled_up_to > body["inSeq"]:
        body = {**body, "inCursor": settled_up_to}
    records = [NewRecord("turn-complete", dumps(body))]
    for record in context.injected:
        told = {"inSeq": record.seq, "trigger": "message", "status": "injected", "messageId": body.get("messageId")}
        records.append(NewRecord("turn-complete", dumps({k: v for k, v in told.items() if v is not None})))
    context.settled_seq = await context.commit(records, trim_to=trim_to)
    context.injected.clear()  # only now: until they are settled, whoever loads the chat must not take them for waiting
    return context.settled_seq


def _trim(state: DurableState, start: int, *, is_turn: bool) -> int:
    """Note where what is settled now begins on `.out`, and return up to where that may be dropped.

    What is no turn (an action, what was written from outside, a message that was taken back) takes no turn's place.
    """
    starts = [*state.turn_starts, start if is_turn else -start]
    turns = [place for place, begin in enumerate(starts) if begin > 0]
    enough = len(turns) >= KEPT_TURNS
    first = turns[-KEPT_TURNS] if enough else 0
    state.turn_starts = starts = starts[max(first, len(starts) - KEPT_SETTLED) :]
    return abs(starts[0]) - 1 if enough or len(starts) == KEPT_SETTLED else 0


def _status(outcome: Outcome) -> TurnStatus:
    match outcome:
        case Completed():
            return "completed"
        case Stopped():
            return "stopped"
        case Failed():
            return "failed"
        case Interrupted():
            return "interrupted"


def _error(outcome: Outcome) -> BaseException | None:
    match outcome:
        case Failed(error):
            return error
        case Interrupted():
            return TurnInterruptedError()
        case Completed() | Stopped():
            return None


def _finish_reason(work: Work, outcome: Outcome) -> str | None:
    if isinstance(outcome, Failed | Interrupted):
        return "error"
    return work.response.finish_reason if work.response is not None else None


def _new_messages(work: TurnWork, message: UIMessage | None) -> list[UIMessage]:
    return [new for new in (work.new_message, message) if new is not None]
