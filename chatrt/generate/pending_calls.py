"""Pending calls: the tool round of a step whose model call was made elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from chatrt.generate.step_tools import StepTools
from chatrt.ids import Ids
from chatrt.models.base import ModelPart
from chatrt.tools import Tool
from chatrt.ui import ModelMessage, UIMessageChunk, UIPart, get_tool_name, is_tool_part


class PendingCalls:
    """The calls of a message that were made and not answered yet, as if the step went on here.

    Each is treated as in any step: one that needs an approval asks for it, one of the client's is left open, one that
    no tool fits fails, and the others run at the same time.
    """

    def __init__(
        self, parts: Sequence[UIPart], tools: Mapping[str, Tool], prompt: Sequence[ModelMessage], *, ids: Ids
    ) -> None:
        """Find the calls.

        Args:
            parts: Of the message.
            tools: What may be called.
            prompt: What the model was shown.
            ids: Where approval ids come from.
        """
        self._parts = [part for part in parts if is_tool_part(part) and _is_pending(part)]
        self._tools = StepTools(tools, prompt, ids=ids, on_error=None, content=[])

    async def chunks(self) -> AsyncGenerator[UIMessageChunk]:
        """Yield what becomes of the calls: failures, decisions, then outputs in the order of completion."""
        for part in self._parts:
            chunk = self._tools.take_call(_to_model_part(part))
            if chunk["type"] == "tool-input-error":
                yield {"type": "tool-output-error", "toolCallId": part["toolCallId"], "errorText": chunk["errorText"]}
        for chunk in await self._tools.decide():
            yield chunk
        async with aclosing(self._tools.run()) as chunks:
            async for chunk in chunks:
                yield chunk

    @property
    def all_answered(self) -> bool:
        """Whether the model can be called again: no call waits for the client or a person."""
        return not self._parts or self._tools.all_answered


def _is_pending(part: UIPart) -> bool:
    if part.get("providerExecuted"):
        return False
    return part.get("state") == "input-available" or part.get("preliminary") is True


def _to_model_part(part: UIPart) -> ModelPart:
    call: ModelPart = {
        "type": "tool-call",
        "toolCallId": part["toolCallId"],
        "toolName": get_tool_name(part),
        "input": json.dumps(part.get("input"), ensure_ascii=False),
    }
    if part["type"] == "dynamic-tool":
        call["dynamic"] = True
    if "callProviderMetadata" in part:
        call["providerMetadata"] = part["callProviderMetadata"]
    return call
