"""From the chunks litellm streams to model parts: blocks opened and closed, reasoning signed, odd deltas put in order.

What one provider sends in `thinking_blocks` another sends in `reasoning_content`, `reasoning` or
`provider_specific_fields`; here all of it becomes reasoning parts. A signature is kept in `providerMetadata` under the
family of the model (`{"anthropic": {"signature"}}`, `{"anthropic": {"redactedData"}}`), for `to_litellm` to replay.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from chatrt.ids import Ids, RandomIds
from chatrt.models.base import ModelPart
from chatrt.models.litellm_tool_calls import ToolCallAssembler
from chatrt.models.text_mender import TextMender

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "error": "error",
}


class ChunkAssembler:
    """Turns the chunks of one call into model parts; feed it every chunk, then `finish` once.

    Args:
        family: Under which key signatures are kept, see `litellm_messages.provider_family`.
        taken_ids: Ids of tool calls the prompt holds already; a call that repeats one gets another.
        ids: Makes ids for calls that come without one.
    """

    def __init__(self, *, family: str = "", taken_ids: Collection[str] = (), ids: Ids | None = None) -> None:
        self._family = family
        self._ids = ids or RandomIds()
        self._mender = TextMender()
        self._calls = ToolCallAssembler(taken_ids=taken_ids, ids=self._ids)
        self._open: tuple[str, str] | None = None  # ("text" | "reasoning", id)
        self._blocks = 0
        self._introduced = False
        self._cited: set[str] = set()
        self.has_content = False
        self.finish_reason: str | None = None

    def feed(self, chunk: Any) -> list[ModelPart]:
        """Return the parts that this `ModelResponseStream` of litellm adds."""
        parts: list[ModelPart] = []
        choices: list[Any] = getattr(chunk, "choices", None) or []
        if not self._introduced:
            self._introduced = True
            parts.append(_metadata(chunk))
        for url in getattr(chunk, "citations", None) or ():
            self._cite(parts, url, None)
        if choices:
            self.finish_reason = getattr(choices[0], "finish_reason", None) or self.finish_reason
            self._take(parts, choices[0].delta)
        return parts

    def finish(self, *, raw: str | None, usage: Any) -> list[ModelPart]:
        """Close what is open and say why the model stopped.

        Args:
            raw: The provider's own word for why, if it is known; else what the chunks said.
            usage: What the provider reported (litellm's `Usage`), or None.
        """
        parts: list[ModelPart] = []
        self._close(parts)
        parts += self._calls.finish()
        raw = raw or self.finish_reason
        unified = _FINISH_REASONS.get(raw or "", "other")
        if unified == "stop" and self._calls.count:
            unified = "tool-calls"  # as ollama and others have it; a loop must not end on an open call
        reason = {"unified": unified} if raw is None else {"unified": unified, "raw": raw}
        parts.append({"type": "finish", "finishReason": reason, "usage": read_usage(usage)})
        return parts

    def _take(self, parts: list[ModelPart], delta: Any) -> None:
        if delta is None:
            return
        fields: Mapping[str, Any] = getattr(delta, "provider_specific_fields", None) or {}
        blocks = getattr(delta, "thinking_blocks", None) or fields.get("thinking_blocks")
        if blocks and self._family != "google":  # Gemini's hold whole function calls; its signatures ride on the calls
            for block in cast("Iterable[Mapping[str, Any]]", blocks):
                self._think(parts, block)
        else:
            self._say(parts, "reasoning", _plain_reasoning(delta, fields))
        self._say(parts, "text", getattr(delta, "content", None))
        for call in getattr(delta, "tool_calls", None) or ():
            self._close(parts)
            self.has_content = True
            parts += self._calls.feed(call)
        for image in getattr(delta, "images", None) or ():
            self._picture(parts, image)
        for annotation in getattr(delta, "annotations", None) or ():
            self._cite_from(parts, annotation.get("url_citation"))
        self._cite_from(parts, fields.get("citation"))

    def _think(self, parts: list[ModelPart], block: Mapping[str, Any]) -> None:
        if block.get("type") == "redacted_thinking":
            self._close(parts)
            self._start(parts, "reasoning", {"redactedData": block.get("data")})
            self._close(parts)
            return
        self._say(parts, "reasoning", block.get("thinking"))
        signature = block.get("signature")
        if signature:
            # A block ends with its signature. One without text still counts: the provider wants it back in its place.
            if self._open is None or self._open[0] != "reasoning":
                self._close(parts)
                self._start(parts, "reasoning")
            self._close(parts, {"signature": signature})

    def _say(self, parts: list[ModelPart], kind: str, text: Any) -> None:
        if not text or not isinstance(text, str):
            return
        if self._open is None or self._open[0] != kind:
            self._close(parts)
            self._start(parts, kind)
        text = self._mender.mend(text)
        if text and self._open is not None:
            parts.append({"type": f"{kind}-delta", "id": self._open[1], "delta": text})

    def _start(self, parts: list[ModelPart], kind: str, metadata: Mapping[str, Any] | None = None) -> None:
        self.has_content = True
        block_id = f"{kind}-{self._blocks}"
        self._blocks += 1
        self._open = (kind, block_id)
        parts.append(self._signed({"type": f"{kind}-start", "id": block_id}, metadata))

    def _close(self, parts: list[ModelPart], metadata: Mapping[str, Any] | None = None) -> None:
        if self._open is None:
            return
        kind, block_id = self._open
        self._open = None
        if rest := self._mender.rest():
            parts.append({"type": f"{kind}-delta", "id": block_id, "delta": rest})
        parts.append(self._signed({"type": f"{kind}-end", "id": block_id}, metadata))

    def _signed(self, part: ModelPart, metadata: Mapping[str, Any] | None) -> ModelPart:
        if metadata is not None:
            part["providerMetadata"] = {self._family: dict(metadata)}
        return part

    def _cite_from(self, parts: list[ModelPart], citation: Mapping[str, Any] | None) -> None:
        if citation:
            self._cite(parts, citation.get("url"), citation.get("title"))

    def _cite(self, parts: list[ModelPart], url: Any, title: Any) -> None:
        if not isinstance(url, str) or not url or url in self._cited:
            return
        self._cited.add(url)
        part: ModelPart = {"type": "source", "sourceType": "url", "id": self._ids.new("source"), "url": url}
        if isinstance(title, str) and title:
            part["title"] = title
        parts.append(part)

    def _picture(self, parts: list[ModelPart], image: Mapping[str, Mapping[str, str]]) -> None:
        url = image["image_url"]["url"] if "image_url" in image else ""
        found = re.fullmatch(r"data:([^;,]+);base64,(.*)", url, re.DOTALL)
        if found:
            self._close(parts)
            self.has_content = True
            parts.append({"type": "file", "mediaType": found[1], "data": found[2]})


def read_usage(usage: Any) -> dict[str, Any]:
    """Turn litellm's `Usage` into the usage of a `finish` part (LanguageModelV3); what is unknown is absent.

    Numbers are tokens. `inputTokens.total` includes what was read from and written to the provider's cache.
    """
    total = _count(usage, "prompt_tokens")
    details = getattr(usage, "prompt_tokens_details", None)
    read = _count(details, "cached_tokens")
    written = _count(details, "cache_creation_tokens")
    output = _count(usage, "completion_tokens")
    reasoning = _count(getattr(usage, "completion_tokens_details", None), "reasoning_tokens")
    fresh = None if total is None or read is None else max(total - read - (written or 0), 0)
    text = None if output is None or reasoning is None else max(output - reasoning, 0)
    return {
        "inputTokens": _known(total=total, noCache=fresh, cacheRead=read, cacheWrite=written),
        "outputTokens": _known(total=output, text=text, reasoning=reasoning),
    }


def _known(**counts: int | None) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count is not None}


def _count(holder: Any, name: str) -> int | None:
    value = getattr(holder, name, None)
    return value if isinstance(value, int) and value >= 0 else None


def _metadata(chunk: Any) -> ModelPart:
    part: ModelPart = {"type": "response-metadata"}
    for key, name in (("id", "id"), ("modelId", "model")):
        value = getattr(chunk, name, None)
        if isinstance(value, str) and value:
            part[key] = value
    return part


def _plain_reasoning(delta: Any, fields: Mapping[str, Any]) -> Any:
    return (
        getattr(delta, "reasoning_content", None)
        or getattr(delta, "reasoning", None)
        or fields.get("reasoning_content")
        or fields.get("reasoning")
    )
