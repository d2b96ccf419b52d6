"""Shows UI messages to a model: UI messages become model messages (`convertToModelMessages` of ai 7.0.173)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from pydantic_core import Url, ValidationError

from chatrt.errors import MessageConversionError
from chatrt.file_urls import to_symbol
from chatrt.ui.messages import UIMessage, UIPart, get_tool_name
from chatrt.ui.model_messages import ModelMessage

ConvertDataPart = Callable[[UIPart], dict[str, Any] | None]

_UNAVAILABLE = "Tool output omitted because the tool is no longer available."
_DENIED = "Tool call execution denied."


class HasModelOutput(Protocol):
    """What the conversion wants from a tool: how its output is shown to the model.

    `to_model_output(tool_call_id, input, output)` returns the output of a tool result, for example
    `{"type": "text", "value": "..."}`. None shows a string as text and anything else as JSON.
    """

    @property
    def to_model_output(self) -> Callable[[str, Any, Any], Mapping[str, Any]] | None: ...


def convert_to_model_messages(
    messages: Sequence[UIMessage],
    *,
    tools: Mapping[str, HasModelOutput] | None = None,
    ignore_incomplete_tool_calls: bool = False,
    convert_data_part: ConvertDataPart | None = None,
) -> list[ModelMessage]:
    """Convert a conversation for a model.

    An assistant message becomes one assistant row for each step and, where it called tools, a tool row behind it.
    Sources, citations and step borders are not shown. An approval request that a later user message has superseded
    is left out. The values inside parts (inputs, outputs, provider metadata) are shared with `messages`.

    Args:
        messages: The conversation in order.
        tools: Tools by name, for those that shape their own output; other entries are not needed.
        ignore_incomplete_tool_calls: Leave out calls that have no result yet and no answered approval.
        convert_data_part: Gives the text or file part a data part is shown as, or None to leave it out. Without it
            data parts are left out.

    Raises:
        MessageConversionError: For an unknown role, a message without parts, or a file URL that is not absolute.
    """
    conversion = _Conversion(tools or {}, convert_data_part)
    last_user = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=-1)
    for index, message in enumerate(messages):
        parts = cast("list[UIPart] | None", message.get("parts"))
        if parts is None:
            raise MessageConversionError(f"message {index} has no parts")
        if ignore_incomplete_tool_calls:
            parts = [part for part in parts if _is_complete(part)]
        elif index < last_user:
            parts = [part for part in parts if part.get("state") != "approval-requested" or not _is_tool(part["type"])]
        conversion.add(message["role"], parts)
    return conversion.rows


def _is_tool(kind: str) -> bool:
    return kind.startswith("tool-") or kind == "dynamic-tool"


def _is_complete(part: UIPart) -> bool:
    if not _is_tool(part["type"]):
        return True
    state = part.get("state")
    if state == "output-available":
        return part.get("preliminary") is not True
    return state in {"approval-responded", "output-error", "output-denied"}


class _Conversion:
    """The rows of one conversion as they grow."""

    def __init__(self, tools: Mapping[str, HasModelOutput], convert_data_part: ConvertDataPart | None) -> None:
        self.rows: list[ModelMessage] = []
        self._tools = tools
        self._convert_data_part = convert_data_part

    def add(self, role: str, parts: list[UIPart]) -> None:
        match role:
            case "system":
                self._add_system(parts)
            case "user":
                self._add_user(parts)
            case "assistant":
                self._add_assistant(parts)
            case _:
                raise MessageConversionError(f"Unsupported role: {role}")

    def _add_system(self, parts: list[UIPart]) -> None:
        texts = [part for part in parts if part["type"] == "text"]
        row: ModelMessage = {"role": "system", "content": "".join(part["text"] for part in texts)}
        options: dict[str, Any] = {}
        for part in texts:
            options.update(part.get("providerMetadata") or {})
        if options:
            row["providerOptions"] = options
        self.rows.append(row)

    def _add_user(self, parts: list[UIPart]) -> None:
        content: list[dict[str, Any]] = []
        for part in parts:
            kind = part["type"]
            if kind == "text":
                content.append(_text(part))
            elif kind == "file":
                content.append(_file(part))
            elif kind.startswith("data-"):
                content.extend(self._data(part))
        self.rows.append({"role": "user", "content": content})

    def _add_assistant(self, parts: list[UIPart]) -> None:
        block: list[UIPart] = []
        for part in parts:
            kind = part["type"]
            if kind == "step-start":
                self._add_block(block)
                block = []
            elif kind == "steering-message":
                self._add_block(block)
                block = []
                self._add_user(cast("list[UIPart]", part["parts"]))
            else:
                block.append(part)
        self._add_block(block)

    def _add_block(self, block: list[UIPart]) -> None:
        """Add what stands between two step borders: the assistant's row, then the row of its tool results."""
        content: list[dict[str, Any]] = []
        answers: list[dict[str, Any]] = []
        for part in block:
            kind = part["type"]
            if kind == "text":
                content.append(_text(part))
            elif _is_tool(kind):
                self._add_call(part, content)
                self._add_answer(part, answers)
            elif kind == "reasoning":
                content.append(_with_options({"type": "reasoning", "text": part["text"]}, part.get("providerMetadata")))
            elif kind == "file":
                content.append(_file(part))
            elif kind == "reasoning-file":
                file = {"type": "reasoning-file", "data": _url(part), "mediaType": part["mediaType"]}
                content.append(_with_options(file, part.get("providerMetadata")))
            elif kind == "custom":
                content.append(_with_options({"type": "custom", "kind": part["kind"]}, part.get("providerMetadata")))
            elif kind.startswith("data-"):
                content.extend(self._data(part))
        if content:
            self.rows.append({"role": "assistant", "content": content})
        if answers:
            self.rows.append({"role": "tool", "content": answers})

    def _add_call(self, part: UIPart, content: list[dict[str, Any]]) -> None:
        """Add a call to the assistant's row, with its approval request and the result of a tool the provider ran."""
        state = part["state"]
        if state == "input-streaming":
            return
        call: dict[str, Any] = {"type": "tool-call", "toolCallId": part["toolCallId"], "toolName": get_tool_name(part)}
        if state != "output-error":
            _copy(part, call, "input")
        elif (value := _given(part, "input", "rawInput")) is not None:
            call["input"] = value
        _copy(part, call, "providerExecuted")
        call_metadata = part.get("callProviderMetadata")
        result_metadata = part.get("resultProviderMetadata")
        shown = result_metadata if call_metadata is None and state == "output-error" else call_metadata
        content.append(_with_options(call, shown))
        if part.get("approval") is not None:
            content.append(_approval_request(part))
        if part.get("providerExecuted") is True and state in {"output-available", "output-error"}:
            output = (
                {"type": "error-json", "value": part.get("errorText")}
                if state == "output-error"
                else self._output(part)
            )
            result = _tool_result(part, output)
            content.append(_with_options(result, call_metadata if result_metadata is None else result_metadata))

    def _add_answer(self, part: UIPart, answers: list[dict[str, Any]]) -> None:
        """Add what the tool row says about a call: the answer to its approval request, its result."""
        state = part["state"]
        approval: dict[str, Any] = part.get("approval") or {}
        approved = approval.get("approved")
        if approved is not None:
            response = {"type": "tool-approval-response", "approvalId": approval["id"], "approved": approved}
            _copy(approval, response, "reason")
            _copy(part, response, "providerExecuted")
            answers.append(response)
        if state == "approval-responded" and approved is False:
            output: dict[str, Any] = {"type": "execution-denied"}
            _copy(approval, output, "reason")
        elif part.get("providerExecuted") is True:
            return
        elif state == "output-denied":
            reason = approval.get("reason")
            output = {"type": "error-text", "value": _DENIED if reason is None else reason}
        elif state == "output-error":
            output = {"type": "error-text", "value": _error_text(part.get("errorText"))}
        elif state == "output-available":
            output = self._output(part)
        else:
            return
        answers.append(_with_options(_tool_result(part, output), part.get("callProviderMetadata")))

    def _output(self, part: UIPart) -> dict[str, Any]:
        tool = self._tools.get(get_tool_name(part))
        if tool is None and part["type"] == "dynamic-tool" and part.get("dynamic") is False:
            return {"type": "text", "value": _UNAVAILABLE}
        output = part.get("output")
        if tool is not None and tool.to_model_output is not None:
            return dict(tool.to_model_output(part["toolCallId"], part.get("input"), output))
        return {"type": "text" if isinstance(output, str) else "json", "value": output}

    def _data(self, part: UIPart) -> list[dict[str, Any]]:
        shown = self._convert_data_part(part) if self._convert_data_part else None
        return [] if shown is None else [shown]


