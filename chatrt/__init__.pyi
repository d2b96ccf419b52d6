from chatrt.agent import ChatAgent as ChatAgent
from chatrt.client import AgentChat as AgentChat
from chatrt.errors import ChatrtError as ChatrtError
from chatrt.errors import PublicError as PublicError
from chatrt.errors import ToolError as ToolError
from chatrt.generate import (
    TextStream as TextStream,
)
from chatrt.generate import (
    has_tool_call as has_tool_call,
)
from chatrt.generate import (
    step_count_is as step_count_is,
)
from chatrt.generate import (
    stream_text as stream_text,
)
from chatrt.history import History as History
from chatrt.hooks import (
    ActionEvent as ActionEvent,
)
from chatrt.hooks import (
    BeforeTurnCompleteEvent as BeforeTurnCompleteEvent,
)
from chatrt.hooks import (
    BootEvent as BootEvent,
)
from chatrt.hooks import (
    ChatStartEvent as ChatStartEvent,
)
from chatrt.hooks import (
    HydrateMessagesEvent as HydrateMessagesEvent,
)
from chatrt.hooks import (
    PrepareMessagesEvent as PrepareMessagesEvent,
)
from chatrt.hooks import (
    ToolsEvent as ToolsEvent,
)
from chatrt.hooks import (
    TurnCompleteEvent as TurnCompleteEvent,
)
from chatrt.hooks import (
    TurnStartEvent as TurnStartEvent,
)
from chatrt.hooks import (
    ValidateMessagesEvent as ValidateMessagesEvent,
)
from chatrt.models import (
    FunctionModel as FunctionModel,
)
from chatrt.models import (
    LiteLLMModel as LiteLLMModel,
)
from chatrt.models import (
    Model as Model,
)
from chatrt.models import (
    ScriptedModel as ScriptedModel,
)
from chatrt.models import (
    Usage as Usage,
)
from chatrt.runtime import Session as Session
from chatrt.runtime import SessionManager as SessionManager
from chatrt.server import create_app as create_app
from chatrt.tools import Tool as Tool
from chatrt.tools import ToolContext as ToolContext
from chatrt.tools import tool as tool
from chatrt.turn import Turn as Turn
from chatrt.turn import current_turn as current_turn
from chatrt.ui import ModelMessage as ModelMessage
from chatrt.ui import UIMessage as UIMessage
from chatrt.ui import UIMessageChunk as UIMessageChunk

__version__: str
