"""The steps of an answer while another library makes it: where they begin and end, and what the run gave at last."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_jsonable_python

from chatrt.ui import UIMessageChunk


class Steps:
    """Opens and closes the steps of one answer.

    Attributes:
        has_calls: Whether the step called tools.
    """

    def __init__(self) -> None:
        self.has_calls = False
        self._open = False

    def begin(self) -> list[UIMessageChunk]:
        """Begin the next step; the one before ends."""
        ended = self.end()
        self._open, self.has_calls = True, False
        return [*ended, {"type": "start-step"}]

    def end(self) -> list[UIMessageChunk]:
        """End the step that is open, if one is."""
        was_open, self._open = self._open, False
        return [{"type": "finish-step"}] if was_open else []

    def output(self, value: Any) -> list[UIMessageChunk]:
        """Return the chunks of a final output that is no text of the model: a `data-output` part.

        Behind tool calls it is a step of its own. A message that ends with a step of answered calls looks unfinished:
        clients (`lastAssistantMessageIsCompleteWithToolCalls`) send it back to be continued.
        """
        border = self.begin() if self.has_calls else []
        return [*border, {"type": "data-output", "data": to_json_value(value)}]


def to_json_value(value: Any) -> Any:
    """Return a value of any type as JSON: models and dataclasses as objects, bytes as base64, the unknown as text."""
    return to_jsonable_python(value, by_alias=True, bytes_mode="base64", serialize_unknown=True)
