"""What an AG-UI client says: a `RunAgentInput`, read as the one thing that is new in it.

Clients send their whole history along. It is the server's already, so nothing of it is looked at but the last user
message and the tool messages that may answer open calls (D15).
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import orjson
from ag_ui.core import (
    Context,
    DataSource,
    FileSource,
    ResumeEntry,
    TextPart,
    Tool,
    ToolMessage,
    UrlSource,
    UserMessage,
)
from pydantic import BaseModel, ValidationError

from chatrt.errors import InvalidInputError
from chatrt.frontend_tools import check_frontend_tools
from chatrt.ui import UIMessage, UIPart, is_tool_part

_ASIDE = frozenset({"activity", "developer", "reasoning", "system"})
_MEDIA = frozenset({"audio", "image", "video"})
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a client says became of a call: an output, or an error."""

    tool_call_id: str
    output: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says to an approval, and where in the input."""

    approval_id: str
    approved: bool
    reason: str | None
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The body of a POST, as far as it counts.

    Attributes:
        thread_id: The chat.
        run_id: What the client calls this run.
        parent_run_id: What it stems from.
        modern: Whether the client declares a version of the protocol.
        message: The new user message, if there is one.
        answers: Tool messages that may answer open calls.
        decisions: Answers to interrupts.
        tools: What the client brings along, as `check_frontend_tools` gives it.
        client_data: `forwardedProps`, with `state` and `context` where they say something.
    """

    thread_id: str
    run_id: str
    parent_run_id: str | None = None
    modern: bool = False
    message: UIMessage | None = None
    answers: Sequence[ToolAnswer] = ()
    decisions: Sequence[Decision] = ()
    tools: Sequence[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    client_data: dict[str, Any] | None = None

    def part_id(self, message: UIMessage, answers: UIMessage | None) -> str:
        """Name the append, so that the same request, sent again, is the same run."""
        said = orjson.dumps([self.run_id, message, answers])
        return f"ag-ui:{hashlib.sha256(said).hexdigest()[:48]}"


def parse_run(body: Any) -> RunRequest:
    """Read the body of a POST.

    Raises:
        InvalidInputError: If it is no `RunAgentInput`, as far as it counts.
    """
    if not isinstance(body, dict):
        raise InvalidInputError("not an object")
    fields = cast("dict[str, Any]", body)
    message, answers = _newest(fields.get("messages"))
    return RunRequest(
        thread_id=_string(fields, "threadId"),
        run_id=_string(fields, "runId"),
        parent_run_id=_optional_string(fields, "parentRunId"),
        modern=_optional_string(fields, "protocolVersion") is not None,
        message=message,
        answers=answers,
        decisions=[_decision(entry, path) for entry, path in _list_of(ResumeEntry, fields, "resume")],
        tools=check_frontend_tools([_tool(tool) for tool, _ in _list_of(Tool, fields, "tools")]),
        client_data=_client_data(fields),
    )


def _client_data(fields: dict[str, Any]) -> dict[str, Any] | None:
    forwarded: Any = fields.get("forwardedProps")
    data: dict[str, Any] = {}
    if isinstance(forwarded, dict):
        data |= cast("dict[str, Any]", forwarded)
    elif forwarded is not None:
        data["forwardedProps"] = forwarded
    context = [item.model_dump(mode="json", by_alias=True) for item, _ in _list_of(Context, fields, "context")]
    if context:
        data["context"] = context
    if fields.get("state") not in (None, {}):
        data["state"] = fields["state"]
    return data or None


def _tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _decision(entry: ResumeEntry, path: str) -> Decision:
    if entry.status == "cancelled":
        return Decision(entry.interrupt_id, approved=False, reason="cancelled", path=path)
    match entry.payload:
        case {"approved": bool(approved)}:
            payload = cast("dict[str, Any]", entry.payload)
            reason = payload.get("reason")
            if reason is not None and not isinstance(reason, str):
                raise InvalidInputError("not a string", path=f"{path}/payload/reason")
            return Decision(entry.interrupt_id, approved=approved, reason=reason, path=path)
        case _:
            raise InvalidInputError("not {approved: boolean, reason?: string}", path=f"{path}/payload")


# --- messages


def _newest(messages: Any) -> tuple[UIMessage | None, list[ToolAnswer]]:
    """Return the new user message, if the history ends with one, and the tool messages since the one before it."""
    if not isinstance(messages, list):
        raise InvalidInputError("not a list", path="/messages")
    said = [
        (index, cast("dict[str, Any]", message))
        for index, message in enumerate(cast("list[Any]", messages))
        if isinstance(message, dict) and cast("dict[str, Any]", message).get("role") not in _ASIDE
    ]
    message: UIMessage | None = None
    if said and said[-1][1].get("role") == "user":
        index, newest = said.pop()
        path = f"/messages/{index}"
        message = _user_message(_checked(UserMessage, _without_binaries(newest), path), path)
    answers: list[ToolAnswer] = []
    for index, other in reversed(said):
        if other.get("role") == "user":
            break
        if other.get("role") == "tool":
            answers.append(_tool_answer(_checked(ToolMessage, other, f"/messages/{index}")))
    return message, answers[::-1]


def _tool_answer(message: ToolMessage) -> ToolAnswer:
    if message.error:
        return ToolAnswer(message.tool_call_id, error=message.error)
    if isinstance(message.content, str):
        return ToolAnswer(message.tool_call_id, output=_output(message.content))
    return ToolAnswer(
        message.tool_call_id, output=[part.model_dump(mode="json", by_alias=True) for part in message.content]
    )


def _output(content: str) -> Any:
    """Return what a tool message says: an object or a list as such, everything else as the text it is."""
    if content.lstrip()[:1] not in ("{", "["):
        return content
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return content


def _user_message(message: UserMessage, path: str) -> UIMessage:
    if isinstance(message.content, str):
        parts: list[Any] = [{"type": "text", "text": message.content}]
    else:
        parts = [
            _user_part(part, f"{path}/content/{index}") for index, part in enumerate(cast("list[Any]", message.content))
        ]
    said: dict[str, Any] = {"id": message.id, "role": "user", "parts": parts}
    if message.metadata:
        said["metadata"] = message.metadata
    return cast("UIMessage", said)


def _without_binaries(message: dict[str, Any]) -> dict[str, Any]:
    """Return a user message with its `binary` parts, which clients before 1.0 send, as parts that 1.0 has."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_without_binary(part) for part in cast("list[Any]", content)]}


def _without_binary(part: Any) -> Any:
    match part:
        case {"type": "binary", "mimeType": str(media_type), "data": str(value)}:
            source = {"type": "data", "value": value, "mimeType": media_type}
        case {"type": "binary", "mimeType": str(media_type), "url": str(value)}:
            source = {"type": "url", "value": value, "mimeType": media_type}
        case _:
            return part
    kind = media_type.partition("/")[0]
    filename = cast("dict[str, Any]", part).get("filename")
    metadata = {"metadata": {"filename": filename}} if isinstance(filename, str) else {}
    return {"type": kind if kind in _MEDIA else "document", "source": source, **metadata}


def _user_part(part: Any, path: str) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    source, metadata = part.source, cast("dict[str, Any]", part.metadata or {})
    filename = metadata.get("filename")
    match source:
        case DataSource():
            url, media_type = f"data:{source.mime_type};base64,{source.value}", source.mime_type
        case UrlSource():
            guessed = mimetypes.guess_type(source.value)[0]
            url, media_type = source.value, source.mime_type or guessed or _any_of(part.type)
        case FileSource():
            raise InvalidInputError("a file that a provider keeps cannot be taken", path=f"{path}/source")
        case _:
            raise InvalidInputError("not a source", path=f"{path}/source")
    said = {"type": "file", "mediaType": media_type, "url": url}
    return {**said, "filename": filename} if isinstance(filename, str) else said


def _any_of(kind: str) -> str:
    return "application/octet-stream" if kind == "document" else f"{kind}/*"


# --- what it answers


@dataclass(frozen=True, slots=True)
class Settled:
    """The answers of a request, put to what is stored.

    Attributes:
        message: The assistant message that advances the open calls; None if none is answered.
        approves: Whether it lets a call run.
    """

    message: UIMessage | None
    approves: bool = False


def settle(request: RunRequest, messages: Sequence[UIMessage]) -> Settled:
    """Return the assistant message by which the request answers open calls.

    What is settled already is passed over: it was said before. Where calls of several messages are answered, those of
    the newest count.

    Raises:
        InvalidInputError: If an interrupt is answered that there never was.
    """
    answers = {answer.tool_call_id: answer for answer in request.answers}
    decisions = {decision.approval_id: decision for decision in request.decisions}
    unknown = dict(decisions)
    found: UIMessage | None = None
    for stored in reversed(messages):
        if stored["role"] != "assistant":
            continue
        for part in stored["parts"]:
            if is_tool_part(part):
                unknown.pop(_approval(part).get("id", ""), None)
        parts = [] if found is not None else list(_advanced(stored["parts"], answers, decisions))
        if parts:
            found = {"id": stored["id"], "role": "assistant", "parts": parts}
        if not unknown and (found is not None or not answers):
            break
    for decision in unknown.values():
        raise InvalidInputError("there is no such interrupt", path=f"{decision.path}/interruptId")
    if found is None:
        return Settled(None)
    approves = any(_approval(part).get("approved") is True for part in found["parts"])
    return Settled(found, approves)


def _approval(part: UIPart) -> dict[str, Any]:
    return part.get("approval") or {}


def _advanced(
    parts: Iterable[UIPart], answers: dict[str, ToolAnswer], decisions: dict[str, Decision]
) -> Iterator[UIPart]:
    for part in parts:
        if not is_tool_part(part):
            continue
        said: dict[str, Any] = {key: part[key] for key in ("type", "toolName", "toolCallId") if key in part}
        approval_id: str = _approval(part).get("id", "")
        match part.get("state"):
            case "input-available" if part["toolCallId"] in answers and part.get("providerExecuted") is not True:
                answer = answers[part["toolCallId"]]
                if answer.error is not None:
                    yield cast("UIPart", {**said, "state": "output-error", "errorText": answer.error})
                else:
                    yield cast("UIPart", {**said, "state": "output-available", "output": answer.output})
            case "approval-requested" if approval_id in decisions:
                decision = decisions[approval_id]
                approval: dict[str, Any] = {"id": approval_id, "approved": decision.approved}
                if decision.reason is not None:
                    approval["reason"] = decision.reason
                yield cast("UIPart", {**said, "state": "approval-responded", "approval": approval})
            case _:
                pass


# --- reading


def _checked(model: type[_Model], value: Any, path: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = _place(value, first["loc"], missing=first["type"] == "missing")
        raise InvalidInputError(first["msg"], path=f"{path}{place}") from None


def _place(value: Any, steps: Sequence[int | str], *, missing: bool) -> str:
    """Return the way to an error, without the names by which pydantic tells which of several shapes it tried."""
    place = ""
    for number, step in enumerate(steps, 1):
        match value, step:
            case dict(), str() if step in value:
                value = cast("dict[str, Any]", value)[step]
            case list(), int() if step < len(cast("list[Any]", value)):
                value = cast("list[Any]", value)[step]
            case _ if missing and number == len(steps):
                pass
            case _:
                continue
        place += f"/{step}"
    return place


def _list_of(model: type[_Model], fields: dict[str, Any], key: str) -> Iterator[tuple[_Model, str]]:
    items = fields.get(key)
    if items is None:
        return
    if not isinstance(items, list):
        raise InvalidInputError("not a list", path=f"/{key}")
    for index, item in enumerate(cast("list[Any]", items)):
        yield _checked(model, item, f"/{key}/{index}"), f"/{key}/{index}"


def _string(fields: dict[str, Any], key: str) -> str:
    value = _optional_string(fields, key)
    if not value:
        raise InvalidInputError("a string is expected", path=f"/{key}")
    return value


def _optional_string(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError("a string is expected", path=f"/{key}")
    return value
