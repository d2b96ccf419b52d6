"""The first step of an answer, made here and relayed to the run that takes it over; see `chatrt.runtime.head_start`.

One list of chunks serves everybody: whoever made the request reads it as it grows, and the relay appends what is new to
`.in` in batches. The step is its own master: a reader that goes away does not end it (D16). It ends when it is whole,
when it fails, or when the log shows that the run has gone on without it: because a person stopped the turn, say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

from chatrt.clock import Clock
from chatrt.codec import clean_text, dumps, loads
from chatrt.errors import InvalidJSONError, StoreUnavailableError
from chatrt.generate import TextStream
from chatrt.models import Usage
from chatrt.runtime import Session
from chatrt.runtime.response import STEP_CHUNKS
from chatrt.ui import UIMessageChunk

logger = logging.getLogger("chatrt.server")

RELAY_SECONDS = 0.05
"""The least time between two batches: twenty records a second are enough for whoever reads the log."""

RELAY_BYTES = 256 * 1024
"""How much one batch holds, unless a single chunk is larger; bytes of JSON."""

SIGNS_PER_TIMEOUT = 3
"""How often a silent step says that it is alive, within the time after which the run gives it up."""

RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""How long to wait between attempts while the store is unavailable."""

_GOES_ON = frozenset({"stop", "tool-calls"})

Ask = Callable[[], Awaitable[TextStream | None]]
"""Gives the stream whose first step is made; None for no head start."""


class StepChunk(NamedTuple):
    """A chunk, and the same as JSON."""

    chunk: dict[str, Any]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """How a first step ended.

    Attributes:
        is_final: Whether it is the whole answer; otherwise the run carries out its calls and goes on.
        finish_reason: What the model gave as its reason.
        usage: What it used.
    """

    is_final: bool
    finish_reason: str | None
    usage: Usage


class FirstStep:
    """The step that answers one message.

    Args:
        session: The session; the message was appended to its `.in`.
        clock: For the pace of the relay.
        in_seq: The message.
        message_id: The id of the answer.
        after: A cursor of `.out` from before the message was appended.
    """

    def __init__(self, session: Session, clock: Clock, *, in_seq: int, message_id: str, after: int) -> None:
        self.in_seq = in_seq
        self.message_id = message_id
        self.after = after
        self._session = session
        self._clock = clock
        self._shown: list[StepChunk] = []
        self._waiting: list[dict[str, Any]] = []
        self._finish: dict[str, Any] | None = None
        self._handover: Handover | None = None
        self._over = asyncio.Event()
        self._grown = asyncio.Event()

    async def read(self) -> AsyncIterator[list[StepChunk]]:
        """Yield the chunks from the first on, as they come, until the step is over."""
        read = 0
        while True:
            grown = self._grown
            if read < len(self._shown):
                batch = self._shown[read:]
                read += len(batch)
                yield batch
            elif self._over.is_set():
                return
            else:
                await grown.wait()

    async def run(self, ask: Ask) -> Handover | None:
        """Make the step and relay it.

        Returns:
            How it ended, once that is on record; None if there was none, or the run went on without it.

        Raises:
            Exception: Why the step failed, once it is on record that there is nothing to take over.
        """
        making = asyncio.create_task(self._make(ask))
        relaying = asyncio.create_task(self._relay())
        taken = asyncio.create_task(self._watch())
        tasks = (making, relaying, taken)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                self._end(None if making.exception() is not None else making.result())
                await asyncio.wait({relaying, taken}, return_when=asyncio.FIRST_COMPLETED)
            if relaying.done():
                relaying.result()
            return making.result() if making.done() else None
        except asyncio.CancelledError:
            making.cancel()
            self._end(None)
            await asyncio.wait({relaying, taken}, return_when=asyncio.FIRST_COMPLETED)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end(None)

    # --- making

    async def _make(self, ask: Ask) -> Handover | None:
        stream = await ask()
        if stream is None:
            return None
        stream.begin_only()
        try:
            async for chunk in stream:
                self._take(cast("dict[str, Any]", chunk))
        finally:
            await stream.aclose()
        if stream.error is not None:
            raise stream.error
        called = any(not call.provider_executed for step in stream.steps for call in step.tool_calls)
        return Handover(
            is_final=not (called and stream.finish_reason in _GOES_ON),
            finish_reason=stream.finish_reason,
            usage=stream.usage,
        )

    def _take(self, chunk: dict[str, Any]) -> None:
        """Show a chunk; the beginning waits for something to see, and the end is the run's to tell."""
        match chunk["type"]:
            case "start":
                self._waiting.append({**chunk, "messageId": self.message_id})
            case "start-step" if not self._shown:
                self._waiting.append(chunk)
            case "finish":
                self._finish = chunk
            case kind if kind in STEP_CHUNKS:
                for shown in (*self._waiting, chunk):
                    self._shown.append(_encode(shown))
                self._waiting.clear()
                self._announce()
            case _:
                pass

    def _end(self, handover: Handover | None) -> None:
        if not self._over.is_set():
            self._handover = handover
            self._over.set()
            self._announce()

    def _announce(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    # --- relaying

    async def _relay(self) -> None:
        inbox, relayed = self._session.inbox, 0
        while True:
            grown = self._grown
            batch = self._batch(relayed)
            if batch:
                part_id = f"{self.message_id}:{relayed}"
                await self._insist(partial(inbox.relay_chunks, self.in_seq, relayed, batch, part_id=part_id))
                relayed += len(batch)
                await self._wait(self._over, RELAY_SECONDS)
            elif self._over.is_set():
                await self._insist(self._hand_over)
                return
            elif not await self._wait(grown, self._session.agent.head_start_timeout / SIGNS_PER_TIMEOUT):
                await self._insist(partial(inbox.relay_chunks, self.in_seq, relayed, []))

    def _batch(self, first: int) -> list[UIMessageChunk]:
        batch: list[dict[str, Any]] = []
        size = 0
        for index in range(first, len(self._shown)):
            chunk, body = self._shown[index]
            size += len(body)
            if batch and size > RELAY_BYTES:
                break
            batch.append(chunk)
        return cast("list[UIMessageChunk]", batch)

    async def _hand_over(self) -> None:
        inbox, handover, part_id = self._session.inbox, self._handover, f"{self.message_id}:end"
        if handover is None:
            await inbox.skip_handover(self.in_seq, part_id=part_id)
            return
        await inbox.hand_over(
            self.in_seq,
            is_final=handover.is_final,
            finish=cast("UIMessageChunk | None", self._finish),
            usage=handover.usage.to_json(),
            part_id=part_id,
        )

    async def _insist(self, append: Callable[[], Awaitable[object]]) -> None:
        for delay in RETRY_SECONDS:
            try:
                await append()
            except StoreUnavailableError as error:
                logger.warning("the store is unavailable, trying again in %s s: %s", delay, error)
                await self._clock.sleep(delay)
            else:
                return
        await append()

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        return event.is_set()

    async def _watch(self) -> None:
        """Return when the run is behind the seam, or the message is settled."""
        async with aclosing(cast("Any", self._session.outbox.read(self.after, watches=True))) as batches:
            async for batch in batches:
                for record in batch:
                    if record.kind in ("handover", "turn-complete") and loads(record.body)["inSeq"] == self.in_seq:
                        return


def _encode(chunk: dict[str, Any]) -> StepChunk:
    try:
        return StepChunk(chunk, dumps(chunk))
    except InvalidJSONError:
        clean: dict[str, Any] = clean_text(chunk)
        return StepChunk(clean, dumps(clean))
