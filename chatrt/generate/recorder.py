"""The recorder of a step: takes the model's parts, gives the message's chunks, keeps what the next prompt needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from chatrt.errors import ModelResponseError
from chatrt.generate.error_texts import OnError, client_text, to_exception
from chatrt.generate.mapping import file_chunk, file_content, source_chunk, with_metadata, with_options
from chatrt.generate.part_ids import PartIds
from chatrt.generate.step import Step
from chatrt.generate.step_tools import StepTools
from chatrt.ids import Ids
from chatrt.models.base import ModelPart
from chatrt.models.usage import Usage
from chatrt.tools import Tool
from chatrt.ui import ModelMessage, UIMessageChunk

_FINISH_REASONS = frozenset({"stop", "length", "content-filter", "tool-calls", "error", "other"})
_TOOLS_MAY_RUN = frozenset({"stop", "tool-calls"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """What a step needs to know of the answer it belongs to."""

    ids: Ids
    part_ids: PartIds
    on_error: OnError | None
    send_reasoning: bool
    send_sources: bool


@dataclass(slots=True)
class Block:
    """A text or a reasoning while it streams; `id` is unique in the whole answer."""

    kind: str
    id: str
    metadata: Mapping[str, Any] | None
    deltas: list[str] = field(default_factory=list[str])

    def to_part(self) -> dict[str, Any]:
        """Return what the next prompt has of it."""
        part: dict[str, Any] = {"type": self.kind, "text": "".join(self.deltas)}
        return part if self.metadata is None else {**part, "providerOptions": self.metadata}


class StepRecorder:
    """Records one step.

    Attributes:
        texts: The open text blocks by the model's own id; who streams plain deltas appends them here without `take`.
        tools: The step's calls.
        error: The last error the provider reported inside its stream.
    """

    def __init__(
        self,
        *,
        number: int,
        model: str,
        prompt: Sequence[ModelMessage],
        tools: Mapping[str, Tool],
        options: StepOptions,
    ) -> None:
        self._number = number
        self._model = model
        self._options = options
        self._content: list[Block | dict[str, Any]] = []
        self.texts: dict[str, Block] = {}
        self._reasonings: dict[str, Block] = {}
        self.tools = StepTools(tools, prompt, ids=options.ids, on_error=options.on_error, content=self._content)
        self.error: Exception | None = None
        self._finish_reason = "other"
        self._raw_finish_reason: str | None = None
        self._usage = Usage()
        self._response: dict[str, Any] = {}
        self._started = self._ended = False

    def take(self, part: ModelPart) -> list[UIMessageChunk]:
        """Take the next part and return the chunks it becomes, `start-step` before the first.

        Parts of a type that is not known become nothing.

        Raises:
            ModelResponseError: If a delta or an end belongs to no open block.
        """
        chunks = self._to_chunks(part)
        if not self._started:
            self._started = True
            return [{"type": "start-step"}, *chunks]
        return chunks

    def check_complete(self) -> None:
        """Check, when the model's stream is over, that it was an answer at all.

        Raises:
            ModelResponseError: If it had neither content nor an end.
        """
        if not self._content and not self._ended:
            raise ModelResponseError("the model's stream ended without content and without a finish part")

    async def run_tools(self) -> AsyncGenerator[UIMessageChunk]:
        """Run the step's tools, see `StepTools.run`.

        Nothing runs after a finish reason that says the answer was cut: the input may not be what the model meant.
        """
        if self._finish_reason in _TOOLS_MAY_RUN and self.error is None:
            async with aclosing(self.tools.run()) as chunks:
                async for chunk in chunks:
                    yield chunk

    @property
    def goes_on(self) -> bool:
        """Whether the model has to be called again, to be told what its tools gave."""
        return self.tools.all_answered and self.error is None

    def finish(self) -> Step:
        """Return what was recorded."""
        return Step(
            number=self._number,
            model=self._model,
            text=self._joined("text"),
            reasoning=self._joined("reasoning"),
            tool_calls=tuple(self.tools.calls.values()),
            tool_results=tuple(self.tools.results),
            finish_reason=self._finish_reason,
            raw_finish_reason=self._raw_finish_reason,
            usage=self._usage,
            messages=self._messages(),
            response=self._response,
        )

    def _joined(self, kind: str) -> str:
        blocks = (item for item in self._content if isinstance(item, Block) and item.kind == kind)
        return "".join("".join(block.deltas) for block in blocks)

    def _messages(self) -> tuple[ModelMessage, ...]:
        content = [item.to_part() if isinstance(item, Block) else item for item in self._content]
        kept = [part for part in content if part["type"] != "text" or part["text"] or "providerOptions" in part]
        assistant: list[ModelMessage] = [{"role": "assistant", "content": kept}] if kept else []
        row = self.tools.row()
        return (*assistant, row) if row else tuple(assistant)

    # --- from parts to chunks ---------------------------------------------------------------------------------------

    def _to_chunks(self, part: ModelPart) -> list[UIMessageChunk]:
        match part["type"]:
            case "text-delta" | "reasoning-delta":
                return self._take_delta(part)
            case "tool-input-delta":
                return [{"type": "tool-input-delta", "toolCallId": part["id"], "inputTextDelta": part["delta"]}]
            case "text-start" | "reasoning-start":
                return self._take_start(part)
            case "text-end" | "reasoning-end":
                return self._take_end(part)
            case "tool-input-start":
                return [self.tools.take_input_start(part)]
            case "tool-call":
                return [self.tools.take_call(part)]
            case "tool-result":
                return [self.tools.take_result(part)]
            case "source":
                return [source_chunk(part)] if self._options.send_sources else []
            case "file" | "reasoning-file":
                return self._take_file(part)
            case "custom":
                self._content.append(with_options({"type": "custom", "kind": part["kind"]}, part))
                return [with_metadata({"type": "custom", "kind": part["kind"]}, part)]
            case "error":
                return self._take_error(part)
            case "finish":
                self._take_finish(part)
            case "response-metadata":
                self._response |= {key: part[key] for key in ("id", "modelId") if part.get(key) is not None}
            case _:
                pass
        return []

    def _take_start(self, part: ModelPart) -> list[UIMessageChunk]:
        kind = part["type"].removesuffix("-start")
        block = Block(kind, self._options.part_ids.reserve(kind, part["id"]), part.get("providerMetadata"))
        self._open(kind)[part["id"]] = block
        self._content.append(block)
        return self._shown(kind, {"type": part["type"], "id": block.id}, part)

    def _take_delta(self, part: ModelPart) -> list[UIMessageChunk]:
        kind = part["type"].removesuffix("-delta")
        block = self._block(kind, part["id"])
        delta: str = part["delta"]
        metadata = part.get("providerMetadata")
        block.deltas.append(delta)
        block.metadata = metadata or block.metadata
        if kind == "text" and not delta and metadata is None:
            return []
        return self._shown(kind, {"type": part["type"], "id": block.id, "delta": delta}, part)

    def _take_end(self, part: ModelPart) -> list[UIMessageChunk]:
        kind = part["type"].removesuffix("-end")
        block = self._block(kind, part["id"])
        block.metadata = part.get("providerMetadata") or block.metadata
        del self._open(kind)[part["id"]]
        chunk: UIMessageChunk = {"type": part["type"], "id": block.id}
        if part.get("citations") is not None:
            chunk["citations"] = part["citations"]
        return self._shown(kind, chunk, part)

    def _take_file(self, part: ModelPart) -> list[UIMessageChunk]:
        self._content.append(file_content(part))
        hidden = part["type"] == "reasoning-file" and not self._options.send_reasoning
        return [] if hidden else [file_chunk(part)]

    def _take_error(self, part: ModelPart) -> list[UIMessageChunk]:
        self.error = to_exception(part["error"])
        self._finish_reason, self._ended = "error", True
        return [{"type": "error", "errorText": client_text(self.error, self._options.on_error)}]

    def _take_finish(self, part: ModelPart) -> None:
        reason = part["finishReason"]["unified"]
        self._finish_reason = reason if reason in _FINISH_REASONS else "other"
        self._raw_finish_reason = part["finishReason"].get("raw")
        self._usage = Usage.from_finish(part.get("usage"))
        self._ended = True

    def _open(self, kind: str) -> dict[str, Block]:
        return self.texts if kind == "text" else self._reasonings

    def _block(self, kind: str, block_id: str) -> Block:
        try:
            return self._open(kind)[block_id]
        except KeyError:
            raise ModelResponseError(f"{kind} part {block_id} not found") from None

    def _shown(self, kind: str, chunk: UIMessageChunk, part: ModelPart) -> list[UIMessageChunk]:
        return [] if kind == "reasoning" and not self._options.send_reasoning else [with_metadata(chunk, part)]
