# The types of the names that `import chatrt.testing` gives.

from chatrt.clock import ManualClock
from chatrt.ids import CountingIds
from chatrt.models.function import FunctionModel
from chatrt.models.permission import allow_model_calls, forbid_model_calls
from chatrt.models.resolve import override_model
from chatrt.models.scripted import ScriptedModel
from chatrt.testing.gate import Gate
from chatrt.testing.harness import ChatHarness
from chatrt.testing.reading import Reader, SentInput, TurnResult
from chatrt.testing.watched_store import LogRecord

__all__ = [
    "ChatHarness",
    "CountingIds",
    "FunctionModel",
    "Gate",
    "LogRecord",
    "ManualClock",
    "Reader",
    "ScriptedModel",
    "SentInput",
    "TurnResult",
    "allow_model_calls",
    "forbid_model_calls",
    "override_model",
]
