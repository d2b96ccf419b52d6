"""chatrt: write an agent as an async function, get durable conversations.

Every public name is looked up when it is first used, so that the command line and small programs do not pay for what
they do not touch. Types are in `__init__.pyi`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "ChatAgent": "chatrt.agent",
    "AgentChat": "chatrt.client",
    "agent_tool": "chatrt.client",
    "sub_agent": "chatrt.client",
    "current_tool": "chatrt.tool_call",
    "ChatrtError": "chatrt.errors",
    "PublicError": "chatrt.errors",
    "ToolError": "chatrt.errors",
    "TextStream": "chatrt.generate",
    "has_tool_call": "chatrt.generate",
    "step_count_is": "chatrt.generate",
    "stream_text": "chatrt.generate",
    "History": "chatrt.history",
    "ActionEvent": "chatrt.events",
    "BeforeTurnCompleteEvent": "chatrt.events",
    "BootEvent": "chatrt.events",
    "ChatStartEvent": "chatrt.events",
    "HydrateMessagesEvent": "chatrt.events",
    "PrepareMessagesEvent": "chatrt.events",
    "ToolsEvent": "chatrt.events",
    "TurnCompleteEvent": "chatrt.events",
    "TurnStartEvent": "chatrt.events",
    "ValidateMessagesEvent": "chatrt.events",
    "MCPTools": "chatrt.mcp",
    "mcp_server": "chatrt.mcp",
    "mcp_tools": "chatrt.mcp",
    "FunctionModel": "chatrt.models",
    "LiteLLMModel": "chatrt.models",
    "Model": "chatrt.models",
    "ScriptedModel": "chatrt.models",
    "Usage": "chatrt.models",
    "to_litellm": "chatrt.models",
    "Session": "chatrt.runtime",
    "Retention": "chatrt.runtime",
    "SessionManager": "chatrt.runtime",
    "session_writer": "chatrt.runtime",
    "create_app": "chatrt.server",
    "HeadStartRequest": "chatrt.server",
    "start_head_start": "chatrt.server",
    "Delivery": "chatrt.server",
    "Webhook": "chatrt.server",
    "WebhookEvent": "chatrt.server",
    "Attachments": "chatrt.attachments",
    "FileURLs": "chatrt.file_urls",
    "Skill": "chatrt.skills",
    "load_skills": "chatrt.skills",
    "skill_tools": "chatrt.skills",
    "skills_preamble": "chatrt.skills",
    "Tool": "chatrt.tools",
    "ToolContext": "chatrt.tools",
    "overlay_tools": "chatrt.tools",
    "tool": "chatrt.tools",
    "Turn": "chatrt.turn",
    "current_turn": "chatrt.turn",
    "ModelMessage": "chatrt.ui",
    "UIMessage": "chatrt.ui",
    "UIMessageChunk": "chatrt.ui",
    "RunControl": "chatrt.run_control",
    "current_run": "chatrt.run_control",
    "Compaction": "chatrt.compaction",
    "CompactionLayer": "chatrt.compaction",
    "CompactEvent": "chatrt.compaction",
    "CompactResult": "chatrt.compaction",
    "SummarizedEvent": "chatrt.compaction",
    "CompactedEvent": "chatrt.events",
    "summarize_with": "chatrt.generate",
    "Local": "chatrt.run_locals",
    "local": "chatrt.run_locals",
    "local_values": "chatrt.run_locals",
    "Prompt": "chatrt.prompt",
    "SystemPrompt": "chatrt.prompt",
    "cache_control": "chatrt.prompt_cache",
    "cache_last_message": "chatrt.prompt_cache",
    "cache_last_tool": "chatrt.prompt_cache",
    "PendingMessages": "chatrt.pending_messages",
    "PendingBatch": "chatrt.pending_messages",
    "PendingMessage": "chatrt.pending_messages",
    "RecoveryBootEvent": "chatrt.events",
    "RecoveryPlan": "chatrt.events",
    "PreloadEvent": "chatrt.events",
    "SuspendEvent": "chatrt.events",
    "ResumeEvent": "chatrt.events",
    "ServedSession": "chatrt.serving",
    "ServedTurn": "chatrt.serving",
    "PipeResult": "chatrt.turn",
}

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
