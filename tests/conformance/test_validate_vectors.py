"""`validate_ui_messages` takes, strips and refuses what `safeValidateUIMessages` of the real AI SDK does."""

import pytest

from chatrt.errors import InvalidMessageError
from chatrt.ui import validate_ui_messages

VECTORS = "validate_ui_messages"


def a_number(value):
    """The one tool schema of the vectors: an object whose `a` is a number."""
    if not isinstance(value, dict) or not isinstance(value.get("a"), int | float) or isinstance(value["a"], bool):
        raise TypeError("expected an object whose a is a number")
    return value


def test_messages_are_taken_stripped_or_refused_as_by_the_ai_sdk(case):
    """Messages are valid exactly when the AI SDK says so, and come back with the same keys."""
    names = case.get("options", {}).get("tools")
    tools = None if names is None else dict.fromkeys(names, a_number)
    if case["ok"]:
        assert validate_ui_messages(case["messages"], tools=tools) == case["data"]
    else:
        with pytest.raises(InvalidMessageError):
            validate_ui_messages(case["messages"], tools=tools)
