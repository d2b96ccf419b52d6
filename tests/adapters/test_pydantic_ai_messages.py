"""The history of a chat as pydantic-ai's messages."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic_ai.messages import (
    BinaryContent,
    BinaryImage,
    DocumentUrl,
    FilePart,
    ImageUrl,
    ModelRequest,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UploadedFile,
    UserPromptPart,
)

from chatrt.adapters import to_pydantic_ai
from chatrt.adapters.decisions import read_prompt
from chatrt.adapters.pydantic_ai_messages import deferred_results
from chatrt.errors import MessageConversionError

PNG = base64.b64encode(b"\x89PNG").decode()


def assistant(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def called(name: str = "add", call_id: str = "c", **keys: Any) -> dict[str, Any]:
    return {"type": "tool-call", "toolCallId": call_id, "toolName": name, "input": {"a": 1}, **keys}


def result(output: dict[str, Any], name: str = "add", call_id: str = "c", **keys: Any) -> dict[str, Any]:
    return {"type": "tool-result", "toolCallId": call_id, "toolName": name, "output": output, **keys}


def returned(output: dict[str, Any]) -> Any:
    """The return part of a call with that output."""
    rows: Any = [assistant(called()), {"role": "tool", "content": [result(output)]}]
    return to_pydantic_ai(rows)[1].parts[0]


def test_ui_messages_are_taken_too():
    """UI messages are converted as a turn converts them."""
    messages: Any = [
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]},
        {"id": "2", "role": "assistant", "parts": [{"type": "text", "text": "hello", "state": "done"}]},
    ]

    request, response = to_pydantic_ai(messages)

    assert isinstance(request, ModelRequest)
    assert isinstance(response, ModelResponse)
    assert (request.parts[0].content, response.text) == ("hi", "hello")


def test_system_rows_are_system_prompts():
    """A system row of the history is one for the agent."""
    rows: Any = [{"role": "system", "content": "Be brief."}]

    assert isinstance(to_pydantic_ai(rows)[0].parts[0], SystemPromptPart)


@pytest.mark.parametrize(
    ("media_type", "data", "expected"),
    [
        ("image/png", {"type": "url", "url": f"data:image/png;base64,{PNG}"}, BinaryImage),
        ("text/plain", {"type": "url", "url": "data:text/plain,hello"}, BinaryContent),
        ("image/png", {"type": "url", "url": "https://x.org/a.png"}, ImageUrl),
        ("application/pdf", {"type": "url", "url": "https://x.org/a.pdf"}, DocumentUrl),
        ("image/png", PNG, BinaryContent),
        ("application/pdf", {"type": "reference", "reference": {"openai": "file-1"}}, UploadedFile),
    ],
)
def test_a_users_files(media_type: str, data: Any, expected: type):
    """Files come as data, as a URL, or by reference, beside the text."""
    content = [{"type": "text", "text": "see"}, {"type": "file", "mediaType": media_type, "data": data}]
    rows: Any = [{"role": "user", "content": content}]

    part = to_pydantic_ai(rows)[0].parts[0]

    assert isinstance(part, UserPromptPart)
    assert part.content[0] == "see"
    assert isinstance(part.content[1], expected)


def test_a_file_that_cannot_be_read_is_named():
    """Base64 that is none is an error of the conversion."""
    data = {"type": "url", "url": "data:image/png;base64,a"}
    rows: Any = [{"role": "user", "content": [{"type": "file", "mediaType": "image/png", "data": data}]}]

    with pytest.raises(MessageConversionError, match="image/png"):
        to_pydantic_ai(rows)


def test_reasoning_goes_back_with_its_signature():
    """What a provider gave with its thinking is on the part again."""
    kept = {"signature": "sig", "id": "r1", "provider_name": "anthropic", "provider_details": {"x": 1}}
    rows: Any = [
        assistant({"type": "reasoning", "text": "hm", "providerOptions": {"pydantic_ai": kept}}),
    ]

    part = to_pydantic_ai(rows)[0].parts[0]

    assert isinstance(part, ThinkingPart)
    assert (part.content, part.signature, part.id, part.provider_name) == ("hm", "sig", "r1", "anthropic")
    assert part.provider_details == {"x": 1}


def test_reasoning_of_others_has_no_signature():
    """Metadata that another library left is not pydantic-ai's to send."""
    kept = {"anthropic": {"signature": "sig"}}
    rows: Any = [assistant({"type": "reasoning", "text": "hm", "providerOptions": kept})]

    assert to_pydantic_ai(rows)[0].parts[0].signature is None


