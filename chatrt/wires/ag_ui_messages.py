"""Messages as AG-UI has them: one message of ours is several of theirs, under ids that are the same at every look.

An answer of ours, `M`, is told as assistant messages `M`, `M:2`, `M:3`, ..., one for each text and one for calls that
no text of their step goes before, as reasoning messages `M:r1`, `M:r2`, ..., and as one tool message `<call>:result`
for each call with a result. `Names` counts, here and in the live stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from ag_ui.core import (
    AssistantMessage,
    AudioPart,
    ContentPart,
    DataSource,
    DocumentPart,
    FunctionCall,
    ImagePart,
    Message,
    ReasoningMessage,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UrlSource,
    UserMessage,
    VideoPart,
)

from chatrt.ui import UIMessage, UIPart, expand_injected, get_tool_name, is_tool_part
from chatrt.ui.segments import ModelRows

STATE = "data-state"
"""The data part that is the shared state of a thread."""

DENIED = "denied"
_MEDIA = {"image": ImagePart, "audio": AudioPart, "video": VideoPart}
_DONE = frozenset({"output-available", "output-error", "output-denied"})


def as_text(value: Any) -> str:
    """Return an output as the content of a tool message: a string as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def result_id(tool_call_id: str) -> str:
    """Return the id of the message that holds a call's result."""
    return f"{tool_call_id}:result"


class Names:
    """The ids of the messages that one answer is told as; an assistant message that calls attach to has the focus.

    Attributes:
        message_id: The answer.
        focus: The assistant message of the current step, if it has one by now.
    """

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self.focus: str | None = None
        self._assistants = 0
        self._reasonings = 0

    def assistant(self) -> str:
        """Name the next assistant message; calls attach to it from now on."""
        self._assistants += 1
        self.focus = self.message_id if self._assistants == 1 else f"{self.message_id}:{self._assistants}"
        return self.focus

    def reasoning(self) -> str:
        """Name the next reasoning message."""
        self._reasonings += 1
        return f"{self.message_id}:r{self._reasonings}"


@dataclass(slots=True)
class Call:
    """A tool call of an answer, as far as the end of a run has to know it.

    Attributes:
        name: Of the tool.
        closed: Whether its input is complete.
        answered: Whether it has a result.
        elsewhere: Whether somebody else than the client answers it: the provider.
        said: Whether anything of its input was told.
    """

    name: str
    closed: bool = True
    answered: bool = False
    elsewhere: bool = False
    said: bool = False


@dataclass(slots=True)
class Approval:
    """An approval that waits for a person."""

    tool_call_id: str
    reason: str | None = None


@dataclass(slots=True)
class Told:
    """An answer as it is told so far: what names it used, and what it leaves open."""

    names: Names
    messages: list[Message] = field(default_factory=list[Message])
    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    approvals: dict[str, Approval] = field(default_factory=dict[str, Approval])

    @property
    def pending_calls(self) -> list[str]:
        """The calls that the client is to answer."""
        asked = {approval.tool_call_id for approval in self.approvals.values()}
        return [
            call_id
            for call_id, call in self.calls.items()
            if call.closed and not call.answered and not call.elsewhere and call_id not in asked
        ]


def to_messages(messages: Iterable[UIMessage]) -> list[Message]:
    """Return a history as AG-UI has it."""
    told: list[Message] = []
    names: dict[str, Names] = {}
    for segment in expand_injected(messages):
        if isinstance(segment, ModelRows):
            continue  # for the model only
        if segment["role"] == "assistant":
            # One answer may stand here in pieces, between which users said something: its names go on.
            told += tell(segment, names.setdefault(segment["id"], Names(segment["id"]))).messages
        else:
            told.append(_said(segment))
    return told


def tell_whole(message: UIMessage) -> Told:
    """Return an answer as it was told, its injected messages left out: those are not its own."""
    names = Names(message["id"])
    whole = Told(names)
    for segment in expand_injected([message]):
        if not isinstance(segment, ModelRows) and segment["role"] == "assistant":
            piece = tell(segment, names)
            whole.messages += piece.messages
            whole.calls |= {call_id: call for call_id, call in piece.calls.items() if call.closed}
            whole.approvals |= piece.approvals
    return whole


