"""The reducer: from chunks to the message they build (`processUIMessageStream` of ai 7.0.173).

Deltas cost the same however long the message is: they are kept in a list and joined when somebody asks for the message,
and a half-streamed tool input is parsed only then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chatrt.errors import UIMessageStreamError
from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.messages import UIMessage, UIPart, is_tool_part
from chatrt.ui.metadata import merge_metadata
from chatrt.ui.tool_parts import ToolParts
from chatrt.ui.utf16 import join_surrogates


class _Block:
    """A text or reasoning part that is being streamed: the part and the deltas its text consists of."""

    __slots__ = ("part", "pieces")

    def __init__(self, part: UIPart) -> None:
        self.part = part
        self.pieces: list[str] = []

    def join(self) -> None:
        """Bring the part's text up to date."""
        if len(self.pieces) != 1:
            self.pieces = [join_surrogates("".join(self.pieces))]
        self.part["text"] = self.pieces[0]


class MessageReducer:
    """Builds one assistant message from chunks; chunks and messages given to it are never changed.

    Args:
        message: The message to continue, if it is an assistant message. Its streaming texts stay as they are: nothing
            can be appended to them. Half-streamed tool inputs of its last step can go on.
        message_id: The id of a new message, until a `start` chunk names another.
        resets: Whether a `start` with another id begins a new message (as `readUIMessageStream` and a resuming client
            do) rather than renaming this one.

    Attributes:
        message_id: The id as it is now.
        finish_reason: What the last `finish` chunk gave, or None.
    """

    def __init__(self, message: UIMessage | None = None, *, message_id: str = "", resets: bool = False) -> None:
        self._resets = resets
        self._start_over(message_id)
        if message is not None and message["role"] == "assistant":
            self.message_id = message["id"]
            self._metadata = message.get("metadata")
            self._parts.extend({**part} for part in message["parts"])
            self._tools.index(resume=True)
            self._index_data()

    def _start_over(self, message_id: str) -> None:
        self.message_id = message_id
        self.finish_reason: str | None = None
        self._metadata: Any = None
        self._parts: list[UIPart] = []
        self._texts: dict[str, _Block] = {}
        self._reasonings: dict[str, _Block] = {}
        self._data: dict[tuple[str, str | None], UIPart] = {}
        self._tools = ToolParts(self._parts)

    def apply(self, chunk: UIMessageChunk) -> bool:
        """Take one chunk.

        Returns:
            Whether the message is now different for those who watch it: where the AI SDK publishes a snapshot.

        Raises:
            UIMessageStreamError: If the chunk speaks of a part that is not there, or merges metadata onto plain values.
                The message stays as it was; the AI SDK ends the stream here.
        """
        kind = chunk["type"]
        if kind == "text-delta":  # nearly all chunks are
            block = self._texts.get(chunk["id"])
            if block is None:
                raise _missing_block("text", kind, chunk["id"])
            block.pieces.append(chunk["delta"])
            if "providerMetadata" in chunk:
                _take_provider_metadata(block.part, chunk)
            return True
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            return handler(self, chunk)
        return self._apply_data(chunk) if kind.startswith("data-") else False

    @property
    def message(self) -> UIMessage:
        """The message as it stands now; made anew at each access, see `snapshot`."""
        return self.snapshot()

    def snapshot(self) -> UIMessage:
        """Return the message as it stands now, untouched by what comes later.

        Costs what the message weighs in parts and in the texts that grew. Values inside of parts (inputs, outputs,
        data) are shared with the chunks they came from.
        """
        self._join_blocks()
        self._tools.settle_all()
        message: UIMessage = {"id": self.message_id, "role": "assistant", "parts": [{**part} for part in self._parts]}
        if self._metadata is not None:
            message["metadata"] = self._metadata
        return message

    @property
    def part_count(self) -> int:
        """How many parts the message has."""
        return len(self._parts)

    def open_texts(self) -> list[str]:
        """Return the ids of the texts that have started and not ended."""
        return list(self._texts)

    def open_reasonings(self) -> list[str]:
        """Return the ids of the reasonings that have started and not ended."""
        return list(self._reasonings)

    def open_tool_inputs(self) -> list[str]:
        """Return the ids of the tool calls whose input is being streamed."""
        return [
            part["toolCallId"] for part in self._parts if is_tool_part(part) and part.get("state") == "input-streaming"
        ]

    def tool_part(self, tool_call_id: str) -> UIPart | None:
        """Return a copy of the part that an output for this tool call would go to, or None."""
        part = self._tools.find(tool_call_id)
        return None if part is None else {**part}

    # --- text and reasoning ---

    def _text_start(self, chunk: UIMessageChunk) -> bool:
        part: UIPart = {"type": "text", "text": "", "state": "streaming"}
        return self._start_block(self._texts, part, chunk)

    def _reasoning_start(self, chunk: UIMessageChunk) -> bool:
        part: UIPart = {"type": "reasoning", "id": chunk["id"], "text": "", "state": "streaming"}
        return self._start_block(self._reasonings, part, chunk)

    def _start_block(self, blocks: dict[str, _Block], part: UIPart, chunk: UIMessageChunk) -> bool:
        if "providerMetadata" in chunk:
            part["providerMetadata"] = chunk["providerMetadata"]
        replaced = blocks.get(chunk["id"])
        if replaced is not None:
            replaced.join()
        blocks[chunk["id"]] = _Block(part)
        self._parts.append(part)
        return True

    def _reasoning_delta(self, chunk: UIMessageChunk) -> bool:
        block = self._reasonings.get(chunk["id"])
        if block is None:
            raise _missing_block("reasoning", chunk["type"], chunk["id"])
        block.pieces.append(chunk["delta"])
        if "providerMetadata" in chunk:
            _take_provider_metadata(block.part, chunk)
        return True

    def _text_end(self, chunk: UIMessageChunk) -> bool:
        block = self._texts.pop(chunk["id"], None)
        if block is None:
            raise _missing_block("text", chunk["type"], chunk["id"])
        if chunk.get("citations") is not None:
            block.part["citations"] = chunk["citations"]
        return _end_block(block, chunk)

    def _reasoning_end(self, chunk: UIMessageChunk) -> bool:
        block = self._reasonings.pop(chunk["id"], None)
        if block is None:
            raise _missing_block("reasoning", chunk["type"], chunk["id"])
        return _end_block(block, chunk)

    def _join_blocks(self) -> None:
        for block in (*self._texts.values(), *self._reasonings.values()):
            block.join()

    # --- parts that come in one piece ---

    def _add_file(self, chunk: UIMessageChunk) -> bool:
        part: UIPart = {"type": chunk["type"], "mediaType": chunk["mediaType"], "url": chunk["url"]}
        _take_provider_metadata(part, chunk)
        self._parts.append(part)
        return True

    def _add_whole(self, chunk: UIMessageChunk) -> bool:
        part: UIPart = {"type": chunk["type"]}
        for key in _WHOLE_PARTS[chunk["type"]]:
            if key in chunk:
                part[key] = chunk[key]
        self._parts.append(part)
        return True

    def _apply_data(self, chunk: UIMessageChunk) -> bool:
        if chunk.get("transient"):
            return False
        key = (chunk["type"], chunk.get("id"))
        part = self._data.get(key)
        if part is not None:
            part["data"] = chunk["data"]
            return True
        added: UIPart = {**chunk}  # unknown keys stay on the part, as upstream
        self._parts.append(added)
        if key[1] is not None:
            self._data[key] = added
        return True

    def _index_data(self) -> None:
        self._data.clear()
        for part in self._parts:
            if part["type"].startswith("data-") and part.get("id") is not None:
                self._data.setdefault((part["type"], part["id"]), part)

    # --- steps, the message itself ---

    def _start_step(self, chunk: UIMessageChunk) -> bool:
        del chunk
        self._parts.append({"type": "step-start"})
        self._tools.start_step()
        return False

    def _reset_step(self, chunk: UIMessageChunk) -> bool:
        del chunk
        self._join_blocks()
        self._texts.clear()
        self._reasonings.clear()
        dropped = self._tools.reset_step()
        if dropped:
            self._index_data()
        return dropped

    def _start(self, chunk: UIMessageChunk) -> bool:
        message_id = chunk.get("messageId")
        if message_id is not None:
            if self._resets and message_id != self.message_id:
                self._start_over(message_id)
            self.message_id = message_id
        changed = self._merge_metadata(chunk)
        return message_id is not None or changed

    def _finish(self, chunk: UIMessageChunk) -> bool:
        if chunk.get("finishReason") is not None:
            self.finish_reason = chunk["finishReason"]
        return self._merge_metadata(chunk)

    def _merge_metadata(self, chunk: UIMessageChunk) -> bool:
        incoming = chunk.get("messageMetadata")
        try:
            self._metadata = merge_metadata(self._metadata, incoming)
        except TypeError as error:
            raise UIMessageStreamError(chunk["type"], self.message_id, str(error)) from None
        return incoming is not None

    # --- tool calls: the rules are in tool_parts.py ---

    def _tool(self, chunk: UIMessageChunk) -> bool:
        self._tools.apply(chunk)
        return True

    def _tool_input_delta(self, chunk: UIMessageChunk) -> bool:
        self._tools.input_delta(chunk["toolCallId"], chunk["inputTextDelta"])
        return True

    _HANDLERS: ClassVar[dict[str, Callable[[MessageReducer, UIMessageChunk], bool]]] = {
        "text-start": _text_start,
        "text-end": _text_end,
        "reasoning-start": _reasoning_start,
        "reasoning-delta": _reasoning_delta,
        "reasoning-end": _reasoning_end,
        "file": _add_file,
        "reasoning-file": _add_file,
        "source-url": _add_whole,
        "source-document": _add_whole,
        "custom": _add_whole,
        "steering-message": _add_whole,
        "start-step": _start_step,
        "reset-step": _reset_step,
        "start": _start,
        "finish": _finish,
        "message-metadata": _merge_metadata,
        "tool-input-delta": _tool_input_delta,
        **dict.fromkeys(
            (
                "tool-input-start",
                "tool-input-available",
                "tool-input-error",
                "tool-approval-request",
                "tool-approval-response",
                "tool-output-available",
                "tool-output-error",
                "tool-output-denied",
            ),
            _tool,
        ),
    }


_WHOLE_PARTS = {
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}


def _take_provider_metadata(part: UIPart, chunk: UIMessageChunk) -> None:
    given = chunk.get("providerMetadata")
    if given is not None:
        part["providerMetadata"] = given


def _end_block(block: _Block, chunk: UIMessageChunk) -> bool:
    block.join()
    block.part["state"] = "done"
    _take_provider_metadata(block.part, chunk)
    return True


def _missing_block(what: str, kind: str, block_id: str) -> UIMessageStreamError:
    return UIMessageStreamError(
        kind,
        block_id,
        f'Received {kind} for missing {what} part with ID "{block_id}". '
        f'Ensure a "{what}-start" chunk is sent before any "{kind}" chunks.',
    )
