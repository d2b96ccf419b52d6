"""A turn, from the message that came in to its outcome: accept, open, answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

from chatrt import failpoints
from chatrt.errors import UsageError
from chatrt.events import (
    ChatStartEvent,
    HydrateMessagesEvent,
    PrepareMessagesEvent,
    PrepareReason,
    TurnStartEvent,
    ValidateMessagesEvent,
)
from chatrt.generate import StepBoundary
from chatrt.runtime.calling import call
from chatrt.runtime.merge import (
    has_answers_to_continue,
    merge_tool_answers,
    merge_user_message,
    trim_for_regenerate,
    waits_for_client,
)
from chatrt.runtime.steering import Steering
from chatrt.runtime.work import Completed, Failed, HandedOn, Outcome, Stopped, Work
from chatrt.tools import tool_map
from chatrt.turn import Turn
from chatrt.ui import (
    ModelMessage,
    UIMessage,
    UIMessageChunk,
    find_answered_message,
    overlay_tool_states,
    validate_ui_messages,
)

logger = logging.getLogger("chatrt.runtime")


class TurnWork(Work):
    """A `message` or `regenerate` record being served."""

    merged = False
    """Whether what came in is part of the history by now."""

    new_message: UIMessage | None = None
    """The user message of this turn, if one came in."""

    _steering: Steering | None = None

    answers_awaited = False
    """Whether nothing is to be said before the client has settled more calls."""

    async def perform(self) -> Outcome | HandedOn:
        """Serve the record; every way but a cancelled run ends in an outcome."""
        try:
            await self.resolve_agent_parts()
            await self._accept()
            turn = self.open_response(self._continued())
            await self._announce(turn)
            if self._is_handed_on():
                return HandedOn()
            if not self.answers_awaited:
                await self._run(turn)
        except Exception as error:
            return Failed(error)
        return Stopped(self.stop_reason) if self.stop_signal.is_set() else Completed()

    async def resume(
        self, message_id: str, base: UIMessage | None, chunks: Sequence[UIMessageChunk], *, announced: bool
    ) -> None:
        """Take up a turn that another run left, so that it can be finished; hooks that fail now cannot prevent it.

        Args:
            message_id: The id of the answer.
            base: The message that is continued, if one is.
            chunks: What was said.
            announced: Whether `on_chat_start` must have fired.
        """
        try:
            await self.resolve_agent_parts()
            await self._accept()
        except Exception:
            logger.exception("input %d of chat %s could not be merged again", self.in_seq, self.context.chat_id)
        if announced:
            self.context.state.chat_started = True
        self._resume_response(message_id, base, chunks)

    def resume_unasked(
        self, message_id: str, base: UIMessage | None, chunks: Sequence[UIMessageChunk], *, announced: bool
    ) -> None:
        """Take a turn up as `resume` does, without a call of the application: what came in is merged by the rules."""
        tools, history = self.context.agent.tools, self.context.history
        message: UIMessage | None = self.body.get("message")
        if not callable(tools):
            self.tools = tool_map(tools)
        try:
            if message is not None:
                self._merge(message)
            elif self.trigger == "regenerate":
                trim_for_regenerate(history, self.body.get("messageId"))
            self.merged = True
        except Exception:
            logger.exception("input %d of chat %s could not be merged again", self.in_seq, self.context.chat_id)
        if announced:
            self.context.state.chat_started = True
        self._resume_response(message_id, base, chunks)

    # --- accept: what came in becomes part of the history

    async def _accept(self) -> None:
        message: UIMessage | None = self.body.get("message")
        if message is not None:
            message = await self._validated(message)
        if self.context.agent.hooks.hydrate_messages is not None:
            await self._hydrate(message)
        elif message is not None:
            self._merge(message)
        elif self.trigger == "regenerate":
            trim_for_regenerate(self.context.history, self.body.get("messageId"))
        self.merged = True

    async def _validated(self, message: UIMessage) -> UIMessage | None:
        hook = self.context.agent.hooks.on_validate_messages
        if hook is None:
            return message
        event = ValidateMessagesEvent(
            chat_id=self.context.chat_id,
            history=self.context.history,
            client_data=self.client_data,
            messages=[message],
            turn=self.context.turns,
            trigger=self.trigger,
        )
        kept: Any = await call(hook, event)
        if not isinstance(kept, list):
            raise UsageError("on_validate_messages returns the list of messages to go on with")
        return cast("list[UIMessage]", kept)[-1] if kept else None

    def _merge(self, message: UIMessage) -> None:
        history = self.context.history
        if message["role"] == "user":
            if history.find_message(message["id"]) is None:
                self._settle_before()
            merge_user_message(history, message, self.body.get("messageId"))
            self.new_message = message
            return
        advanced = merge_tool_answers(history, message, self.server_tools)
        failpoints.reach("appr.recorded")
        self._look_for_more(find_answered_message(history.all(), message), advanced=advanced)

    def _settle_before(self) -> None:
        """Settle the calls that were answered before the new user message was said."""
        answers: UIMessage | None = self.body.get("answers")
        if answers is not None and find_answered_message(self.context.history.all(), answers) is not None:
            merge_tool_answers(self.context.history, answers, self.server_tools)

    async def _hydrate(self, message: UIMessage | None) -> None:
        hook = self.context.agent.hooks.hydrate_messages
        if hook is None:
            raise UsageError("no hydrate_messages hook")
        history = self.context.history
        event = HydrateMessagesEvent(
            chat_id=self.context.chat_id,
            history=history,
            client_data=self.client_data,
            turn=self.context.turns,
            trigger=self.trigger,
            incoming_messages=[] if message is None else [message],
            previous_messages=history.all(),
            continuation=self.context.continuation,
        )
        known = {stored["id"] for stored in history.all()}
        history.set(checked_history(await call(hook, event)))
        if message is None:
            return
        if message["role"] == "user":
            self.new_message = message if message["id"] not in known else None
            if self.new_message is not None:
                self._settle_before()
            return
        stored = find_answered_message(history.all(), message)
        if stored is None:
            return
        merged = overlay_tool_states(stored, message)
        advanced = merged is not stored and merge_tool_answers(history, message, self.server_tools)
        self._look_for_more(find_answered_message(history.all(), message), advanced=advanced)

    def _look_for_more(self, answered: UIMessage | None, *, advanced: bool) -> None:
        if answered is None:
            return
        last = self.context.history.last
        # One continuation, once all is settled; none for an answer that was already continued, and none where the
        # conversation went on: what was answered late is on record for the next prompt.
        went_on = last is None or last["id"] != answered["id"]
        unfinished = advanced or has_answers_to_continue(answered)
        self.answers_awaited = went_on or waits_for_client(answered) or not unfinished

    # --- open: the turn begins

    def _continued(self) -> UIMessage | None:
        last = self.context.history.last
        return last if last is not None and last["role"] == "assistant" else None

    async def _announce(self, turn: Turn[Any]) -> None:
        context, hooks = self.context, self.context.agent.hooks
        if not context.state.chat_started:
            context.state.chat_started = True
            if hooks.on_chat_start is not None:
                await call(
                    hooks.on_chat_start,
                    ChatStartEvent(
                        chat_id=context.chat_id,
                        history=context.history,
                        client_data=self.client_data,
                        convert=self.convert,
                        run_id=context.run_id,
                        turn=context.turns,
                        preloaded=context.preloaded,
                        response=turn.response,
                    ),
                )
        if hooks.on_turn_start is not None:
            await call(
                hooks.on_turn_start,
                TurnStartEvent(
                    chat_id=context.chat_id,
                    history=context.history,
                    client_data=self.client_data,
                    convert=self.convert,
                    run_id=context.run_id,
                    turn=context.turns,
                    trigger=self.trigger,
                    continuation=context.continuation,
                    preloaded=context.preloaded,
                    previous_turn_usage=context.state.last_usage,
                    total_usage=context.state.total_usage,
                    response=turn.response,
                ),
            )

    def _is_handed_on(self) -> bool:
        """Whether newer code is to answer: asked for before `run` is called, and for this input the first time."""
        context = self.context
        if not context.control.upgrading or self.stop_signal.is_set():
            return False
        if context.state.handed_on == self.in_seq:
            logger.warning("chat %s: input %d was handed on once and is answered now", context.chat_id, self.in_seq)
            return False
        return True

    # --- answer

    async def steer(self, boundary: StepBoundary, prompt: list[ModelMessage]) -> list[ModelMessage]:
        """Return the prompt with what users said meanwhile."""
        if self._steering is None:
            if self.turn is None:
                return prompt
            self._steering = Steering(
                self.context,
                self.turn,
                convert=self.convert,
                validate=self._validated,
                is_over=lambda: not self.goes_on,
            )
        return await self._steering.inject(boundary, prompt)

    async def _run(self, turn: Turn[Any]) -> None:
        loop = self.context.loop
        run = self.context.agent.hooks.run if loop is None else loop.answer
        if run is None:
            raise UsageError(f"agent {self.context.agent.id!r} has no run function")
        vars(turn).pop("messages", None)  # hooks may have read them before the last change of the history
        if self.context.state.layers.waiting:  # only then: a prompt that nobody reads is not made
            self.context.background.place_behind(self.context.history.last, turn.messages)
            vars(turn).pop("messages", None)
        if self.context.agent.hooks.prepare_messages is not None:
            turn.messages = await self.prepare(turn.messages, "run")
        await self.answer(lambda: run(turn))

    async def prepare(self, messages: list[ModelMessage], reason: PrepareReason) -> list[ModelMessage]:
        """Let `prepare_messages` change a prompt that is about to be shown."""
        hook = self.context.agent.hooks.prepare_messages
        if hook is None:
            return messages
        event = PrepareMessagesEvent(
            chat_id=self.context.chat_id,
            history=self.context.history,
            client_data=self.client_data,
            messages=list(messages),
            reason=reason,
            turn=self.context.turns,
        )
        return keep_approval_row_last(messages, await call(hook, event))


def checked_history(messages: Any) -> list[UIMessage]:
    """Validate the messages that an application gave; an empty list is a history too."""
    return [] if messages == [] else validate_ui_messages(messages)


def keep_approval_row_last(before: list[ModelMessage], after: list[ModelMessage]) -> list[ModelMessage]:
    """Put a trailing row of approval answers back to the end: approved tools are found there and nowhere else."""
    if not before or not _answered_approvals(before[-1]):
        return after
    row = before[-1]
    answered = _answered_approvals(row)
    kept = [message for message in after if answered.isdisjoint(_answered_approvals(message))]
    return [*kept, row]


def _answered_approvals(message: ModelMessage) -> set[str]:
    if message["role"] != "tool":
        return set()
    return {part["approvalId"] for part in _parts(message) if part["type"] == "tool-approval-response"}


def _parts(message: ModelMessage) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", message["content"])
