"""The history of a chat as input items of the Responses API."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.adapters import to_openai_agents
from chatrt.adapters.decisions import read_prompt
from chatrt.adapters.openai_agents_messages import approved_calls, last_handoff

PNG = "data:image/png;base64,iVBORw0="


def assistant(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def tool(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "content": list(content)}


def called(name: str = "add", call_id: str = "c", **keys: Any) -> dict[str, Any]:
    return {"type": "tool-call", "toolCallId": call_id, "toolName": name, "input": {"a": 1}, **keys}


def result(output: dict[str, Any], name: str = "add", call_id: str = "c", **keys: Any) -> dict[str, Any]:
    return {"type": "tool-result", "toolCallId": call_id, "toolName": name, "output": output, **keys}


def openai(**kept: Any) -> dict[str, Any]:
    return {"providerOptions": {"openai": kept}}


def thought(encrypted: str | None, text: str = "hm", item_id: str = "rs_1") -> dict[str, Any]:
    kept = {"itemId": item_id, **({"reasoningEncryptedContent": encrypted} if encrypted else {})}
    return {"type": "reasoning", "text": text, **openai(**kept)}


def items(*rows: Any) -> list[Any]:
    return to_openai_agents(list(rows))


def test_ui_messages_are_taken_too():
    """UI messages are converted as a turn converts them."""
    messages: Any = [
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]},
        {"id": "2", "role": "assistant", "parts": [{"type": "text", "text": "hello", "state": "done"}]},
    ]

    assert to_openai_agents(messages) == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def test_system_rows_are_system_messages():
    """A system row of the history is one for the agent."""
    assert items({"role": "system", "content": "Be brief."}) == [{"role": "system", "content": "Be brief."}]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            {"mediaType": "image/png", "data": {"type": "url", "url": PNG}},
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
        ),
        (
            {"mediaType": "image/png", "data": "iVBORw0="},
            {"type": "input_image", "image_url": PNG, "detail": "auto"},
        ),
        (
            {"mediaType": "application/pdf", "data": {"type": "url", "url": "https://x.org/a.pdf"}},
            {"type": "input_file", "file_url": "https://x.org/a.pdf"},
        ),
        (
            {"mediaType": "text/csv", "filename": "a.csv", "data": {"type": "url", "url": "data:text/csv;base64,YQ=="}},
            {"type": "input_file", "file_data": "data:text/csv;base64,YQ==", "filename": "a.csv"},
        ),
        (
            {"mediaType": "audio/wav", "data": {"type": "url", "url": "data:audio/wav;base64,YQ=="}},
            {"type": "input_audio", "input_audio": {"data": "YQ==", "format": "wav"}},
        ),
        (
            {"mediaType": "application/pdf", "data": {"type": "reference", "reference": {"openai": "file-1"}}},
            {"type": "input_file", "file_id": "file-1"},
        ),
    ],
)
def test_a_users_files(file: dict[str, Any], expected: dict[str, Any]):
    """Files come as data, as a URL, or by reference, beside the text."""
    rows = {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "file", **file}]}

    assert items(rows) == [{"role": "user", "content": [{"type": "input_text", "text": "see"}, expected]}]


def test_calls_and_their_results():
    """A tool round is calls and outputs; what is no text is JSON."""
    rows = [assistant(called()), tool(result({"type": "json", "value": {"n": 3}}))]

    assert items(*rows) == [
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": '{"n": 3}'},
    ]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"type": "text", "value": "3"}, "3"),
        ({"type": "error-text", "value": "no"}, "no"),
        ({"type": "error-json", "value": {"no": 1}}, '{"no": 1}'),
        ({"type": "execution-denied"}, "Tool call execution denied."),
        (
            {"type": "json", "value": [{"type": "input_image", "image_url": PNG}]},
            [{"type": "input_image", "image_url": PNG}],
        ),
        (
            {"type": "content", "value": [{"type": "text", "text": "a"}]},
            [{"type": "input_text", "text": "a"}],
        ),
    ],
)
def test_what_a_tool_gave(output: dict[str, Any], expected: Any):
    """Outputs of every kind say the same to the model."""
    assert items(assistant(called()), tool(result(output)))[1]["output"] == expected


def test_reasoning_goes_back_whole():
    """With its encrypted content reasoning goes back, its parts one item, and with it the ids of its step."""
    step = assistant(
        thought("enc", "first"),
        thought("enc", "second"),
        {"type": "text", "text": "yes", **openai(itemId="msg_1", phase="final_answer")},
        called(**openai(itemId="fc_1")),
    )

    reasoning, said, call, _ = items(step, tool(result({"type": "text", "value": "3"})))

    assert reasoning["encrypted_content"] == "enc"
    assert [part["text"] for part in reasoning["summary"]] == ["first", "second"]
    assert (said["id"], said["phase"], call["id"]) == ("msg_1", "final_answer", "fc_1")


def test_reasoning_that_openai_would_have_to_remember_stays_away():
    """Without its encrypted content reasoning is left out, and with it the ids that would ask for it."""
    step = assistant(
        thought("enc", item_id="rs_1"),
        thought(None, item_id="rs_2"),
        {"type": "text", "text": "yes", **openai(itemId="msg_1")},
        called(**openai(itemId="fc_1")),
    )

    said, call, _ = items(step, tool(result({"type": "text", "value": "3"})))

    assert said == {"role": "assistant", "content": "yes"}
    assert "id" not in call


@pytest.mark.parametrize(("reasoned", "encrypted", "replayed"), [(0, None, 1), (1, None, 0), (1, "enc", 1)])
def test_tools_that_openai_ran(reasoned: int, encrypted: str | None, replayed: int):
    """The item of a hosted tool goes back, unless it belongs to reasoning that does not."""
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
    kept = openai(reasoned=True) if reasoned else {}
    step = assistant(
        *([thought(encrypted)] if reasoned else []),
        called("web_search", "ws_1", providerExecuted=True, **kept),
        result({"type": "json", "value": item}, "web_search", "ws_1", **kept),
    )

    assert items(step).count(item) == replayed


def test_a_namespace_is_kept():
    """A call of a tool in a namespace names it again."""
    rows = [assistant(called(**openai(namespace="crm"))), tool(result({"type": "text", "value": "3"}))]

    assert items(*rows)[0]["namespace"] == "crm"


def test_approved_calls_are_left_out():
    """A call that was just approved is still to be made; a denied one is answered."""
    rows: Any = [
        assistant(
            called(),
            {"type": "tool-approval-request", "approvalId": "q", "toolCallId": "c"},
            called("drop", "d"),
            {"type": "tool-approval-request", "approvalId": "p", "toolCallId": "d"},
        ),
        tool(
            {"type": "tool-approval-response", "approvalId": "q", "approved": True},
            {"type": "tool-approval-response", "approvalId": "p", "approved": False, "reason": "no"},
        ),
    ]

    assert [(item.get("call_id"), item.get("output")) for item in items(*rows)] == [("d", None), ("d", "no")]
    assert [call["call_id"] for call in approved_calls(read_prompt(rows))] == ["c"]


def test_who_was_handed_the_conversation():
    """The last handoff says whose turn it is; a tool that only looks like one does not."""
    handed = {"providerOptions": {"openai_agents": {"handoff": True}}}

    def to(name: str, call_id: str, **kept: Any) -> list[Any]:
        output = {"type": "text", "value": f'{{"assistant": "{name}"}}'}
        return [assistant(called("transfer", call_id, **kept)), tool(result(output, "transfer", call_id))]

    rows: Any = [*to("Billing", "a", **handed), *to("Sales", "b", **handed), *to("Nobody", "c")]

    assert last_handoff(read_prompt(rows)) == "Sales"
