"""Token usage: what a model call, a step or a whole answer consumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Numbers of tokens; None where the provider said nothing.

    Attributes:
        input_tokens: All of the prompt, cached or not.
        output_tokens: All that was generated, reasoning included.
        total_tokens: Both together.
        no_cache_tokens: Of the input, what no cache had.
        cache_read_tokens: Of the input, what was read from a cache.
        cache_write_tokens: Of the input, what was written to a cache.
        text_tokens: Of the output, what is text.
        reasoning_tokens: Of the output, what is reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    no_cache_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    text_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Add field by field; what both miss stays missing, what one misses counts as nothing."""
        return Usage(**{name: _add(getattr(self, name), getattr(other, name)) for name in _NAMES})

    def to_json(self) -> dict[str, Any]:
        """Return the AI SDK's shape, with what is missing left out.

        `{inputTokens, outputTokens, totalTokens, inputTokenDetails: {noCacheTokens, cacheReadTokens,
        cacheWriteTokens}, outputTokenDetails: {textTokens, reasoningTokens}}`.
        """
        result = _present(inputTokens=self.input_tokens, outputTokens=self.output_tokens, totalTokens=self.total_tokens)
        input_details = _present(
            noCacheTokens=self.no_cache_tokens,
            cacheReadTokens=self.cache_read_tokens,
            cacheWriteTokens=self.cache_write_tokens,
        )
        output_details = _present(textTokens=self.text_tokens, reasoningTokens=self.reasoning_tokens)
        if input_details:
            result["inputTokenDetails"] = input_details
        if output_details:
            result["outputTokenDetails"] = output_details
        return result

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Usage:
        """Read what `to_json` wrote."""
        input_details: Mapping[str, Any] = value.get("inputTokenDetails") or {}
        output_details: Mapping[str, Any] = value.get("outputTokenDetails") or {}
        return cls(
            input_tokens=value.get("inputTokens"),
            output_tokens=value.get("outputTokens"),
            total_tokens=value.get("totalTokens"),
            no_cache_tokens=input_details.get("noCacheTokens"),
            cache_read_tokens=input_details.get("cacheReadTokens"),
            cache_write_tokens=input_details.get("cacheWriteTokens"),
            text_tokens=output_details.get("textTokens"),
            reasoning_tokens=output_details.get("reasoningTokens"),
        )

    @classmethod
    def from_finish(cls, usage: Mapping[str, Any] | None) -> Usage:
        """Read the usage of a model's `finish` part, see `chatrt.models.base`."""
        tokens: Mapping[str, Any] = usage or {}
        of_input: Mapping[str, Any] = tokens.get("inputTokens") or {}
        of_output: Mapping[str, Any] = tokens.get("outputTokens") or {}
        return cls(
            input_tokens=of_input.get("total"),
            output_tokens=of_output.get("total"),
            total_tokens=_add(of_input.get("total"), of_output.get("total")),
            no_cache_tokens=of_input.get("noCache"),
            cache_read_tokens=of_input.get("cacheRead"),
            cache_write_tokens=of_input.get("cacheWrite"),
            text_tokens=of_output.get("text"),
            reasoning_tokens=of_output.get("reasoning"),
        )


_NAMES = tuple(field.name for field in fields(Usage))


def _add(first: int | None, second: int | None) -> int | None:
    if first is None and second is None:
        return None
    return (first or 0) + (second or 0)


def _present(**values: int | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
