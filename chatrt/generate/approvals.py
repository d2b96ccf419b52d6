"""The approval round: what people decided since the last step, carried out before the next one.

Only the last row of the messages counts: when something was said after the answers, they are history. Each approval is
checked again: it answers a request in the messages, the input still fits the tool, the policy does not deny it by now,
and the call has no result yet. The first answer for a call counts (ai 7.0.173, `collectToolApprovals`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from chatrt import failpoints
from chatrt.errors import InvalidMessageError, NoSuchToolError
from chatrt.generate.calls import ToolCall, ToolResult, run_calls
from chatrt.generate.error_texts import OnError
from chatrt.generate.step_tools import denied_part
from chatrt.tools import Tool, ToolContext
from chatrt.ui import ModelMessage, UIMessageChunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A person's decision about a call; `answered` if the model's row for a denial is there already."""

    call: ToolCall
    approved: bool
    reason: str | None
    answered: bool


class ApprovalRound:
    """Carries out the decisions in the last row of the messages."""

    def __init__(
        self, messages: Sequence[ModelMessage], tools: Mapping[str, Tool], *, on_error: OnError | None
    ) -> None:
        """Read the decisions.

        Raises:
            InvalidMessageError: If one answers a request, or a request belongs to a call, that is not in the messages.
        """
        self._messages = messages
        self._on_error = on_error
        self._results: list[dict[str, Any]] = []
        self._denials: list[dict[str, Any]] = []
        self._answers = collect_answers(messages, tools)

    async def chunks(self) -> AsyncGenerator[UIMessageChunk]:
        """Yield denials, then calls that became invalid, then the outputs of the approved in order of completion."""
        approved: list[ToolCall] = []
        failed: list[ToolResult] = []
        denied = [answer for answer in self._answers if not answer.approved]
        for answer in self._answers:
            if not answer.approved:
                continue
            match await self._check(answer):
                case Answer() as denial:
                    denied.append(denial)
                case ToolResult() as failure:
                    failed.append(failure)
                case None:
                    approved.append(answer.call)
        for answer in denied:
            if not answer.answered:
                self._denials.append(denied_part(answer.call, answer.reason))
            yield {"type": "tool-output-denied", "toolCallId": answer.call.tool_call_id}
        for result in failed:
            yield result.to_chunk(self._on_error)
        if approved:
            failpoints.reach("appr.resume")
        async with aclosing(run_calls(approved, self._messages)) as results:
            async for result in results:
                if not result.preliminary:
                    self._results.append(result.to_part())
                yield result.to_chunk(self._on_error)
        self._results += [result.to_part() for result in failed]

    def row(self) -> ModelMessage | None:
        """Return the tool row that tells the model what came of it, once `chunks` is through."""
        content = [*self._results, *self._denials]
        return {"role": "tool", "content": content} if content else None

    async def _check(self, answer: Answer) -> Answer | ToolResult | None:
        """Return a denial or a failed result for an approval that does not hold any more, else None."""
        call = answer.call
        if call.tool is None:
            return ToolResult(call=call, error=call.error)
        context = ToolContext(tool_call_id=call.tool_call_id, tool_name=call.tool_name, messages=self._messages)
        try:
            call.tool.validate_input(call.input)
            decision = await call.tool.approval(call.input, context)
        except Exception as error:
            return ToolResult(call=call, error=error)
        if decision.kind == "deny":
            return Answer(call=call, approved=False, reason=decision.reason or answer.reason, answered=False)
        return None


def collect_answers(messages: Sequence[ModelMessage], tools: Mapping[str, Tool]) -> list[Answer]:
    """Return the decisions to carry out, in the order in which the model made the calls.

    Raises:
        InvalidMessageError: If a response or a request points at nothing.
    """
    if not messages or messages[-1]["role"] != "tool":
        return []
    last: list[dict[str, Any]] = messages[-1]["content"]
    responses = [part for part in last if part["type"] == "tool-approval-response"]
    if not responses:
        return []
    results = {part["toolCallId"]: part["output"]["type"] for part in last if part["type"] == "tool-result"}
    calls, requests = _asked(messages)
    answers: dict[str, Answer] = {}
    for response in responses:
        call_id = requests.get(response["approvalId"])
        if call_id is None:
            raise InvalidMessageError(f"no approval request {response['approvalId']!r} for the response to it")
        part = calls.get(call_id)
        if part is None:
            raise InvalidMessageError(f"no tool call {call_id!r} for its approval request")
        approved = bool(response["approved"])
        settled = results.get(call_id)
        done = settled is not None and (approved or settled != "execution-denied")
        if done or call_id in answers or part.get("providerExecuted"):
            continue
        answers[call_id] = Answer(
            call=_to_call(part, tools), approved=approved, reason=response.get("reason"), answered=settled is not None
        )
    return [answers[call_id] for call_id in calls if call_id in answers]


def _asked(messages: Sequence[ModelMessage]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the tool calls by id, and the id of the call that each approval request is about."""
    calls: dict[str, dict[str, Any]] = {}
    requests: dict[str, str] = {}
    for message in messages:
        if message["role"] != "assistant" or isinstance(message["content"], str):
            continue
        content: list[dict[str, Any]] = message["content"]
        for part in content:
            if part["type"] == "tool-call":
                calls[part["toolCallId"]] = part
            elif part["type"] == "tool-approval-request":
                requests[part["approvalId"]] = part["toolCallId"]
    return calls, requests


def _to_call(part: dict[str, Any], tools: Mapping[str, Tool]) -> ToolCall:
    name: str = part["toolName"]
    tool = tools.get(name)
    return ToolCall(
        tool_call_id=part["toolCallId"],
        tool_name=name,
        input=part["input"],
        tool=tool,
        error=NoSuchToolError(name, list(tools)) if tool is None else None,
    )
