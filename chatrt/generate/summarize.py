"""summarize_with: a model that summarizes a conversation, for compaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from chatrt.compaction import CompactEvent
from chatrt.generate.stop import step_count_is
from chatrt.generate.stream import stream_text
from chatrt.models import Model
from chatrt.turn import find_current_turn
from chatrt.ui import ModelMessage

INSTRUCTIONS = """Summarize the conversation above, so that it can go on from your summary alone.
Keep what the user wants and has said about how, what was decided and why, what was found out (names, numbers, ids, \
paths, results of tools, in their exact form), what was tried and failed, and what is still to be done.
Write the summary only: do not answer, do not call tools, do not speak to the user."""


def summarize_with(
    model: str | Model, *, instructions: str | None = None, **model_settings: Any
) -> Callable[[CompactEvent], Awaitable[str]]:
    """Return a `summarize` for `Compaction`: the model is shown the messages and asked to summarize them.

    It is also told of the tools of the turn, because some providers refuse tool calls in a prompt without them, but it
    cannot run any. Its tokens are not part of the turn's usage.

    Args:
        model: A litellm name or a model; a small one often does.
        instructions: What to ask for, instead of `INSTRUCTIONS`.
        **model_settings: As for `stream_text`: `max_tokens`, `temperature`, ...
    """

    async def summarize(event: CompactEvent) -> str:
        request: ModelMessage = {"role": "user", "content": [{"type": "text", "text": instructions or INSTRUCTIONS}]}
        turn = find_current_turn()
        tools = [] if turn is None else [replace(tool, body=None, needs_approval=False) for tool in turn.tools]
        settings: dict[str, Any] = {"tool_choice": "none", **model_settings} if tools else model_settings
        messages = [*event.messages, request]
        return await stream_text(model, messages, tools=tools, stop_when=step_count_is(1), **settings).text()

    return summarize
