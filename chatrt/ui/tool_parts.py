"""The tool parts of a message under construction: where chunks about tool calls go, and what they change there.

A tool call is looked for in the current step first (the parts after the last `step-start`), for outputs then in the
whole message, newest first. Indexes stand in for these searches, so that a long message costs no more than a short one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chatrt.errors import UIMessageStreamError
from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.messages import UIPart, current_step_start, get_tool_name, is_tool_part
from chatrt.ui.partial_json import parse_partial_json
from chatrt.ui.utf16 import join_surrogates

_STATE_KEYS = ("input", "output", "errorText", "rawInput", "inputEncoding", "preliminary")
"""What a change of state sets anew: given or gone."""


class _PartialInput:
    """The input of one tool call as far as it was streamed.

    Attributes:
        part: The part that shows this input, while nothing but deltas has touched it since the last one; else None.
    """

    __slots__ = ("dynamic", "encoding", "part", "pieces", "sticky", "tool_name")

    def __init__(
        self, text: str, encoding: str | None, tool_name: str, sticky: dict[str, Any], *, dynamic: bool
    ) -> None:
        self.pieces = [text]
        self.encoding = encoding
        self.tool_name = tool_name
        self.sticky = sticky
        self.dynamic = dynamic
        self.part: UIPart | None = None

    def fields(self) -> dict[str, Any]:
        """Return what a part shows of this input now."""
        if len(self.pieces) != 1:
            self.pieces = [join_surrogates("".join(self.pieces))]
        text = self.pieces[0]
        fields: dict[str, Any] = {"rawInput": text}
        if self.encoding == "text":
            fields["input"] = text
        else:
            value, state = parse_partial_json(text)
            if state != "failed-parse":
                fields["input"] = value
        return fields

    def settle(self) -> None:
        """Bring the part up to date."""
        if self.part is not None:
            fields = self.fields()
            self.part["rawInput"] = fields["rawInput"]
            if "input" in fields:
                self.part["input"] = fields["input"]
            else:
                self.part.pop("input", None)


class ToolParts:
    """The tool parts among `parts`, a list it shares with its owner and appends to."""

    def __init__(self, parts: list[UIPart]) -> None:
        self._parts = parts
        self._partial: dict[str, _PartialInput] = {}
        self._static: dict[str, UIPart] = {}  # of the current step
        self._dynamic: dict[str, UIPart] = {}  # of the current step
        self._in_step: dict[str, UIPart] = {}  # the first of either kind in the current step
        self._newest: dict[str, UIPart] = {}  # the last in the whole message

    def index(self, *, resume: bool = False) -> None:
        """Find the tool parts among `parts` anew; with `resume`, half-streamed inputs of the last step can go on."""
        step_start = current_step_start(self._parts)
        self._forget_step()
        self._newest.clear()
        for position, part in enumerate(self._parts):
            if is_tool_part(part):
                self._note(part, in_step=position >= step_start)
                if resume and position >= step_start and part.get("state") == "input-streaming":
                    self._resume_input(part)

    def start_step(self) -> None:
        """Begin a step: what a delta does from here on happens in new parts."""
        self.settle_all()
        for partial in self._partial.values():
            partial.part = None
        self._forget_step()

    def reset_step(self) -> bool:
        """Drop all parts of the current step; return whether there were any."""
        self.settle_all()
        self._partial.clear()
        step_start = current_step_start(self._parts)
        dropped = step_start < len(self._parts)
        if dropped:
            del self._parts[step_start:]
            self.index()
        return dropped

    def settle_all(self) -> None:
        """Bring every part that shows a half-streamed input up to date."""
        for partial in self._partial.values():
            partial.settle()

    def find(self, tool_call_id: str) -> UIPart | None:
        """Return the part an output for this tool call goes to, up to date."""
        part = self._in_step.get(tool_call_id) or self._newest.get(tool_call_id)
        if part is not None:
            self._settle(tool_call_id)
        return part

    def apply(self, chunk: UIMessageChunk) -> None:
        """Take a chunk about a tool call.

        Raises:
            UIMessageStreamError: If there is no such tool call or approval.
        """
        self._CHUNKS[chunk["type"]](self, chunk)

    def input_delta(self, tool_call_id: str, delta: str) -> None:
        """Take a piece of an input.

        Raises:
            UIMessageStreamError: If the input was not started.
        """
        partial = self._partial.get(tool_call_id)
        if partial is None:
            raise UIMessageStreamError(
                "tool-input-delta",
                tool_call_id,
                f'Received tool-input-delta for missing tool call with ID "{tool_call_id}". '
                'Ensure a "tool-input-start" chunk is sent before any "tool-input-delta" chunks.',
            )
        partial.pieces.append(delta)
        if partial.part is not None:
            return
        part, is_new = self._get_or_add(tool_call_id, dynamic=partial.dynamic)
        fields = partial.fields()
        if partial.encoding is not None:
            fields["inputEncoding"] = partial.encoding
        if is_new and partial.dynamic:
            del fields["rawInput"]  # as upstream: a dynamic part has it from the second delta on
        else:
            partial.part = part
        _change(part, "input-streaming", partial.tool_name, fields, partial.sticky)

    # --- one method for each type of chunk ---

    def _input_start(self, chunk: UIMessageChunk) -> None:
        tool_call_id, dynamic = chunk["toolCallId"], bool(chunk.get("dynamic"))
        encoding = chunk.get("inputEncoding")
        sticky = {key: chunk[key] for key in ("title", "toolMetadata") if key in chunk}
        self._release(tool_call_id)
        self._partial[tool_call_id] = _PartialInput("", encoding, chunk["toolName"], sticky, dynamic=dynamic)
        part, _ = self._get_or_add(tool_call_id, dynamic=dynamic)
        fields = {} if encoding is None else {"inputEncoding": encoding}
        _change(part, "input-streaming", chunk["toolName"], fields, chunk)

    def _input_available(self, chunk: UIMessageChunk) -> None:
        self._release(chunk["toolCallId"])
        part, _ = self._get_or_add(chunk["toolCallId"], dynamic=bool(chunk.get("dynamic")))
        _change(part, "input-available", chunk["toolName"], _given(chunk, "input"), chunk)

    def _input_error(self, chunk: UIMessageChunk) -> None:
        tool_call_id = chunk["toolCallId"]
        present = self._in_step.get(tool_call_id)
        dynamic = bool(chunk.get("dynamic")) if present is None else present["type"] == "dynamic-tool"
        self._release(tool_call_id)
        part, _ = self._get_or_add(tool_call_id, dynamic=dynamic)
        without_title: UIMessageChunk = {**chunk}
        without_title.pop("title", None)
        _change(part, "output-error", chunk["toolName"], _given(chunk, "input", "errorText"), without_title)

    def _output_available(self, chunk: UIMessageChunk) -> None:
        part = self._get(chunk["toolCallId"])
        fields = {**_given(chunk, "output", "preliminary"), **_given(part, "input")}
        _change(part, "output-available", get_tool_name(part), fields, _of_output(chunk))

    def _output_error(self, chunk: UIMessageChunk) -> None:
        part = self._get(chunk["toolCallId"])
        kept = ("input",) if part["type"] == "dynamic-tool" else ("input", "rawInput")
        fields = {**_given(chunk, "errorText"), **_given(part, *kept)}
        _change(part, "output-error", get_tool_name(part), fields, _of_output(chunk))

    def _output_denied(self, chunk: UIMessageChunk) -> None:
        self._get(chunk["toolCallId"])["state"] = "output-denied"

    def _approval_request(self, chunk: UIMessageChunk) -> None:
        part = self._get(chunk["toolCallId"])
        approval: dict[str, Any] = {"id": chunk["approvalId"]}
        for key, name in (
            ("approvalDescriptor", "descriptor"),
            ("reason", "requestReason"),
            ("signature", "signature"),
        ):
            if chunk.get(key) is not None:
                approval[name] = chunk[key]
        if "inputSchemaInput" in chunk:
            approval["inputSchemaInput"] = chunk["inputSchemaInput"]
        if chunk.get("isAutomatic") is True:
            approval["isAutomatic"] = True
        part["state"] = "approval-requested"
        part["approval"] = approval

    def _approval_response(self, chunk: UIMessageChunk) -> None:
        part = self._get_by_approval(chunk["approvalId"])
        approval = {**part["approval"], "approved": chunk["approved"]}
        if chunk.get("reason") is not None:
            approval["reason"] = chunk["reason"]
        part["state"] = "approval-responded"
        part["approval"] = approval
        if chunk.get("providerExecuted") is not None:
            part["providerExecuted"] = chunk["providerExecuted"]
        if chunk.get("providerMetadata") is not None:
            part["callProviderMetadata"] = chunk["providerMetadata"]

    _CHUNKS: ClassVar[dict[str, Callable[[ToolParts, UIMessageChunk], None]]] = {
        "tool-input-start": _input_start,
        "tool-input-available": _input_available,
        "tool-input-error": _input_error,
        "tool-output-available": _output_available,
        "tool-output-error": _output_error,
        "tool-output-denied": _output_denied,
        "tool-approval-request": _approval_request,
        "tool-approval-response": _approval_response,
    }

    # --- finding ---

    def _get(self, tool_call_id: str) -> UIPart:
        part = self.find(tool_call_id)
        if part is None:
            text = f'No tool invocation found for tool call ID "{tool_call_id}".'
            raise UIMessageStreamError("tool-invocation", tool_call_id, text)
        self._release(tool_call_id)
        return part

    def _get_by_approval(self, approval_id: str) -> UIPart:
        for part in self._parts:
            approval = part.get("approval") if is_tool_part(part) else None
            if approval is not None and approval["id"] == approval_id:
                self._release(part["toolCallId"])
                return part
        text = f'No tool invocation found for approval ID "{approval_id}".'
        raise UIMessageStreamError("tool-approval-response", approval_id, text)

    def _get_or_add(self, tool_call_id: str, *, dynamic: bool) -> tuple[UIPart, bool]:
        present = (self._dynamic if dynamic else self._static).get(tool_call_id)
        if present is not None:
            return present, False
        part: UIPart = {"type": "dynamic-tool" if dynamic else "tool-", "toolCallId": tool_call_id}
        self._parts.append(part)
        self._note(part, in_step=True)
        return part, True

    def _note(self, part: UIPart, *, in_step: bool) -> None:
        tool_call_id = part["toolCallId"]
        self._newest[tool_call_id] = part
        if in_step:
            of_kind = self._dynamic if part["type"] == "dynamic-tool" else self._static
            of_kind.setdefault(tool_call_id, part)
            self._in_step.setdefault(tool_call_id, part)

    def _forget_step(self) -> None:
        self._static.clear()
        self._dynamic.clear()
        self._in_step.clear()

    def _settle(self, tool_call_id: str) -> None:
        partial = self._partial.get(tool_call_id)
        if partial is not None:
            partial.settle()

    def _release(self, tool_call_id: str) -> None:
        """Let the part of a half-streamed input go: something other than a delta is about to change it."""
        partial = self._partial.get(tool_call_id)
        if partial is not None:
            partial.settle()
            partial.part = None

    def _resume_input(self, part: UIPart) -> None:
        sticky = _given(part, "title", "toolMetadata")
        self._partial[part["toolCallId"]] = _PartialInput(
            part.get("rawInput") or "",
            part.get("inputEncoding"),
            get_tool_name(part),
            sticky,
            dynamic=part["type"] == "dynamic-tool",
        )


def _given(source: UIMessageChunk | UIPart, *keys: str) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source}


def _of_output(chunk: UIMessageChunk) -> dict[str, Any]:
    """Return what an output chunk says about the call besides the output: no title, and null is not given."""
    kept = ("toolMetadata", "providerExecuted", "providerMetadata")
    return {key: value for key, value in _given(chunk, *kept).items() if value is not None}


def _change(part: UIPart, state: str, tool_name: str, fields: dict[str, Any], said: Any) -> None:
    """Put a tool part into a state.

    Args:
        part: The part to change.
        state: The new state.
        tool_name: The name of the tool; a repaired name replaces the streamed one.
        fields: The values of `_STATE_KEYS`; those not given go.
        said: Where `title`, `toolMetadata`, `providerExecuted` and `providerMetadata` are, if given. They stay if not.
    """
    part["state"] = state
    if part["type"] == "dynamic-tool":
        part["toolName"] = tool_name
    else:
        part["type"] = f"tool-{tool_name}"
    for key in _STATE_KEYS:
        if key in fields:
            part[key] = fields[key]
        else:
            part.pop(key, None)
    for key in ("title", "toolMetadata"):
        if key in said:
            part[key] = said[key]
    if said.get("providerExecuted") is not None:
        part["providerExecuted"] = said["providerExecuted"]
    if said.get("providerMetadata") is not None:
        is_result = state in ("output-available", "output-error")
        part["resultProviderMetadata" if is_result else "callProviderMetadata"] = said["providerMetadata"]
