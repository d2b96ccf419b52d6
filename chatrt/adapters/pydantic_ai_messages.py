"""The history of a chat as pydantic-ai's messages.

    system     SystemPromptPart
    user       UserPromptPart: texts, files as binary content or as URLs, uploaded files
    assistant  ModelResponse: texts, thinking with its signature, calls, files, tools the provider ran
    tool       ModelRequest of ToolReturnParts; errors are `failed`, denials `denied`

What pydantic-ai wants back with a part (ids, signatures, provider details) travels in the part's provider metadata, in
the form its own AI SDK adapter uses: `{"pydantic_ai": {"id", "signature", "provider_name", "provider_details", ...}}`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from chatrt.adapters.decisions import Prompt, content_of, read_prompt
from chatrt.adapters.missing import missing_extra
from chatrt.errors import MessageConversionError
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage

try:
    from pydantic_ai import messages as pai
    from pydantic_ai.tools import DeferredToolResults, ToolApproved, ToolDenied
except ImportError as error:
    raise missing_extra("pydantic-ai", error) from error

METADATA_KEY = "pydantic_ai"

_KEPT = ("id", "signature", "provider_name", "provider_details", "tool_kind")
_DENIED = "The tool call was denied."


def to_pydantic_ai(
    messages: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage],
) -> list[pai.ModelMessage]:
    """Return a conversation as a `message_history` for `Agent.run`.

    Calls that people have just decided about have no return in it; their decisions are what `deferred_results` gives.

    Args:
        messages: A turn, for what its model is to be shown; or model messages; or UI messages.
    """
    return history_of(read_prompt(messages))


def history_of(prompt: Prompt) -> list[pai.ModelMessage]:
    """Return the rows of a prompt as pydantic-ai's messages."""
    messages: list[pai.ModelMessage] = []
    for row in prompt.rows:
        parts = content_of(row)
        match row["role"]:
            case "system":
                messages.append(pai.ModelRequest([pai.SystemPromptPart(part["text"]) for part in parts]))
            case "user":
                messages.append(pai.ModelRequest([pai.UserPromptPart(_user_content(parts))]))
            case "assistant":
                messages.append(_response(parts))
            case "tool":
                messages.append(pai.ModelRequest([_tool_return(part) for part in parts]))
    return messages


def deferred_results(prompt: Prompt) -> DeferredToolResults | None:
    """Return what people decided about the calls at the end of a prompt; None if there is nothing to carry out."""
    if not prompt.decisions:
        return None
    return DeferredToolResults(
        approvals={
            call_id: ToolApproved() if decision.approved else ToolDenied(decision.reason or _DENIED)
            for call_id, decision in prompt.decisions.items()
        }
    )


def metadata_of(part: Any, canonical_system: str | None = None) -> dict[str, Any]:
    """Return the `providerMetadata` key of a chunk about a part, empty where pydantic-ai wants nothing back."""
    known = {name: getattr(part, name, None) for name in _KEPT}
    known["canonical_system"] = canonical_system
    kept = {name: value for name, value in known.items() if value is not None}
    return {"providerMetadata": {METADATA_KEY: kept}} if kept else {}


# --- what a person said ---------------------------------------------------------------------------------------------


def _user_content(parts: list[dict[str, Any]]) -> str | list[pai.UserContent]:
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return [part["text"] if part["type"] == "text" else _file(part) for part in parts]


def _file(part: Mapping[str, Any]) -> pai.MultiModalContent:
    try:
        return _read_file(part)
    except ValueError as error:  # base64 that is none, a provider that pydantic-ai does not know
        raise MessageConversionError(f"a {part['mediaType']} file cannot be shown to the model: {error}") from error


def _read_file(part: Mapping[str, Any]) -> pai.MultiModalContent:
    media_type: str = part["mediaType"]
    source: Any = part["data"]
    if isinstance(source, Mapping):
        held = cast("Mapping[str, Any]", source)
        if "reference" in held:
            provider, file_id = next(iter(held["reference"].items()))
            return pai.UploadedFile(file_id=file_id, provider_name=provider, media_type=media_type)
        source = held.get("url") or held.get("data")
    if isinstance(source, bytes):
        return pai.BinaryContent(source, media_type=media_type)
    url = str(source)
    if url.startswith("data:"):
        return _from_data_url(url, media_type)
    if "://" not in url:
        return pai.BinaryContent(base64.b64decode(url), media_type=media_type)
    match media_type.partition("/")[0]:
        case "image":
            return pai.ImageUrl(url, media_type=None if media_type == "image/*" else media_type)
        case "audio":
            return pai.AudioUrl(url, media_type=media_type)
        case "video":
            return pai.VideoUrl(url, media_type=media_type)
        case _:
            return pai.DocumentUrl(url, media_type=media_type)


