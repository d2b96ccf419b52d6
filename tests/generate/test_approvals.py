"""stream_text: carrying out what people approved and denied since the last step."""

import pytest

from chatrt.errors import InvalidMessageError
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.tools import ApprovalDecision, Tool


def asked(*calls):
    """An assistant row whose calls wait for approval: (tool call id, approval id) each."""
    content = []
    for call_id, approval_id in calls:
        content += [
            {"type": "tool-call", "toolCallId": call_id, "toolName": "send", "input": {"to": call_id}},
            {"type": "tool-approval-request", "approvalId": approval_id, "toolCallId": call_id},
        ]
    return {"role": "assistant", "content": content}


def answered(*answers, results=()):
    """A tool row with decisions: (approval id, approved) each."""
    content = [
        {"type": "tool-approval-response", "approvalId": approval_id, "approved": approved}
        for approval_id, approved in answers
    ]
    return {"role": "tool", "content": [*content, *results]}


class Sending:
    """A tool that notes what it sent."""

    def __init__(self, **options):
        self.sent = []
        self.tool = Tool.from_schema("send", "", {"type": "object", "required": ["to"]}, self._execute, **options)

    async def _execute(self, value, context):
        self.sent.append(value["to"])
        return {"sent": True}


async def play(messages, sending, tools=None):
    model = ScriptedModel(["ok"])
    stream = stream_text(model, messages, tools=[sending.tool] if tools is None else tools)
    chunks = [chunk async for chunk in stream]
    before_step = chunks[1 : [chunk["type"] for chunk in chunks].index("start-step")]
    return before_step, model.requests[0].messages


async def test_an_approved_call_runs_before_the_first_step():
    """Its output is the first thing said, and the model sees it as the call's result."""
    sending = Sending(needs_approval=True)
    chunks, prompt = await play([asked(("c1", "a1")), answered(("a1", True))], sending)
    assert chunks == [{"type": "tool-output-available", "toolCallId": "c1", "output": {"sent": True}}]
    assert sending.sent == ["c1"]
    assert [part["type"] for part in prompt[0]["content"]] == ["tool-call"]
    assert prompt[1]["content"][0]["output"] == {"type": "json", "value": {"sent": True}}


async def test_denials_are_said_first():
    """Denied calls come first, then the outputs of approved ones."""
    sending = Sending(needs_approval=True)
    chunks, prompt = await play([asked(("c1", "a1"), ("c2", "a2")), answered(("a1", True), ("a2", False))], sending)
    assert [(chunk["type"], chunk["toolCallId"]) for chunk in chunks] == [
        ("tool-output-denied", "c2"),
        ("tool-output-available", "c1"),
    ]
    assert sending.sent == ["c1"]
    denied = [part["output"] for part in prompt[1]["content"] if part["toolCallId"] == "c2"]
    assert denied == [{"type": "execution-denied"}]


async def test_only_the_first_answer_for_a_call_counts():
    """A second answer neither runs it twice nor turns a denial."""
    sending = Sending(needs_approval=True)
    chunks, _ = await play([asked(("c1", "a1")), answered(("a1", False), ("a1", True))], sending)
    assert [chunk["type"] for chunk in chunks] == ["tool-output-denied"]
    assert sending.sent == []


async def test_a_call_that_has_its_result_is_not_run_again():
    """An approval that was carried out is history."""
    result = {"type": "tool-result", "toolCallId": "c1", "toolName": "send", "output": {"type": "json", "value": 1}}
    sending = Sending(needs_approval=True)
    chunks, _ = await play([asked(("c1", "a1")), answered(("a1", True), results=[result])], sending)
    assert chunks == []
    assert sending.sent == []


async def test_answers_are_history_once_something_was_said_after_them():
    """Only the last row is looked at."""
    sending = Sending(needs_approval=True)
    messages = [asked(("c1", "a1")), answered(("a1", True)), {"role": "user", "content": "never mind"}]
    chunks, _ = await play(messages, sending)
    assert chunks == []
    assert sending.sent == []


async def test_the_policy_is_asked_again():
    """What policy denies by now is denied, whatever a person approved."""
    sending = Sending(needs_approval=lambda value, context: ApprovalDecision.deny("too late"))
    chunks, prompt = await play([asked(("c1", "a1")), answered(("a1", True))], sending)
    assert [chunk["type"] for chunk in chunks] == ["tool-output-denied"]
    assert prompt[1]["content"][0]["output"] == {"type": "execution-denied", "reason": "too late"}
    assert sending.sent == []


async def test_a_policy_that_fails_lets_nothing_run():
    """An exception in the predicate is the call's failure."""

    def policy(value, context):
        raise OSError("down")

    sending = Sending(needs_approval=policy)
    chunks, prompt = await play([asked(("c1", "a1")), answered(("a1", True))], sending)
    assert [chunk["type"] for chunk in chunks] == ["tool-output-error"]
    assert prompt[1]["content"][0]["output"] == {"type": "error-text", "value": "OSError: down"}
    assert sending.sent == []


async def test_a_tool_that_is_gone_cannot_be_run():
    """An approved call of a tool that is no longer offered fails visibly."""
    sending = Sending(needs_approval=True)
    chunks, prompt = await play([asked(("c1", "a1")), answered(("a1", True))], sending, tools=[])
    assert [chunk["type"] for chunk in chunks] == ["tool-output-error"]
    assert "AI_NoSuchToolError" in prompt[1]["content"][0]["output"]["value"]


async def test_input_is_checked_again():
    """An approved call whose input does not fit the tool fails without being run."""
    row = asked(("c1", "a1"))
    row["content"][0]["input"] = {"from": "x"}
    sending = Sending(needs_approval=True)
    chunks, _ = await play([row, answered(("a1", True))], sending)
    assert "AI_InvalidToolInputError" in chunks[0]["errorText"]
    assert sending.sent == []


@pytest.mark.parametrize(
    "messages",
    [
        [answered(("a1", True))],
        [
            {
                "role": "assistant",
                "content": [{"type": "tool-approval-request", "approvalId": "a1", "toolCallId": "c1"}],
            },
            answered(("a1", True)),
        ],
    ],
    ids=["no request", "no call"],
)
async def test_an_answer_to_nothing_is_refused(messages):
    """An approval proves nothing without the request and the call it is about."""
    with pytest.raises(InvalidMessageError):
        await play(messages, Sending())
