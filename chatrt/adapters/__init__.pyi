# The types of the names that `chatrt.adapters` gives.

from chatrt.adapters.openai_agents import stream_openai_agents
from chatrt.adapters.openai_agents_messages import to_openai_agents
from chatrt.adapters.pydantic_ai import stream_pydantic_ai
from chatrt.adapters.pydantic_ai_messages import to_pydantic_ai

__all__ = ["stream_openai_agents", "stream_pydantic_ai", "to_openai_agents", "to_pydantic_ai"]
