"""Model messages as chat-completions rows, the form litellm takes.

    system     content is the text
    user       text parts, `image_url` for images, `input_audio` for wav and mp3 data, `file` for the rest
    assistant  the texts joined, `tool_calls`, and the reasoning that may be replayed (see `to_litellm`)
    tool       one row for each result; its output as a text, or as parts when it holds images or files

Approval parts are the runtime's and no model's; tools that the provider ran itself, and files the assistant made, have
no place in this form. A `cacheControl` in `providerOptions.anthropic` becomes `cache_control` where it stands, for the
models of Anthropic; on a whole message it stands for the last part of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from chatrt.models.base import ToolSpec
from chatrt.ui import ModelMessage

Row = dict[str, Any]

_DENIED = "Tool call execution denied."
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_WANT_REASONING_BACK = frozenset({"deepseek", "moonshot"})
"""Providers that refuse a tool loop whose assistant rows lack the plain reasoning text they came with."""


def to_litellm(messages: Sequence[ModelMessage], *, provider: str | None = None) -> list[Row]:
    """Turn AI SDK model messages (ai 7.0.173) into chat-completions rows.

    Args:
        messages: The prompt. Rows without content that a model could read are left out.
        provider: Whom the rows are for, as `provider_family` names it. Signed reasoning goes back unchanged, as
            `thinking_blocks`, to the provider whose key it carries in `providerOptions` and to no other; unsigned
            reasoning goes back only to those who ask for it. None keeps every signature.

    Returns:
        New dicts; nothing of `messages` is changed or shared, except nested values that are passed on as they are.
    """
    rows: list[Row] = []
    for message in messages:
        content = message["content"]
        options = message.get("providerOptions")
        match message["role"]:
            case "system":
                rows.append({"role": "system", "content": _cached_text(content, options, provider)})
            case "user":
                rows += _user(content, options, provider)
            case "assistant":
                rows += _assistant(content, options, provider)
            case "tool":
                rows += _tool(content, options, provider)
    return rows


def tool_definitions(tools: Sequence[ToolSpec], *, provider: str | None = None) -> list[Row]:
    """Turn tools into the function tools of a chat-completions request; `provider` as for `to_litellm`."""
    return [_tool_definition(tool, provider) for tool in tools]


def _tool_definition(tool: ToolSpec, provider: str | None) -> Row:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.input_schema)}
    return _with_cache({"type": "function", "function": function}, tool.provider_options, provider)


def provider_family(provider: str, model: str) -> str:
    """Name who made the model, whoever serves it: signatures of Claude are valid on every platform.

    Args:
        provider: litellm's name of the provider, for instance `bedrock`.
        model: The model's name there, for instance `anthropic.claude-sonnet-4-5-v1:0`.
    """
    if provider == "anthropic" or "claude" in model.lower():
        return "anthropic"
    if provider in {"gemini", "vertex_ai", "vertex_ai_beta"}:
        return "google"
    return provider


# --- one function for each role -------------------------------------------------------------------------------------


def _user(content: Any, options: Any, provider: str | None) -> list[Row]:
    if isinstance(content, str):
        return [{"role": "user", "content": _cached_text(content, options, provider)}] if content else []
    parts: list[Row] = []
    for part in content:
        if part["type"] == "text" and part["text"]:
            parts.append(_with_cache({"type": "text", "text": part["text"]}, part.get("providerOptions"), provider))
        elif part["type"] == "file":
            parts.append(_with_cache(_file(part, provider), part.get("providerOptions"), provider))
    if not parts:
        return []
    _with_cache(parts[-1], options, provider)
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return [{"role": "user", "content": parts[0]["text"]}]
    return [{"role": "user", "content": parts}]


def _assistant(content: Any, options: Any, provider: str | None) -> list[Row]:
    if isinstance(content, str):
        return [{"role": "assistant", "content": _cached_text(content, options, provider)}] if content else []
    texts: list[Row] = []
    calls: list[Row] = []
    blocks: list[Row] = []
    plain: list[str] = []
    for part in content:
        kind = part["type"]
        if kind == "text" and part["text"]:
            texts.append(_with_cache({"type": "text", "text": part["text"]}, part.get("providerOptions"), provider))
        elif kind == "tool-call" and not part.get("providerExecuted"):
            calls.append(_call(part, provider))
        elif kind == "reasoning":
            block = _thinking_block(part, provider)
            if block is not None:
                blocks.append(block)
            elif part["text"] and provider in _WANT_REASONING_BACK:
                plain.append(part["text"])
    if not (texts or calls or blocks):
        return []
    if calls or texts:
        _with_cache((calls or texts)[-1], options, provider)
    row: Row = {"role": "assistant", "content": _joined(texts)}
    if calls:
        row["tool_calls"] = calls
    if blocks:
        row["thinking_blocks"] = blocks
    if plain:
        row["reasoning_content"] = "".join(plain)
    return [row]


def _tool(content: Any, options: Any, provider: str | None) -> list[Row]:
    rows: list[Row] = []
    for part in content:
        if part["type"] != "tool-result":
            continue
        row: Row = {
            "role": "tool",
            "tool_call_id": part["toolCallId"],
            "name": part["toolName"],
            "content": _output(part["output"], provider),
        }
        options_of_output = part.get("providerOptions") or part["output"].get("providerOptions")
        rows.append(_with_cache(row, options_of_output, provider))
    if rows:
        _with_cache(rows[-1], options, provider)
    return rows


# --- parts ----------------------------------------------------------------------------------------------------------


def _joined(texts: list[Row]) -> Any:
    if any("cache_control" in part for part in texts):
        return texts
    return "".join(part["text"] for part in texts) or None


def _call(part: Mapping[str, Any], provider: str | None) -> Row:
    call: Row = {
        "id": part["toolCallId"],
        "type": "function",
        "function": {"name": part["toolName"], "arguments": _arguments(part.get("input"))},
    }
    signature = _signed(part, "google", provider).get("thoughtSignature")
    if signature:
        call["provider_specific_fields"] = {"thought_signature": signature}
    return _with_cache(call, part.get("providerOptions"), provider)


def _arguments(value: Any) -> str:
    """Write a call's input as the JSON object that every provider demands, also where the model wrote none."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except ValueError:
            value = {"rawInput": value}
    if value is None:
        value = {}
    return _json(value if isinstance(value, Mapping) else {"rawInput": value})


