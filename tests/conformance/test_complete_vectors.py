"""The completeness predicates answer as those of the real AI SDK."""

from chatrt.ui import (
    last_assistant_message_is_complete_with_approval_responses,
    last_assistant_message_is_complete_with_tool_calls,
)

VECTORS = "last_assistant_complete"


def test_tool_calls_are_complete_when_the_ai_sdk_says_so(case):
    """Complete with tool calls means the same as in the AI SDK."""
    assert last_assistant_message_is_complete_with_tool_calls(case["messages"]) is case["withToolCalls"]


def test_approval_responses_are_complete_when_the_ai_sdk_says_so(case):
    """Complete with approval responses means the same as in the AI SDK."""
    complete = last_assistant_message_is_complete_with_approval_responses(case["messages"])
    assert complete is case["withApprovalResponses"]