def _text(part: UIPart) -> dict[str, Any]:
    return _with_options({"type": "text", "text": part["text"]}, part.get("providerMetadata"))


def _file(part: UIPart) -> dict[str, Any]:
    file: dict[str, Any] = {"type": "file", "mediaType": part["mediaType"]}
    _copy(part, file, "filename")
    reference = part.get("providerReference")
    file["data"] = _url(part) if reference is None else {"type": "reference", "reference": reference}
    return _with_options(file, part.get("providerMetadata"))


def _url(part: UIPart) -> dict[str, Any]:
    """The part's URL as the WHATWG rules write it, which is what JavaScript's `URL` gives.

    A file of the chat is named; `chatrt.generate.files` puts it in.
    """
    if (symbol := to_symbol(part["url"])) is not None:
        return {"type": "url", "url": symbol}
    try:
        return {"type": "url", "url": str(Url(part["url"]))}
    except ValidationError:
        raise MessageConversionError(f"a {part['type']} part has no absolute URL") from None


def _approval_request(part: UIPart) -> dict[str, Any]:
    approval: dict[str, Any] = part["approval"]
    request = {"type": "tool-approval-request", "approvalId": approval["id"], "toolCallId": part["toolCallId"]}
    _copy(approval, request, "isAutomatic")
    _copy(approval, request, "inputSchemaInput")
    if approval.get("requestReason") is not None:
        request["reason"] = approval["requestReason"]
    if approval.get("signature") is not None:
        request["signature"] = approval["signature"]
    return request


def _tool_result(part: UIPart, output: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool-result",
        "toolCallId": part["toolCallId"],
        "toolName": get_tool_name(part),
        "output": output,
    }


def _error_text(error: Any) -> str:
    if error is None:
        return "unknown error"
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False, separators=(",", ":"))


def _with_options(part: dict[str, Any], options: dict[str, Any] | None) -> dict[str, Any]:
    if options is not None:
        part["providerOptions"] = options
    return part


def _copy(source: Mapping[str, Any], target: dict[str, Any], key: str) -> None:
    if key in source:
        target[key] = source[key]


def _given(source: Mapping[str, Any], *keys: str) -> Any:
    """The first of these keys that holds something; None if none does."""
    return next((source[key] for key in keys if source.get(key) is not None), None)
