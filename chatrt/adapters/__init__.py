"""Other agent libraries as the run function: what their agents stream becomes chunks, what a chat holds their history.

Such an agent is not steered between its steps: what people say while it runs is the next turn.

Each adapter needs its library and is loaded when it is first used:

    stream_pydantic_ai   pydantic-ai            pip install "chatrt[pydantic-ai]"
    stream_openai_agents the OpenAI Agents SDK  pip install "chatrt[openai-agents]"
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "stream_pydantic_ai": "chatrt.adapters.pydantic_ai",
    "to_pydantic_ai": "chatrt.adapters.pydantic_ai_messages",
    "stream_openai_agents": "chatrt.adapters.openai_agents",
    "to_openai_agents": "chatrt.adapters.openai_agents_messages",
}

__all__ = [
    "stream_openai_agents",  # pyright: ignore[reportUnsupportedDunderAll]
    "stream_pydantic_ai",  # pyright: ignore[reportUnsupportedDunderAll]
    "to_openai_agents",  # pyright: ignore[reportUnsupportedDunderAll]
    "to_pydantic_ai",  # pyright: ignore[reportUnsupportedDunderAll]
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
