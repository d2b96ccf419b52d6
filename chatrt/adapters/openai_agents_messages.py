"""The history of a chat as input items of the OpenAI Responses API, which the Agents SDK shows to any model.

    system     a system message
    user       input_text, input_image, input_file, input_audio
    assistant  messages, reasoning, function calls, items of tools that OpenAI ran
    tool       function_call_output

Reasoning goes back only with its encrypted content, and then with the ids of all items of its step: OpenAI refuses an
item whose reasoning is missing, and forgets what it stored after a while, which a chat outlives. Other steps go back
without ids. The provider metadata is that of the AI SDK: `{"openai": {"itemId", "reasoningEncryptedContent"}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from chatrt.adapters.decisions import Prompt, content_of, read_prompt
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage

Item = dict[str, Any]

METADATA_KEY = "openai"
HANDOFF_KEY = "openai_agents"

_DENIED = "Tool call execution denied."
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_STRUCTURED = frozenset({"input_text", "input_image", "input_file"})


def to_openai_agents(messages: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage]) -> list[Any]:
    """Return a conversation as `input` for `Runner.run`.

    Calls that people have just approved are left out: they are still to be made.

    Args:
        messages: A turn, for what its model is to be shown; or model messages; or UI messages.
    """
    return items_of(read_prompt(messages))


def items_of(prompt: Prompt) -> list[Any]:
    """Return the rows of a prompt as input items."""
    items: list[Item] = []
    for row in prompt.rows:
        parts = content_of(row)
        match row["role"]:
            case "system":
                items += [{"role": "system", "content": part["text"]} for part in parts]
            case "user":
                items.append({"role": "user", "content": _user_content(parts)})
            case "assistant":
                items += _assistant(parts, prompt)
            case "tool":
                items += [_output(part) for part in parts]
    return items


def approved_calls(prompt: Prompt) -> list[Item]:
    """Return the function calls that people have just approved."""
    calls: list[Item] = []
    for row in prompt.rows[-2:]:
        parts = content_of(row) if row["role"] == "assistant" else []
        for part in parts:
            decision = prompt.decisions.get(part["toolCallId"]) if part["type"] == "tool-call" else None
            if decision is not None and decision.approved:
                calls.append(_function_call(part, keep_id=_is_whole(parts)))
    return calls


def last_handoff(prompt: Prompt) -> str | None:
    """Return the name of the agent that was handed the conversation last."""
    calls: set[str] = set()
    name: str | None = None
    for row in prompt.rows:
        for part in content_of(row):
            if part["type"] == "tool-call" and (_given(part.get("providerOptions"), HANDOFF_KEY)).get("handoff"):
                calls.add(part["toolCallId"])
            elif part["type"] == "tool-result" and part["toolCallId"] in calls:
                name = _handed_to(part["output"]) or name
    return name


def _handed_to(output: Mapping[str, Any]) -> str | None:
    try:
        said: Any = json.loads(output["value"]) if isinstance(output.get("value"), str) else output.get("value")
    except ValueError:
        return None
    return said.get("assistant") if isinstance(said, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


# --- what a person said ---------------------------------------------------------------------------------------------


def _user_content(parts: list[dict[str, Any]]) -> str | list[Item]:
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return [{"type": "input_text", "text": part["text"]} if part["type"] == "text" else _file(part) for part in parts]


def _file(part: Mapping[str, Any]) -> Item:
    media_type: str = part["mediaType"]
    source: Any = part["data"]
    held: Mapping[str, Any] = cast("Mapping[str, Any]", source) if isinstance(source, Mapping) else {"url": source}
    if "reference" in held:
        file_id = held["reference"].get("openai") or next(iter(held["reference"].values()))
        return {"type": "input_image" if media_type.startswith("image/") else "input_file", "file_id": file_id}
    url = str(held.get("url") or held.get("data"))
    if "://" not in url and not url.startswith("data:"):
        url = f"data:{media_type};base64,{url}"
    if media_type.startswith("image/"):
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if not url.startswith("data:"):
        return {"type": "input_file", "file_url": url}
    if media_type in _AUDIO_FORMATS:
        audio = {"data": url.partition(",")[2], "format": _AUDIO_FORMATS[media_type]}
        return {"type": "input_audio", "input_audio": audio}
    return {"type": "input_file", "file_data": url, "filename": part.get("filename") or "file"}


# --- what the model said --------------------------------------------------------------------------------------------


def _assistant(parts: list[dict[str, Any]], prompt: Prompt) -> list[Item]:
    whole = _is_whole(parts)
    items: list[Item] = []
    for part in parts:
        decision = prompt.decisions.get(part.get("toolCallId", ""))
        match part["type"]:
            case "text":
                items.append(_message(part, keep_id=whole))
            case "reasoning" if whole:
                _add_reasoning(items, part)
            case "tool-call" if not part.get("providerExecuted") and not (decision and decision.approved):
                items.append(_function_call(part, keep_id=whole))
                if decision is not None:
                    items.append(_call_output(part["toolCallId"], decision.reason or _DENIED))
            case "tool-result" if whole or not _metadata(part).get("reasoned"):
                items += _hosted(part)
            case _:
                pass
    return items


def _is_whole(parts: list[dict[str, Any]]) -> bool:
    """Whether a step has all its reasoning in a form that OpenAI takes back."""
    reasoning = [part for part in parts if part["type"] == "reasoning"]
    return bool(reasoning) and all(_metadata(part).get("reasoningEncryptedContent") for part in reasoning)


def _message(part: dict[str, Any], *, keep_id: bool) -> Item:
    item_id = _metadata(part).get("itemId")
    if not keep_id or item_id is None:
        return {"role": "assistant", "content": part["text"]}
    content: list[Item] = [{"type": "output_text", "text": part["text"], "annotations": []}]
    message: Item = {"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": content}
    phase = _metadata(part).get("phase")
    return message if phase is None else {**message, "phase": phase}


def _add_reasoning(items: list[Item], part: dict[str, Any]) -> None:
    """Add a part of reasoning; the parts of one item are its summary."""
    metadata = _metadata(part)
    if not items or items[-1].get("type") != "reasoning" or items[-1]["id"] != metadata["itemId"]:
        encrypted = metadata["reasoningEncryptedContent"]
        items.append({"type": "reasoning", "id": metadata["itemId"], "summary": [], "encrypted_content": encrypted})
    if part["text"]:
        items[-1]["summary"].append({"type": "summary_text", "text": part["text"]})


def _function_call(part: dict[str, Any], *, keep_id: bool) -> Item:
    value: Any = part.get("input")
    arguments = value if isinstance(value, str) else json.dumps({} if value is None else value, ensure_ascii=False)
    call = {"type": "function_call", "call_id": part["toolCallId"], "name": part["toolName"], "arguments": arguments}
    metadata = _metadata(part)
    if metadata.get("namespace") is not None:
        call["namespace"] = metadata["namespace"]
    return {**call, "id": metadata["itemId"]} if keep_id and metadata.get("itemId") else call


def _hosted(part: dict[str, Any]) -> list[Item]:
    """Return the item of a tool that OpenAI ran, which is what its part has as output."""
    match part["output"].get("value"):
        case {"type": str(), "id": str()} as item:
            return [cast("Item", item)]
        case _:
            return []


def _output(part: dict[str, Any]) -> Item:
    output: Mapping[str, Any] = part["output"]
    value: Any = output.get("value")
    match output["type"]:
        case "execution-denied":
            said: Any = output.get("reason") or _DENIED
        case "content":
            said = [_content(item) for item in value]
        case _ if isinstance(value, str) or _is_structured(value):
            said = value
        case _:
            said = json.dumps(value, ensure_ascii=False)
    return _call_output(part["toolCallId"], said)


def _call_output(call_id: str, output: Any) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _is_structured(value: Any) -> bool:
    """Whether it is what the SDK makes of a `ToolOutputText`, `ToolOutputImage` or `ToolOutputFileContent`."""
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(item, dict) and cast("Item", item).get("type") in _STRUCTURED for item in cast("list[Any]", value)
    )


def _content(value: Mapping[str, Any]) -> Item:
    if value["type"] == "text":
        return {"type": "input_text", "text": value["text"]}
    data = value.get("url") or value.get("data")
    if data is None:
        return {"type": "input_text", "text": json.dumps(dict(value), ensure_ascii=False)}
    media_type = value.get("mediaType") or ("image/png" if value["type"].startswith("image") else "application/pdf")
    return _file({"mediaType": media_type, "data": data, "filename": value.get("filename")})


def _metadata(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return _given(part.get("providerOptions"), METADATA_KEY)


def _given(options: Any, key: str) -> Mapping[str, Any]:
    found: Any = cast("Mapping[str, Any]", options or {}).get(key)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