def tell(message: UIMessage, names: Names) -> Told:
    """Return an answer, or a piece of one, as AG-UI messages."""
    told = Told(names)
    names.focus = None
    results: dict[str, list[Message]] = {}  # behind the assistant message that made the calls
    for part in message["parts"]:
        match part["type"]:
            case "step-start":
                names.focus = None
            case "text":
                said = AssistantMessage(id=names.assistant(), content=part["text"])
                told.messages.append(said)
            case "reasoning":
                told.messages.append(ReasoningMessage(id=names.reasoning(), content=part["text"]))
            case _ if is_tool_part(part):
                _tell_call(part, told, results)
            case _:
                pass
    metadata = message.get("metadata")
    ordered: list[Message] = []
    for said in told.messages:
        if metadata and isinstance(metadata, dict) and said.role == "assistant":
            said.metadata, metadata = cast("dict[str, Any]", metadata), None
        ordered += [said, *results.get(said.id, ())]
    told.messages = ordered
    return told


def _tell_call(part: UIPart, told: Told, results: dict[str, list[Message]]) -> None:
    names, call_id, state = told.names, part["toolCallId"], part["state"]
    if names.focus is None:
        told.messages.append(AssistantMessage(id=names.assistant()))
    owner = next(said for said in reversed(told.messages) if said.id == names.focus)
    function = FunctionCall(name=get_tool_name(part), arguments=_arguments(part))
    cast("AssistantMessage", owner).tool_calls = [
        *(cast("AssistantMessage", owner).tool_calls or ()),
        ToolCall(id=call_id, function=function),
    ]
    call = Call(function.name, closed=state != "input-streaming", elsewhere=part.get("providerExecuted") is True)
    told.calls[call_id] = call
    approval: dict[str, Any] = part.get("approval") or {}
    if state == "approval-requested" and not approval.get("isAutomatic"):
        told.approvals[approval["id"]] = Approval(call_id, approval.get("requestReason"))
    elif state == "approval-responded":
        call.elsewhere = True  # the server's turn
    if state in _DONE and part.get("preliminary") is not True:
        call.answered = True
        results.setdefault(owner.id, []).append(_result(part))


def _arguments(part: UIPart) -> str:
    if "input" in part and part["state"] != "input-streaming":
        return json.dumps(part["input"], ensure_ascii=False, separators=(",", ":"))
    raw = part.get("rawInput", "")
    return raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, separators=(",", ":"))


def _result(part: UIPart) -> Message:
    call_id, state = part["toolCallId"], part["state"]
    if state == "output-available":
        return ToolMessage(id=result_id(call_id), tool_call_id=call_id, content=as_text(part.get("output")))
    text = DENIED if state == "output-denied" else part.get("errorText", "")
    return ToolMessage(id=result_id(call_id), tool_call_id=call_id, content=text, error=text, metadata={"state": state})


# --- what people said


def _said(message: UIMessage) -> Message:
    text = "".join(part["text"] for part in message["parts"] if part["type"] == "text")
    if message["role"] == "system":
        return SystemMessage(id=message["id"], content=text)
    metadata = message.get("metadata")
    parts = list(_content(message["parts"]))
    plain = all(isinstance(part, TextPart) for part in parts)
    return UserMessage(
        id=message["id"],
        content=text if plain else parts,
        metadata=cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else None,
    )


def _content(parts: Iterable[UIPart]) -> Iterator[ContentPart]:
    for part in parts:
        if part["type"] == "text":
            yield TextPart(text=part["text"])
        elif part["type"] == "file":
            kind = _MEDIA.get(part["mediaType"].partition("/")[0], DocumentPart)
            metadata = {"filename": part["filename"]} if "filename" in part else None
            yield kind(source=_source(part["url"], part["mediaType"]), metadata=metadata)


def _source(url: str, media_type: str) -> DataSource | UrlSource:
    head, comma, data = url.partition(",")
    if comma and head.lower().startswith("data:") and head.lower().endswith(";base64"):
        return DataSource(value=data, mime_type=media_type)
    return UrlSource(value=url, mime_type=media_type)