def _from_data_url(url: str, media_type: str) -> pai.BinaryContent:
    head, _, data = url.partition(",")
    if head.endswith(";base64"):
        return pai.BinaryContent.narrow_type(pai.BinaryContent(base64.b64decode(data), media_type=media_type))
    return pai.BinaryContent(data.encode(), media_type=media_type)


# --- what the model said --------------------------------------------------------------------------------------------


def _response(parts: list[dict[str, Any]]) -> pai.ModelResponse:
    said = [made for part in parts if (made := _response_part(part)) is not None]
    systems = (_options(part).get("canonical_system") for part in parts)
    names = (made.provider_name for made in said if made.provider_name)
    return pai.ModelResponse(
        said,
        provider_name=next(names, None),
        canonical_system=next((system for system in systems if system is not None), None),
    )


def _response_part(part: dict[str, Any]) -> pai.ModelResponsePart | None:
    options = _options(part)
    kept = {name: options[name] for name in ("id", "provider_name", "provider_details") if name in options}
    match part["type"]:
        case "text":
            return pai.TextPart(part["text"], **kept)
        case "reasoning":
            return pai.ThinkingPart(part["text"], signature=options.get("signature"), **kept)
        case "file" | "reasoning-file":
            file = _file(part)
            return pai.FilePart(file, **kept) if isinstance(file, pai.BinaryContent) else None
        case "tool-call":
            kind = pai.NativeToolCallPart if part.get("providerExecuted") else pai.ToolCallPart
            return kind(
                part["toolName"], part.get("input"), part["toolCallId"], tool_kind=options.get("tool_kind"), **kept
            )
        case "tool-result":
            kept.pop("id", None)
            content, outcome = _outcome(part["output"])
            return pai.NativeToolReturnPart(
                part["toolName"],
                content,
                part["toolCallId"],
                outcome=outcome,
                tool_kind=options.get("tool_kind"),
                **kept,
            )
        case _:
            return None


# --- what tools gave ------------------------------------------------------------------------------------------------


def _tool_return(part: dict[str, Any]) -> pai.ToolReturnPart:
    content, outcome = _outcome(part["output"])
    kind = _options(part).get("tool_kind")
    return pai.ToolReturnPart(part["toolName"], content, part["toolCallId"], outcome=outcome, tool_kind=kind)


def _outcome(output: Mapping[str, Any]) -> tuple[Any, Any]:
    match output["type"]:
        case "execution-denied":
            return output.get("reason") or _DENIED, "denied"
        case "error-text" | "error-json":
            value = output["value"]
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), "failed"
        case "content":
            return [_content(value) for value in output["value"]], "success"
        case _:
            return _with_files(output["value"]), "success"


def _content(value: Mapping[str, Any]) -> Any:
    if value["type"] == "text":
        return value["text"]
    data = value.get("url") or value.get("data")
    media_type = value.get("mediaType") or ("image/*" if value["type"].startswith("image") else "application/pdf")
    return dict(value) if data is None else _file({"mediaType": media_type, "data": data})


def _with_files(value: Any) -> Any:
    """Read back the files that a tool returned, alone or in a list. URLs stay data: a client may have sent them."""
    if isinstance(value, list):
        return [_with_files(item) for item in cast("list[Any]", value)]
    match value:
        case {"kind": "binary", "data": str(data), "media_type": str(media_type)}:
            try:
                decoded = base64.urlsafe_b64decode(data)
            except ValueError:
                return value
            return pai.BinaryContent.narrow_type(pai.BinaryContent(decoded, media_type=media_type))
        case _:
            return value


def _options(part: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Any = part.get("providerOptions") or {}
    return options.get(METADATA_KEY) or {}
