# The types of the names that `import chatrt` gives.

from chatrt.agent import ChatAgent
from chatrt.attachments import Attachments
from chatrt.client import AgentChat, agent_tool, sub_agent
from chatrt.compaction import CompactEvent, Compaction, CompactionLayer, CompactResult, SummarizedEvent
from chatrt.errors import ChatrtError, PublicError, ToolError
from chatrt.events import (
    ActionEvent,
    BeforeTurnCompleteEvent,
    BootEvent,
    ChatStartEvent,
    CompactedEvent,
    HydrateMessagesEvent,
    PreloadEvent,
    PrepareMessagesEvent,
    RecoveryBootEvent,
    RecoveryPlan,
    ResumeEvent,
    SuspendEvent,
    ToolsEvent,
    TurnCompleteEvent,
    TurnStartEvent,
    ValidateMessagesEvent,
)
from chatrt.file_urls import FileURLs
from chatrt.generate import TextStream, has_tool_call, step_count_is, stream_text, summarize_with
from chatrt.history import History
from chatrt.mcp import MCPTools, mcp_server, mcp_tools
from chatrt.models import FunctionModel, LiteLLMModel, Model, ScriptedModel, Usage, to_litellm
from chatrt.pending_messages import PendingBatch, PendingMessage, PendingMessages
from chatrt.prompt import Prompt, SystemPrompt
from chatrt.prompt_cache import cache_control, cache_last_message, cache_last_tool
from chatrt.run_control import RunControl, current_run
from chatrt.run_locals import Local, local, local_values
from chatrt.runtime import Retention, Session, SessionManager, session_writer
from chatrt.server import Delivery, HeadStartRequest, Webhook, WebhookEvent, create_app, start_head_start
from chatrt.serving import ServedSession, ServedTurn
from chatrt.skills import Skill, load_skills, skill_tools, skills_preamble
from chatrt.tool_call import current_tool
from chatrt.tools import Tool, ToolContext, overlay_tools, tool
from chatrt.turn import PipeResult, Turn, current_turn
from chatrt.ui import ModelMessage, UIMessage, UIMessageChunk

__version__: str

__all__ = [
    "ActionEvent",
    "AgentChat",
    "Attachments",
    "BeforeTurnCompleteEvent",
    "BootEvent",
    "ChatAgent",
    "ChatStartEvent",
    "ChatrtError",
    "CompactEvent",
    "CompactResult",
    "CompactedEvent",
    "Compaction",
    "CompactionLayer",
    "Delivery",
    "FileURLs",
    "FunctionModel",
    "HeadStartRequest",
    "History",
    "HydrateMessagesEvent",
    "LiteLLMModel",
    "Local",
    "MCPTools",
    "Model",
    "ModelMessage",
    "PendingBatch",
    "PendingMessage",
    "PendingMessages",
    "PipeResult",
    "PreloadEvent",
    "PrepareMessagesEvent",
    "Prompt",
    "PublicError",
    "RecoveryBootEvent",
    "RecoveryPlan",
    "ResumeEvent",
    "Retention",
    "RunControl",
    "ScriptedModel",
    "ServedSession",
    "ServedTurn",
    "Session",
    "SessionManager",
    "Skill",
    "SummarizedEvent",
    "SuspendEvent",
    "SystemPrompt",
    "TextStream",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolsEvent",
    "Turn",
    "TurnCompleteEvent",
    "TurnStartEvent",
    "UIMessage",
    "UIMessageChunk",
    "Usage",
    "ValidateMessagesEvent",
    "Webhook",
    "WebhookEvent",
    "__version__",
    "agent_tool",
    "cache_control",
    "cache_last_message",
    "cache_last_tool",
    "create_app",
    "current_run",
    "current_tool",
    "current_turn",
    "has_tool_call",
    "load_skills",
    "local",
    "local_values",
    "mcp_server",
    "mcp_tools",
    "overlay_tools",
    "session_writer",
    "skill_tools",
    "skills_preamble",
    "start_head_start",
    "step_count_is",
    "stream_text",
    "sub_agent",
    "summarize_with",
    "to_litellm",
    "tool",
]
