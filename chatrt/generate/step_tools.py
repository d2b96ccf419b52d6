"""The tools of one step: its calls, their approvals, their results."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from chatrt import failpoints
from chatrt.generate.calls import ToolCall, ToolResult, parse_call, run_calls
from chatrt.generate.error_texts import OnError, client_text, provider_text
from chatrt.generate.mapping import tool_input_start_chunk, with_metadata, with_options
from chatrt.ids import Ids
from chatrt.models.base import ModelPart
from chatrt.tools import ApprovalDecision, Tool, ToolContext
from chatrt.ui import ModelMessage, UIMessageChunk


class StepTools:
    """Keeps the calls of a step and what came of them.

    Attributes:
        calls: By tool call id, in the order the model made them.
        results: What came back, in the order of completion.
        undecided: Calls whose approval has to be looked at; `decide` empties it.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        prompt: Sequence[ModelMessage],
        *,
        ids: Ids,
        on_error: OnError | None,
        content: list[Any],
    ) -> None:
        """Create it for one model call.

        Args:
            tools: What was offered.
            prompt: What the model was shown.
            ids: Where approval ids come from.
            on_error: See `client_text`.
            content: The content of the assistant row, shared with whoever records texts; calls go where they were made.
        """
        self._tools = tools
        self._prompt = prompt
        self._ids = ids
        self._on_error = on_error
        self._content = content
        self.calls: dict[str, ToolCall] = {}
        self.results: list[ToolResult] = []
        self.undecided: list[ToolCall] = []
        self._runnable: list[ToolCall] = []
        self._decisions: list[dict[str, Any]] = []
        self._answers: dict[str, dict[str, Any]] = {}  # what the model reads, by tool call id

    def take_input_start(self, part: ModelPart) -> UIMessageChunk:
        """Take a `tool-input-start` part."""
        tool = self._tools.get(part["toolName"])
        return tool_input_start_chunk(part, known=tool is not None, dynamic=tool is not None and tool.dynamic)

    def take_call(self, part: ModelPart) -> UIMessageChunk:
        """Take a `tool-call` part. An invalid call is answered with its error at once."""
        call = parse_call(part, self._tools)
        self.calls[call.tool_call_id] = call
        self._content.append(with_options(_call_part(call), part))
        chunk = call.to_chunk("tool-input-available", toolName=call.tool_name, input=call.input, **call.flags)
        if call.error is not None:
            chunk["type"] = "tool-input-error"
            chunk["errorText"] = client_text(call.error, self._on_error)
            if not call.provider_executed:
                self._add_result(ToolResult(call=call, error=call.error))
        elif call.tool is not None and not call.provider_executed:
            if call.tool.needs_approval is not False:
                self.undecided.append(call)
            elif call.tool.has_body:
                self._runnable.append(call)
        return chunk

    def take_result(self, part: ModelPart) -> UIMessageChunk:
        """Take the result of a tool that the provider ran; what it says of failures is data and passes unmasked."""
        value: Any = part.get("result")
        failed = bool(part.get("isError"))
        output = {"type": "error-json" if failed else "text" if isinstance(value, str) else "json", "value": value}
        content = {"type": "tool-result", "toolCallId": part["toolCallId"], "toolName": part["toolName"]}
        self._content.append(with_options({**content, "output": output}, part))
        chunk: UIMessageChunk = {"type": "tool-output-available", "toolCallId": part["toolCallId"]}
        if failed:
            chunk["type"] = "tool-output-error"
            chunk["errorText"] = provider_text(value)
        else:
            chunk["output"] = value
        chunk["providerExecuted"] = True
        if part.get("dynamic"):
            chunk["dynamic"] = True
        return with_metadata(chunk, part)

    async def decide(self) -> list[UIMessageChunk]:
        """Ask the approval policy of each undecided call and return what clients read of the decisions."""
        chunks: list[UIMessageChunk] = []
        for call in self.undecided:
            assert call.tool is not None
            context = ToolContext(tool_call_id=call.tool_call_id, tool_name=call.tool_name, messages=self._prompt)
            try:
                decision = await call.tool.approval(call.input, context)
            except Exception as error:  # a policy that fails lets nothing run
                result = ToolResult(call=call, error=error)
                self._add_result(result)
                chunks.append(result.to_chunk(self._on_error))
            else:
                chunks += self._decided(call, decision)
        self.undecided.clear()
        return chunks

    async def run(self) -> AsyncGenerator[UIMessageChunk]:
        """Run the calls that may run, all at once, and yield their outputs in the order of completion."""
        if not self._runnable:
            return
        async with aclosing(run_calls(self._runnable, self._prompt)) as results:
            async for result in results:
                if not result.preliminary:
                    self._add_result(result)
                yield result.to_chunk(self._on_error)

    @property
    def all_answered(self) -> bool:
        """Whether there were calls besides the provider's own, and each has its answer."""
        mine = {call.tool_call_id for call in self.calls.values() if not call.provider_executed}
        return bool(mine) and mine == self._answers.keys()

    def row(self) -> ModelMessage | None:
        """Return the tool row of the next prompt: decisions, then results in the order of the calls."""
        results = [self._answers[call_id] for call_id in self.calls if call_id in self._answers]
        return {"role": "tool", "content": [*self._decisions, *results]} if self._decisions or results else None

    def _decided(self, call: ToolCall, decision: ApprovalDecision) -> list[UIMessageChunk]:
        if decision.kind == "none":
            self._runnable.append(call)
            return []
        reason = {} if decision.reason is None else {"reason": decision.reason}
        approval_id = self._ids.new("approval")
        extra = reason if decision.kind == "ask" else {"isAutomatic": True}
        request = call.to_chunk("tool-approval-request", approvalId=approval_id, **extra)
        self._content.append({**request})
        if decision.kind == "ask":
            failpoints.reach("appr.requested")
            return [request]
        approved = decision.kind == "approve"
        response: UIMessageChunk = {
            "type": "tool-approval-response",
            "approvalId": approval_id,
            "approved": approved,
        }
        if decision.reason is not None:
            response["reason"] = decision.reason
        self._decisions.append({**response})
        if approved:
            self._runnable.append(call)
            return [request, response]
        self._answers[call.tool_call_id] = denied_part(call, decision.reason)
        return [request, response, call.to_chunk("tool-output-denied")]

    def _add_result(self, result: ToolResult) -> None:
        self.results.append(result)
        self._answers[result.call.tool_call_id] = result.to_part()


def denied_part(call: ToolCall, reason: str | None) -> dict[str, Any]:
    """Return the `tool-result` part a model reads of a call that was denied."""
    output = {"type": "execution-denied"} if reason is None else {"type": "execution-denied", "reason": reason}
    return {"type": "tool-result", "toolCallId": call.tool_call_id, "toolName": call.tool_name, "output": output}


def _call_part(call: ToolCall) -> dict[str, Any]:
    # Providers take nothing but JSON values as arguments, so the raw text of broken ones is not repeated to the model.
    content: dict[str, Any] = {
        "type": "tool-call",
        "toolCallId": call.tool_call_id,
        "toolName": call.tool_name,
        "input": call.input,
    }
    if call.error is not None and not isinstance(call.input, dict | list):
        content["input"] = {}
    if call.provider_executed:
        content["providerExecuted"] = True
    return content