def test_whose_keys_a_response_was_made_with():
    """The system that can read a response's signatures is on the response again."""
    kept = {"signature": "s", "provider_name": "openai-codex", "canonical_system": "openai"}
    rows: Any = [assistant({"type": "reasoning", "text": "", "providerOptions": {"pydantic_ai": kept}})]

    response = to_pydantic_ai(rows)[0]

    assert (response.provider_name, response.canonical_system) == ("openai-codex", "openai")


def test_what_a_model_said():
    """Texts, files, calls and tools that the provider ran stand in the order they were said."""
    native = called("web_search", "n", providerExecuted=True)
    found = result({"type": "json", "value": [1]}, "web_search", "n")
    image = {"type": "file", "mediaType": "image/png", "data": {"type": "url", "url": f"data:image/png;base64,{PNG}"}}
    rows: Any = [
        assistant({"type": "text", "text": "look"}, native, found, image, called()),
        {"role": "tool", "content": [result({"type": "json", "value": 3})]},
    ]

    parts = to_pydantic_ai(rows)[0].parts

    kinds = [TextPart, NativeToolCallPart, NativeToolReturnPart, FilePart, ToolCallPart]
    assert [type(part) for part in parts] == kinds
    assert (parts[2].content, parts[3].content.data, parts[4].args) == ([1], b"\x89PNG", {"a": 1})


@pytest.mark.parametrize(
    ("output", "content", "outcome"),
    [
        ({"type": "text", "value": "3"}, "3", "success"),
        ({"type": "json", "value": {"n": 3}}, {"n": 3}, "success"),
        ({"type": "error-text", "value": "no"}, "no", "failed"),
        ({"type": "error-json", "value": {"no": 1}}, '{"no": 1}', "failed"),
        ({"type": "execution-denied", "reason": "not her"}, "not her", "denied"),
        ({"type": "execution-denied"}, "The tool call was denied.", "denied"),
        ({"type": "content", "value": [{"type": "text", "text": "a"}]}, ["a"], "success"),
    ],
)
def test_what_a_tool_gave(output: dict[str, Any], content: Any, outcome: str):
    """Outputs of every kind say the same to pydantic-ai, with what came of the call."""
    part = returned(output)

    assert (part.content, part.outcome, part.tool_call_id) == (content, outcome, "c")


def test_a_file_that_a_tool_returned_is_one_again():
    """Binary content of a tool is shown to the model as a file in later turns as well."""
    value = {"kind": "binary", "data": base64.urlsafe_b64encode(b"\xff\xfe??").decode(), "media_type": "image/png"}

    part = returned({"type": "json", "value": ["see", value]})

    assert part.content[0] == "see"
    assert (part.content[1].data, type(part.content[1])) == (b"\xff\xfe??", BinaryImage)


def test_a_url_in_an_output_stays_data():
    """An output that looks like a file URL is not fetched: a client may have sent it."""
    value = {"kind": "image-url", "url": "http://169.254.169.254/", "media_type": "image/png"}

    assert returned({"type": "json", "value": value}).content == value


def test_decisions_are_no_returns():
    """A call that was just decided about has no return; what was decided is for the run."""
    request = {"type": "tool-approval-request", "approvalId": "q", "toolCallId": "c"}
    other = {"type": "tool-approval-request", "approvalId": "p", "toolCallId": "d"}
    rows: Any = [
        assistant(called(), request, called("drop", "d"), other),
        {
            "role": "tool",
            "content": [
                {"type": "tool-approval-response", "approvalId": "q", "approved": True},
                {"type": "tool-approval-response", "approvalId": "p", "approved": False, "reason": "no"},
                result({"type": "execution-denied", "reason": "no"}, "drop", "d"),
            ],
        },
    ]

    messages = to_pydantic_ai(rows)
    results = deferred_results(read_prompt(rows))

    assert [type(message) for message in messages] == [ModelResponse]
    assert results is not None
    assert (results.approvals["c"].kind, results.approvals["d"].message) == ("tool-approved", "no")


def test_old_decisions_are_history():
    """A decision that something was said after is not carried out again."""
    request = {"type": "tool-approval-request", "approvalId": "q", "toolCallId": "c"}
    response = {"type": "tool-approval-response", "approvalId": "q", "approved": True}
    rows: Any = [
        assistant(called(), request),
        {"role": "tool", "content": [response, result({"type": "json", "value": 3})]},
        {"role": "user", "content": "thanks"},
    ]

    assert deferred_results(read_prompt(rows)) is None
    assert to_pydantic_ai(rows)[1].parts[0].content == 3
