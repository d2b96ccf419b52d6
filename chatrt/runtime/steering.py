"""Steering: user messages that arrive while a turn runs go into its prompt between two steps (D6).

They are kept as a data part of the answer, at the place where they came in. What is not injected by the end of the turn
runs as the next turns: the queue is the truth, and only what stands at its front, before any other input, is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chatrt.codec import loads
from chatrt.generate import StepBoundary
from chatrt.pending_messages import InjectedEvent, PendingBatch, ReceivedEvent
from chatrt.runtime.calling import call
from chatrt.runtime.context import RunContext
from chatrt.runtime.prompt_layers import checked_rows
from chatrt.stores import Record
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage, injected_chunk

logger = logging.getLogger("chatrt.runtime")

Convert = Callable[[Sequence[UIMessage]], list[ModelMessage]]
Validate = Callable[[UIMessage], Awaitable[UIMessage | None]]


class Steering:
    """Injects what waits into one turn.

    Args:
        context: The run.
        turn: The turn.
        convert: Makes model messages of UI messages.
        validate: Looks at a message as the turn's own was looked at.
        is_over: Whether the answer takes nothing more; asked again after whatever was waited for.
    """

    def __init__(
        self,
        context: RunContext,
        turn: Turn[Any],
        *,
        convert: Convert,
        validate: Validate,
        is_over: Callable[[], bool],
    ) -> None:
        self._context = context
        self._turn = turn
        self._convert = convert
        self._validate = validate
        self._is_over = is_over
        self._refused: set[int] = set()

    async def inject(self, boundary: StepBoundary, prompt: list[ModelMessage]) -> list[ModelMessage]:
        """Return the prompt with the messages that are injected at this boundary."""
        arrivals = self._context.arrivals
        while not self._is_over() and (batch := arrivals.injectable(self._accepts)):
            records, messages = await self._valid(batch)
            event = PendingBatch(
                chat_id=self._context.chat_id,
                turn=self._turn.number,
                messages=messages,
                model_messages=list(prompt),
                steps=boundary.steps,
                step_number=len(boundary.steps),
                client_data=self._turn.client_data,
            )
            if not messages or not await self._decide(event):
                return prompt
            prepared = await self._prepare(event)
            if self._is_over() or not arrivals.is_front(records):
                continue  # something came in between: look again
            rows = self._convert(messages) if prepared is None else prepared
            # Nothing is waited for from here on, and what raises does so before anything is taken.
            self._turn.response.write(injected_chunk(self._context.ids.new("inj"), messages, prepared))
            arrivals.take(records)
            self._context.injected += records
            await self._tell_injected(event, rows)
            return [*prompt, *rows]
        return prompt

    def _accepts(self, body: dict[str, Any]) -> bool:
        agent, message = self._context.agent, body["message"]
        if message["role"] != "user" or "messageId" in body or agent.when_busy not in ("queue", "steer"):
            return False
        if "headStart" in body:
            return False  # it is being answered already
        if self._context.history.find_message(message["id"]) is not None:
            return False  # an edit
        decides = agent.pending_messages is not None and agent.pending_messages.should_inject is not None
        return decides or agent.when_busy == "steer" or body.get("steer") is True

    async def _valid(self, batch: list[Record]) -> tuple[list[Record], list[UIMessage]]:
        """Return the leading messages that the application's validation lets pass; others get a turn to fail in."""
        records: list[Record] = []
        messages: list[UIMessage] = []
        for record in batch:
            message: UIMessage = loads(record.body)["message"]
            known = {other["id"] for other in messages}
            if record.seq in self._refused or message["id"] in known:
                break
            try:
                valid = await self._validate(message)
            except Exception:
                logger.exception("input %d of chat %s is not injected", record.seq, self._context.chat_id)
                valid = None
            if valid is None:
                self._refused.add(record.seq)
                break
            records.append(record)
            messages.append({**valid, "id": message["id"]})  # by its id it is known after a crash
        return records, messages

    async def _decide(self, event: PendingBatch) -> bool:
        policy = self._context.agent.pending_messages
        if policy is None or policy.should_inject is None:
            return True
        return bool(await call(policy.should_inject, event))

    async def _prepare(self, event: PendingBatch) -> list[ModelMessage] | None:
        policy = self._context.agent.pending_messages
        return None if policy is None or policy.prepare is None else checked_rows(await call(policy.prepare, event))

    async def _tell_injected(self, event: PendingBatch, rows: list[ModelMessage]) -> None:
        policy = self._context.agent.pending_messages
        if policy is None or policy.on_injected is None:
            return
        told = InjectedEvent(
            chat_id=event.chat_id,
            turn=event.turn,
            messages=event.messages,
            injected_model_messages=rows,
            step_number=event.step_number,
        )
        try:
            await call(policy.on_injected, told)
        except Exception:
            logger.exception("on_injected failed in chat %s", event.chat_id)


async def tell_received(context: RunContext, record: Record) -> None:
    """Fire `on_received` for a user message that arrived while a turn runs; what it raises is logged."""
    policy = context.agent.pending_messages
    message: UIMessage = loads(record.body)["message"]
    if policy is None or policy.on_received is None or message["role"] != "user":
        return
    try:
        await call(policy.on_received, ReceivedEvent(chat_id=context.chat_id, turn=context.turns, message=message))
    except Exception:
        logger.exception("on_received failed in chat %s", context.chat_id)
