"""UI messages and their parts as they stand on the wire and in a database, and the guards that tell parts apart.

Parts by `type` (ai 7.0.173; `?` marks keys that are absent rather than null):

    text             text, state?: "streaming" | "done", citations?, providerMetadata?
    reasoning        text, id?, state?, providerMetadata?
    step-start       the border before a step
    file             mediaType, url, filename?, providerReference?, providerMetadata?
    reasoning-file   mediaType, url, providerMetadata?
    source-url       sourceId, url, title?, providerMetadata?
    source-document  sourceId, mediaType, title, filename?, providerMetadata?
    custom           kind, providerMetadata?
    data-<name>      id?, data
    tool-<name>      a call of the tool <name>
    dynamic-tool     the same with `toolName`, for tools that are only known at run time

A tool part has `toolCallId`, `state`, `title?`, `toolMetadata?`, `providerExecuted?`, `callProviderMetadata?` and, by
state:

    input-streaming     input? (as far as it is known), rawInput?, inputEncoding?
    input-available     input
    approval-requested  input, approval {id, descriptor?, requestReason?, isAutomatic?, signature?, inputSchemaInput?}
    approval-responded  input, approval {..., approved, reason?}
    output-available    input, output, preliminary?, resultProviderMetadata?, approval?
    output-error        input?, errorText, rawInput?, resultProviderMetadata?, approval?
    output-denied       input, approval
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class UIPart(TypedDict, extra_items=Any):
    """One element of a message's `parts`; what else it holds depends on `type`, see the table of this module."""

    type: str


class UIMessage(TypedDict):
    """A message as people see it. Messages are treated as immutable: who changes one makes a new one."""

    id: str
    role: Literal["system", "user", "assistant"]
    parts: list[UIPart]
    metadata: NotRequired[Any]


def is_text_part(part: UIPart) -> bool:
    return part["type"] == "text"


def is_reasoning_part(part: UIPart) -> bool:
    return part["type"] == "reasoning"


def is_file_part(part: UIPart) -> bool:
    return part["type"] == "file"


def is_data_part(part: UIPart) -> bool:
    return part["type"].startswith("data-")


def is_static_tool_part(part: UIPart) -> bool:
    return part["type"].startswith("tool-")


def is_dynamic_tool_part(part: UIPart) -> bool:
    return part["type"] == "dynamic-tool"


def is_tool_part(part: UIPart) -> bool:
    """Whether the part is a tool call, static or dynamic."""
    kind = part["type"]
    return kind.startswith("tool-") or kind == "dynamic-tool"


def get_tool_name(part: UIPart) -> str:
    """Return the name of the tool a tool part calls; names may themselves hold dashes."""
    kind = part["type"]
    return str(part["toolName"]) if kind == "dynamic-tool" else kind.partition("-")[2]


def current_step_start(parts: list[UIPart]) -> int:
    """Return the index of the first part of the last step: the one after the last `step-start`, or 0."""
    for index in range(len(parts) - 1, -1, -1):
        if parts[index]["type"] == "step-start":
            return index + 1
    return 0


def last_text(message: UIMessage) -> str:
    """Return the text of the last step that has any: what a message comes down to; empty if it says nothing."""
    said = step = ""
    for part in message["parts"]:
        if part["type"] == "step-start":
            said, step = step or said, ""
        elif part["type"] == "text":
            step += part["text"]
    return step or said


def message_text(message: UIMessage) -> str:
    """Return the texts of a message, joined with nothing between."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")
