"""From a message back to chunks: what a client that joins late needs to have the message as it stood.

The chunks follow a `start`. Reduced by the AI SDK (v5, v6 and v7) they give the parts the message has. Chunks of a type
that a client does not know yet (`tool-approval-request` before v6, `tool-approval-response`, `custom`,
`reasoning-file` before v7, `steering-message` before 7.0.163) may be left out for it; the others hold together without.

Tool calls that are settled come as a streamed input and an output, so that no client takes them for new calls
(`onToolCall`). What the chunks build differs from the message in this, and in nothing else:

* a text or reasoning without `state` gets `done`, a reasoning without `id` gets one; `citations` of a text that still
  streams are lost, as are `filename` and `providerReference` of a file;
* data parts keep `type`, `id` and `data` only, because strict older clients refuse more; of two with the same type and
  id the later one loses its id;
* tool calls: an input that still streams is made anew from its `rawInput`, or the other way round; `rawInput` stays on
  `output-denied` and static `output-error` parts;
  `dynamic: false` is lost; so is what the part's state has no place for (an output of a denied call), and an input or
  output that the state asks for and the part has not is null;
* two calls of one step with the same id, or two approvals with the same id, may get each other's outcome.
"""

from __future__ import annotations

import json
from typing import Any, cast

from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.messages import UIMessage, UIPart, get_tool_name, is_tool_part

_WHOLE_PARTS = {
    "file": ("url", "mediaType", "providerMetadata"),
    "reasoning-file": ("url", "mediaType", "providerMetadata"),
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}


def rebuild_chunks(message: UIMessage) -> list[UIMessageChunk]:
    """Return chunks that build this message's parts and metadata after a `start`; see the module for what differs."""
    chunks: list[UIMessageChunk] = []
    if message.get("metadata") is not None:
        chunks.append(_chunk("message-metadata", messageMetadata=message.get("metadata")))
    in_step = False
    data_ids: set[tuple[str, str | None]] = set()
    for index, part in enumerate(message["parts"]):
        kind = part["type"]
        if kind == "step-start":
            if in_step:
                chunks.append(_chunk("finish-step"))
            chunks.append(_chunk("start-step"))
            in_step = True
        elif kind in ("text", "reasoning"):
            chunks += _block(part, part.get("id") or f"replay-{index}")
        elif kind.startswith("data-"):
            chunks.append(_data(part, data_ids))
        elif is_tool_part(part):
            chunks += _tool_call(part)
        elif kind in _WHOLE_PARTS:
            chunks.append(_chunk(kind, **_given(part, *_WHOLE_PARTS[kind])))
    if in_step:
        chunks.append(_chunk("finish-step"))
    return chunks


def _block(part: UIPart, block_id: str) -> list[UIMessageChunk]:
    kind = part["type"]
    chunks = [_chunk(f"{kind}-start", id=block_id, **_given(part, "providerMetadata"))]
    if part["text"]:
        chunks.append(_chunk(f"{kind}-delta", id=block_id, delta=part["text"]))
    if part.get("state") != "streaming":
        chunks.append(_chunk(f"{kind}-end", id=block_id, **_given(part, "citations")))
    return chunks


def _data(part: UIPart, seen: set[tuple[str, str | None]]) -> UIMessageChunk:
    key = (part["type"], part.get("id"))
    if key[1] is None or key in seen:
        return _chunk(part["type"], data=part["data"])
    seen.add(key)
    return _chunk(part["type"], id=part["id"], data=part["data"])


def _tool_call(part: UIPart) -> list[UIMessageChunk]:
    """Return the chunks of one tool call, on the way that leads to its state."""
    state = part["state"]
    approval = _approval(part)
    if state == "input-streaming":
        # An approval asked for while the input still streams; the second start leads back to streaming.
        again = [_input_start(part)] if approval else []
        return [_input_start(part), *approval, *again, *_input_deltas(part)]
    if state == "input-available":
        return [_input_start(part), *approval, _input_available(part)] if approval else [_input_available(part)]
    if state in ("approval-requested", "approval-responded"):
        return [_input_available(part), *approval]
    return [_input_start(part), *_input_deltas(part), *approval, _outcome(part)]


def _input_start(part: UIPart) -> UIMessageChunk:
    encoding = _given(part, "inputEncoding") if part["state"] == "input-streaming" else {}
    return _chunk("tool-input-start", **_call(part), **encoding)


def _input_deltas(part: UIPart) -> list[UIMessageChunk]:
    raw = part.get("rawInput")
    if part["state"] == "input-streaming" and isinstance(raw, str):
        text = raw
    elif "input" in part:
        # ASCII, so that half a surrogate pair in an input survives every encoder on the way.
        text = json.dumps(part["input"], separators=(",", ":"))
    elif raw is not None:
        text = raw if isinstance(raw, str) else json.dumps(raw, separators=(",", ":"))
    else:
        return []
    return [_chunk("tool-input-delta", toolCallId=part["toolCallId"], inputTextDelta=text)]


def _input_available(part: UIPart) -> UIMessageChunk:
    return _chunk("tool-input-available", **_call(part), input=part.get("input"))


def _call(part: UIPart) -> dict[str, Any]:
    call = {"toolCallId": part["toolCallId"], "toolName": get_tool_name(part)}
    call |= _given(part, "providerExecuted", "title", "toolMetadata")
    if part["type"] == "dynamic-tool":
        call["dynamic"] = True
    if "callProviderMetadata" in part:
        call["providerMetadata"] = part["callProviderMetadata"]
    return call


def _approval(part: UIPart) -> list[UIMessageChunk]:
    approval = part.get("approval")
    if not approval:
        return []
    request = _chunk("tool-approval-request", approvalId=approval["id"], toolCallId=part["toolCallId"])
    names = {"descriptor": "approvalDescriptor", "requestReason": "reason"}
    for key in ("descriptor", "requestReason", "isAutomatic", "signature", "inputSchemaInput"):
        if key in approval:
            request[names.get(key, key)] = approval[key]
    if "approved" not in approval:
        return [request]
    response = _chunk("tool-approval-response", approvalId=approval["id"], approved=approval["approved"])
    if "reason" in approval:
        response["reason"] = approval["reason"]
    return [request, response]


def _outcome(part: UIPart) -> UIMessageChunk:
    tool_call_id, state = part["toolCallId"], part["state"]
    if state == "output-denied":
        return _chunk("tool-output-denied", toolCallId=tool_call_id)
    # v5 finds a dynamic part only by this flag; later versions do not look at it.
    common: dict[str, Any] = {"dynamic": True} if part["type"] == "dynamic-tool" else {}
    if "resultProviderMetadata" in part:
        common["providerMetadata"] = part["resultProviderMetadata"]
    if state == "output-error":
        return _chunk("tool-output-error", toolCallId=tool_call_id, errorText=part.get("errorText", ""), **common)
    common |= _given(part, "preliminary")
    return _chunk("tool-output-available", toolCallId=tool_call_id, output=part.get("output"), **common)


def _chunk(kind: str, /, **fields: Any) -> UIMessageChunk:
    return cast("UIMessageChunk", {"type": kind, **fields})


def _given(source: UIPart, *keys: str) -> dict[str, Any]:
    return {key: source[key] for key in keys if source.get(key) is not None}
