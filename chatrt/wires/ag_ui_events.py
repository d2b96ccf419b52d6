"""The AG-UI events of an answer, made of its chunks: what was begun is always ended.

AG-UI clients verify the order of events and end a run at the first one out of order, so this file keeps account of what
is open. Nearly all chunks are deltas of texts: their frames are cut out of the stored JSON, and shared by all readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, cast

import orjson
from ag_ui.core import (
    BaseEvent,
    CustomEvent,
    ReasoningEndEvent,
    ReasoningMessageEndEvent,
    ReasoningMessageStartEvent,
    ReasoningStartEvent,
    StateSnapshotEvent,
    StepFinishedEvent,
    StepStartedEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from chatrt.stores.base import Record
from chatrt.ui import UIMessage
from chatrt.ui.merge import INTERRUPTED
from chatrt.ui.segments import INJECTED
from chatrt.wires.ag_ui_messages import DENIED, STATE, Approval, Call, Names, Told, as_text, result_id, tell_whole
from chatrt.wires.frames import data_frame, one_line

FRAMES = "ag-ui"

_DELTA_HEADS = {
    "text": b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":%b,"delta":',
    "reasoning": b'data: {"type":"REASONING_MESSAGE_CONTENT","messageId":%b,"delta":',
}
_CALL_HEAD = b'data: {"type":"TOOL_CALL_ARGS","toolCallId":%b,"delta":'
_TEXT_DELTA = b'{"type":"text-delta","id":'
_REASONING_DELTA = b'{"type":"reasoning-delta","id":'
_QUOTES = 12
_DELTA_KEY = b',"delta":'
_HIDDEN = frozenset({"type", "providerMetadata"})

Block = Literal["text", "reasoning"]


def frame(event: BaseEvent) -> bytes:
    """Return an event as a frame."""
    return data_frame(event.model_dump_json(by_alias=True).encode())


class AnswerEvents:
    """Turns the chunks of answers into frames and knows what is open; one for each reader of a run.

    Attributes:
        told: The answer at hand.
        finish_reason: Of its last `finish`.
    """

    def __init__(self) -> None:
        self.told = Told(Names(""))
        self.finish_reason: str | None = None
        self._heads: dict[bytes, bytes] = {}  # of deltas, by the start of their chunk up to the delta
        self._blocks: dict[tuple[Block, str], str] = {}  # open ones, and what they are called here
        self._step: str | None = None
        self._steps = 0
        self._calls_of_step: list[str] = []

    def begin(self, message_id: str, base: UIMessage | None) -> Iterator[bytes]:
        """Begin an answer, or go on with an earlier message; yields the ends of what is still open."""
        yield from self.close()
        self.told = Told(Names(message_id)) if base is None else tell_whole(base)
        self.told.messages.clear()
        self._calls_of_step = []
        self.finish_reason = None

    def close(self) -> Iterator[bytes]:
        """Yield the ends of all that is open: texts, reasonings, calls whose input never came to its end, the step."""
        for block, block_id in list(self._blocks):
            yield from self._end_block(block, block_id)
        for call_id, call in self.told.calls.items():
            if not call.closed:
                call.closed = True
                yield frame(ToolCallEndEvent(tool_call_id=call_id))
                # Such a call was never made and is gone from the history: no client may carry it out.
                yield self._answer(call_id, call, INTERRUPTED, {"state": "output-error"})
        yield from self._end_step()

    # --- chunks

    def record(self, record: Record) -> bytes:
        """Return the frames of a chunk record, joined; empty if there are none."""
        kept = record.frames.get(FRAMES)
        if kept is not None:
            return kept
        body = record.body
        if not body.startswith((_TEXT_DELTA, _REASONING_DELTA)):
            return self.chunk(orjson.loads(body))
        told = self._delta(body)
        if told:
            record.frames[FRAMES] = told  # the same for all: names follow from the log alone
        return told

    def _delta(self, body: bytes) -> bytes:
        # `{type, id, delta}` and nothing more: twelve quotes leave no room for another key, and without a quote of its
        # own the delta ends where the chunk does. It is the same JSON in both protocols.
        if body.count(b'"') == _QUOTES:
            cut = body.index(_DELTA_KEY) + len(_DELTA_KEY)
            head = self._heads.get(body[:cut])
            return b"" if head is None else b"%b%b\n\n" % (head, one_line(body[cut:]))
        return self.chunk(orjson.loads(body))

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """Return the frames of a chunk, joined."""
        kind: str = chunk["type"]
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            return b"".join(handler(self, chunk))
        if kind.startswith("data-"):
            return b"".join(self._data(chunk))
        return b""

    # --- texts and reasonings

    def _start_block(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        block = cast("Block", chunk["type"].partition("-")[0])
        block_id: str = chunk["id"]
        yield from self._end_block(block, block_id)
        if block == "text":
            name = self.told.names.assistant()
            yield frame(TextMessageStartEvent(message_id=name, role="assistant"))
        else:
            name = self.told.names.reasoning()
            yield frame(ReasoningStartEvent(message_id=name))
            yield frame(ReasoningMessageStartEvent(message_id=name))
        self._blocks[block, block_id] = name
        self._heads[_start_of_delta(block, block_id)] = _DELTA_HEADS[block] % orjson.dumps(name)

    def _block_delta(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        block = cast("Block", chunk["type"].partition("-")[0])
        head = self._heads.get(_start_of_delta(block, chunk["id"]))
        if head is not None:
            yield b"%b%b}\n\n" % (head, one_line(orjson.dumps(chunk["delta"])))

    def _end_of_block(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield from self._end_block(cast("Block", chunk["type"].partition("-")[0]), chunk["id"])

    def _end_block(self, block: Block, block_id: str) -> Iterator[bytes]:
        name = self._blocks.pop((block, block_id), None)
        if name is None:
            return
        self._heads.pop(_start_of_delta(block, block_id))
        if block == "text":
            yield frame(TextMessageEndEvent(message_id=name))
        else:
            yield frame(ReasoningMessageEndEvent(message_id=name))
            yield frame(ReasoningEndEvent(message_id=name))

    # --- steps

    def _start_step(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        del chunk
        yield from self._end_step()
        self.told.names.focus = None
        self._calls_of_step = []
        self._steps += 1
        self._step = f"step-{self._steps}"
        yield frame(StepStartedEvent(step_name=self._step))

    def _finish_step(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        del chunk
        yield from self._end_step()

    def _end_step(self) -> Iterator[bytes]:
        if self._step is not None:
            yield frame(StepFinishedEvent(step_name=self._step))
            self._step = None

    def _reset_step(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        """What was said in this step is taken back; there is no event for that, so a client is told by name."""
        step, self._step = self._step, None
        yield from self.close()
        self._step = step
        for call_id in self._calls_of_step:
            call = self.told.calls[call_id]
            if not call.answered:
                yield self._answer(call_id, call, INTERRUPTED, {"state": "output-error"})
        self._calls_of_step = []
        self.told.names.focus = None
        yield from self._custom(chunk)

    # --- tool calls

    def _start_input(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield from self._open(chunk)

    def _open(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        call_id: str = chunk["toolCallId"]
        if call_id in self.told.calls:
            return  # it was told; a second beginning changes what is stored, and nothing here
        names = self.told.names
        owner = names.focus or names.assistant()
        elsewhere = chunk.get("providerExecuted") is True
        self.told.calls[call_id] = Call(chunk["toolName"], closed=False, elsewhere=elsewhere)
        self._calls_of_step.append(call_id)
        yield frame(ToolCallStartEvent(tool_call_id=call_id, tool_call_name=chunk["toolName"], parent_message_id=owner))

    def _input_delta(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        call = self.told.calls.get(chunk["toolCallId"])
        if call is not None and not call.closed:
            yield self._args(chunk["toolCallId"], call, chunk["inputTextDelta"])

    def _input_available(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield from self._open(chunk)
        call_id: str = chunk["toolCallId"]
        call = self.told.calls[call_id]
        if call.closed:
            return
        if not call.said:
            yield self._args(call_id, call, as_text_of_input(chunk.get("input")))
        call.elsewhere = call.elsewhere or chunk.get("providerExecuted") is True
        yield from self._close_call(call_id, call)

    def _input_error(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield from self._input_available(chunk)
        yield from self._output_error(chunk)

    def _args(self, call_id: str, call: Call, text: str) -> bytes:
        call.said = True
        return b"%b%b}\n\n" % (_CALL_HEAD % orjson.dumps(call_id), one_line(orjson.dumps(text)))

    def _close_call(self, call_id: str, call: Call) -> Iterator[bytes]:
        if not call.closed:
            call.closed = True
            yield frame(ToolCallEndEvent(tool_call_id=call_id))

    def _output(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        if chunk.get("preliminary") is True:
            yield from self._custom({**chunk, "type": "tool-output-preliminary"})
        else:
            yield from self._outcome_of_call(chunk, as_text(chunk.get("output")), None)

    def _output_error(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield from self._outcome_of_call(chunk, chunk["errorText"], {"state": "output-error"})

    def _output_denied(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield from self._outcome_of_call(chunk, DENIED, {"state": "output-denied"})

    def _outcome_of_call(self, chunk: dict[str, Any], content: str, metadata: dict[str, Any] | None) -> Iterator[bytes]:
        call_id: str = chunk["toolCallId"]
        call = self.told.calls.get(call_id)
        if call is None or call.answered:
            return
        yield from self._close_call(call_id, call)
        yield self._answer(call_id, call, content, metadata)

    def _answer(self, call_id: str, call: Call, content: str, metadata: dict[str, Any] | None) -> bytes:
        call.answered = True
        self.told.approvals = {
            approval_id: approval
            for approval_id, approval in self.told.approvals.items()
            if approval.tool_call_id != call_id
        }
        return frame(
            ToolCallResultEvent(
                message_id=result_id(call_id), tool_call_id=call_id, content=content, role="tool", metadata=metadata
            )
        )

    def _approval_request(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        if not chunk.get("isAutomatic"):
            self.told.approvals[chunk["approvalId"]] = Approval(chunk["toolCallId"], chunk.get("reason"))
        yield from ()

    def _approval_response(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        approval = self.told.approvals.pop(chunk["approvalId"], None)
        call = None if approval is None else self.told.calls.get(approval.tool_call_id)
        if call is not None:
            call.elsewhere = True
        yield from ()

    # --- all else

    def _data(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        if chunk["type"] == STATE:
            yield frame(StateSnapshotEvent(snapshot=chunk["data"]))
            return
        if chunk["type"] == INJECTED:
            self.told.names.focus = None
        yield from self._custom(chunk)

    def _custom(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        yield custom_frame(chunk, self.told.names.message_id)

    def _metadata(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        if chunk.get("messageMetadata") is not None:
            yield from self._custom({"type": "message-metadata", "metadata": chunk["messageMetadata"]})

    def _finish(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        self.finish_reason = chunk.get("finishReason", self.finish_reason)
        yield from self._metadata(chunk)

    _HANDLERS: ClassVar[dict[str, Callable[[AnswerEvents, dict[str, Any]], Iterator[bytes]]]] = {
        "text-start": _start_block,
        "text-delta": _block_delta,
        "text-end": _end_of_block,
        "reasoning-start": _start_block,
        "reasoning-delta": _block_delta,
        "reasoning-end": _end_of_block,
        "start-step": _start_step,
        "finish-step": _finish_step,
        "reset-step": _reset_step,
        "tool-input-start": _start_input,
        "tool-input-delta": _input_delta,
        "tool-input-available": _input_available,
        "tool-input-error": _input_error,
        "tool-output-available": _output,
        "tool-output-error": _output_error,
        "tool-output-denied": _output_denied,
        "tool-approval-request": _approval_request,
        "tool-approval-response": _approval_response,
        "start": _metadata,
        "message-metadata": _metadata,
        "finish": _finish,
        **dict.fromkeys(
            ("source-url", "source-document", "file", "reasoning-file", "custom", "steering-message"), _custom
        ),
    }


def custom_frame(chunk: dict[str, Any], message_id: str) -> bytes:
    """Return the event of what AG-UI has no word for: its type as the name, its fields and its answer as the value."""
    fields = {key: value for key, value in chunk.items() if key not in _HIDDEN}
    return frame(CustomEvent(name=chunk["type"], value={"messageId": message_id, **fields}))


def as_text_of_input(value: Any) -> str:
    """Return an input as the JSON text that a model would have written."""
    return orjson.dumps(value).decode()


def _start_of_delta(block: Block, block_id: str) -> bytes:
    return b'{"type":"%b-delta","id":%b,"delta":' % (block.encode(), orjson.dumps(block_id))