def _thinking_block(part: Mapping[str, Any], provider: str | None) -> Row | None:
    for family in ("anthropic", "google") if provider is None else (provider,):
        signed = _signed(part, family, provider)
        if signed.get("redactedData"):
            return {"type": "redacted_thinking", "data": signed["redactedData"]}
        if signed.get("signature"):
            return {"type": "thinking", "thinking": part["text"], "signature": signed["signature"]}
    return None


def _signed(part: Mapping[str, Any], family: str, provider: str | None) -> Mapping[str, Any]:
    if provider not in (None, family):
        return {}
    return _mapping(_mapping(part.get("providerOptions")).get(family))


def _file(part: Mapping[str, Any], provider: str | None) -> Row:
    media_type: str = part["mediaType"]
    source = _mapping(part["data"])
    if "reference" in source:
        return {"type": "file", "file": {"file_id": _reference(source["reference"], provider), "format": media_type}}
    url = _as_url(source.get("url") or source.get("data") or part["data"], media_type)
    if media_type.startswith("image/"):
        detail = _option(part.get("providerOptions"), "openai", "imageDetail")
        return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
    is_data = url.startswith("data:")
    if is_data and media_type in _AUDIO_FORMATS:
        audio = {"data": url.partition(",")[2], "format": _AUDIO_FORMATS[media_type]}
        return {"type": "input_audio", "input_audio": audio}
    file: Row = {"file_data" if is_data else "file_id": url}
    if part.get("filename"):
        file["filename"] = part["filename"]
    if is_data or provider != "anthropic":
        # With a format litellm takes any Anthropic file_id for an uploaded file, also one that is a URL.
        file["format"] = media_type
    return {"type": "file", "file": file}


def _reference(reference: Mapping[str, str], provider: str | None) -> str:
    return reference.get(provider or "") or next(iter(reference.values()))


def _as_url(data: Any, media_type: str) -> str:
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    text = str(data)
    if text.startswith(("data:", "http://", "https://", "gs://", "s3://")):
        return text
    return f"data:{media_type};base64,{text}"


def _output(output: Mapping[str, Any], provider: str | None) -> Any:
    match output["type"]:
        case "text" | "error-text":
            return str(output["value"])
        case "execution-denied":
            return output.get("reason") or _DENIED
        case "content":
            return _content(output["value"], provider)
        case _:
            return _json(output.get("value"))


def _content(values: Sequence[Mapping[str, Any]], provider: str | None) -> Any:
    parts = [_content_part(value, provider) for value in values]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _content_part(value: Mapping[str, Any], provider: str | None) -> Row:
    if value["type"] == "text":
        return {"type": "text", "text": value["text"]}
    data = value.get("url") or value.get("data")
    if data is None:
        return {"type": "text", "text": _json(value)}
    media_type = value.get("mediaType") or ("image/*" if value["type"].startswith("image") else "application/pdf")
    return _file({"mediaType": media_type, "data": data, "filename": value.get("filename")}, provider)


# --- provider options -----------------------------------------------------------------------------------------------


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _option(options: Any, provider: str, name: str) -> Any:
    return _mapping(_mapping(options).get(provider)).get(name)


def _cache_control(options: Any, provider: str | None) -> Any:
    if provider not in (None, "anthropic"):
        return None
    return _option(options, "anthropic", "cacheControl") or _option(options, "anthropic", "cache_control")


def _with_cache(row: Row, options: Any, provider: str | None) -> Row:
    control = _cache_control(options, provider)
    if control is not None:
        row["cache_control"] = control
    return row


def _cached_text(text: str, options: Any, provider: str | None) -> Any:
    if _cache_control(options, provider) is None:
        return text
    return [_with_cache({"type": "text", "text": text}, options, provider)]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
