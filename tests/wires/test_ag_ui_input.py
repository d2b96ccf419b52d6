"""What AG-UI clients say: the one thing that is new in a `RunAgentInput`, put to what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.errors import InvalidInputError
from chatrt.wires.ag_ui_input import parse_run, settle

USER = {"id": "u2", "role": "user", "content": "new"}
OLD = [{"id": "u1", "role": "user", "content": "old"}, {"id": "a1", "role": "assistant", "content": "yes"}]


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"threadId": "t", "runId": "r", "messages": list(messages), **fields}


def tool(call: str = "c", content: Any = "done", **fields: Any) -> dict[str, Any]:
    return {"id": f"tool-{call}", "role": "tool", "toolCallId": call, "content": content, **fields}


def resume(approval: str = "ask", **fields: Any) -> list[dict[str, Any]]:
    return [{"interruptId": approval, "status": "resolved", "payload": {"approved": True}, **fields}]


# --- reading


def test_the_last_user_message_is_new():
    """What was resent before it is not looked at, whatever it says."""
    junk = [None, {"role": "tool"}, {"id": 3, "role": "user", "content": {}}]
    run = parse_run(body(*junk, *OLD, USER))
    assert run.message == {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "new"}]}
    assert run.answers == []


def test_messages_that_are_none_of_the_conversation_are_passed():
    """Reasoning, activities and instructions of the client may stand behind the user message."""
    aside = [{"id": role, "role": role, "content": "x"} for role in ("reasoning", "activity", "system", "developer")]
    run = parse_run(body(*OLD, USER, *aside))
    assert run.message is not None
    assert run.message["id"] == "u2"


def test_a_history_that_ends_with_an_answer_has_no_new_message():
    """Then only its tool messages and the interrupts count."""
    run = parse_run(body(*OLD))
    assert (run.message, run.answers) == (None, [])


def test_tool_messages_since_the_last_known_user_message_may_be_answers():
    """Wherever the client has put them; earlier ones are history."""
    run = parse_run(body(tool("old"), *OLD, tool("c"), {"id": "a2", "role": "assistant"}, tool("d"), USER))
    assert [answer.tool_call_id for answer in run.answers] == ["c", "d"]


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ("text", "text"),
        ("42", "42"),
        ('"quoted"', '"quoted"'),
        ('{"a": 1}', {"a": 1}),
        (" [1]", [1]),
        ("{broken", "{broken"),
        ([{"type": "text", "text": "x"}], [{"type": "text", "text": "x"}]),
    ],
)
def test_the_content_of_a_tool_message_is_read_as_it_was_meant(content, output):
    """Objects and lists are JSON in a text, because the protocol has only texts; other texts stay what they are."""
    (answer,) = parse_run(body(*OLD, tool(content=content))).answers
    assert (answer.output, answer.error) == (output, None)


def test_a_tool_message_may_be_an_error():
    """What the front end raised."""
    (answer,) = parse_run(body(*OLD, tool(content="", error="no camera"))).answers
    assert answer.error == "no camera"


@pytest.mark.parametrize(
    ("part", "file"),
    [
        (
            {"type": "image", "source": {"type": "data", "value": "AAAA", "mimeType": "image/png"}},
            {"mediaType": "image/png", "url": "data:image/png;base64,AAAA"},
        ),
        (
            {
                "type": "document",
                "source": {"type": "url", "value": "https://e.com/a.pdf"},
                "metadata": {"filename": "a.pdf"},
            },
            {"mediaType": "application/pdf", "url": "https://e.com/a.pdf", "filename": "a.pdf"},
        ),
        (
            {"type": "audio", "source": {"type": "url", "value": "https://e.com/a"}},
            {"mediaType": "audio/*", "url": "https://e.com/a"},
        ),
        (
            {"type": "document", "source": {"type": "url", "value": "https://e.com/a"}},
            {"mediaType": "application/octet-stream", "url": "https://e.com/a"},
        ),
        (
            {"type": "binary", "mimeType": "video/mp4", "url": "https://e.com/a", "filename": "a.mp4"},
            {"mediaType": "video/mp4", "url": "https://e.com/a", "filename": "a.mp4"},
        ),
        (
            {"type": "binary", "mimeType": "text/plain", "data": "eA=="},
            {"mediaType": "text/plain", "url": "data:text/plain;base64,eA=="},
        ),
    ],
)
def test_media_become_files(part, file):
    """Inline or by URL, also in the shape that clients before 1.0 send."""
    run = parse_run(body({"id": "u", "role": "user", "content": [{"type": "text", "text": "see"}, part]}))
    assert run.message is not None
    assert run.message["parts"] == [{"type": "text", "text": "see"}, {"type": "file", **file}]


def test_metadata_of_a_message_are_kept():
    """They are the application's."""
    run = parse_run(body({**USER, "metadata": {"page": "/x"}}))
    assert run.message is not None
    assert run.message["metadata"] == {"page": "/x"}


def test_forwarded_props_are_client_data_with_state_and_context_beside_them():
    """So an agent has one type for its client data, whatever wire they come by."""
    context = [{"description": "page", "value": "/x"}]
    run = parse_run(body(USER, forwardedProps={"user": "ada"}, state={"step": 1}, context=context))
    assert run.client_data == {"user": "ada", "state": {"step": 1}, "context": context}


@pytest.mark.parametrize("fields", [{}, {"forwardedProps": {}, "state": {}, "context": []}, {"state": None}])
def test_who_says_nothing_has_no_client_data(fields):
    """Clients send empty state and context with every run."""
    assert parse_run(body(USER, **fields)).client_data is None


def test_forwarded_props_may_be_anything():
    """What is no object stands under its name."""
    assert parse_run(body(USER, forwardedProps=[1])).client_data == {"forwardedProps": [1]}


def test_a_declared_version_makes_a_modern_client():
    """Only those know all outcomes of a run."""
    assert parse_run(body(USER, protocolVersion="1.0")).modern
    assert not parse_run(body(USER)).modern


def test_frontend_tools_are_read():
    """As they are stored; nulls of early clients are nothing."""
    run = parse_run(body(USER, tools=[{"name": "paint", "description": "Paints.", "parameters": None}]))
    assert run.tools == [
        {"name": "paint", "description": "Paints.", "inputSchema": {"type": "object", "properties": {}}}
    ]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ([], ""),
        ({"runId": "r", "messages": []}, "/threadId"),
        ({"threadId": "t", "runId": 1, "messages": []}, "/runId"),
        ({"threadId": "t", "runId": "", "messages": []}, "/runId"),
        ({"threadId": "t", "runId": "r"}, "/messages"),
        (body({"id": "u", "role": "user"}), "/messages/0/content"),
        (body({"role": "user", "content": "x"}), "/messages/0/id"),
        (body({"id": "u", "role": "user", "content": [{"type": "smell"}]}), "/messages/0/content"),
        (
            body({"id": "u", "role": "user", "content": [{"type": "image", "source": {"type": "file", "value": "f"}}]}),
            "/messages/0/content/0/source",
        ),
        (body(USER, {"id": "x", "role": "tool", "content": "x"}), "/messages/1/toolCallId"),
        (body(USER, tools={}), "/tools"),
        (body(USER, tools=[{"name": "a b", "description": ""}]), "/tools/0/name"),
        (body(USER, context=[{"value": "x"}]), "/context/0/description"),
        (body(resume=[{"interruptId": "x", "status": "maybe"}]), "/resume/0/status"),
        (body(resume=resume(payload=True)), "/resume/0/payload"),
        (body(resume=resume(payload={"approved": "yes"})), "/resume/0/payload"),
        (body(resume=resume(payload={"approved": False, "reason": 1})), "/resume/0/payload/reason"),
        (body(USER, protocolVersion=1), "/protocolVersion"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(wrong, path):
    """Before anything is stored."""
    with pytest.raises(InvalidInputError) as refused:
        parse_run(wrong)
    assert refused.value.path == path


# --- what it settles


def stored(*parts: dict[str, Any], message_id: str = "M") -> dict[str, Any]:
    return {"id": message_id, "role": "assistant", "parts": list(parts)}


def call(state: str = "input-available", call_id: str = "c", **fields: Any) -> dict[str, Any]:
    return {"type": "tool-x", "toolCallId": call_id, "state": state, "input": {}, **fields}


ASKED = call("approval-requested", "m", approval={"id": "ask"})


def advanced(run: dict[str, Any], *messages: dict[str, Any]) -> Any:
    return settle(parse_run(run), messages).message  # type: ignore[arg-type]


def test_an_open_call_is_answered():
    """By the message that made it, with nothing but the answer."""
    assert advanced(body(*OLD, tool()), stored(call())) == stored(
        {"type": "tool-x", "toolCallId": "c", "state": "output-available", "output": "done"}
    )


def test_an_error_answers_it_too():
    """As a failed call."""
    (part,) = advanced(body(*OLD, tool(error="no")), stored(call()))["parts"]
    assert (part["state"], part["errorText"]) == ("output-error", "no")


@pytest.mark.parametrize(
    "part",
    [
        call("output-available", output=1),
        call("output-error", errorText="x"),
        call("input-streaming"),
        call(providerExecuted=True),
        call("approval-requested", approval={"id": "ask"}),
        call("approval-responded", approval={"id": "ask", "approved": True}),
    ],
)
def test_a_call_that_is_settled_or_not_the_clients_is_passed(part):
    """A resent history is full of results that are known."""
    assert advanced(body(*OLD, tool()), stored(part)) is None


def test_several_calls_are_answered_at_once():
    """Outputs and decisions together."""
    message = advanced(body(*OLD, tool("c"), tool("d"), resume=resume()), stored(call(), call(call_id="d"), ASKED))
    assert [part["state"] for part in message["parts"]] == [
        "output-available",
        "output-available",
        "approval-responded",
    ]


@pytest.mark.parametrize(
    ("entry", "approval"),
    [
        (resume(), {"id": "ask", "approved": True}),
        (
            resume(payload={"approved": False, "reason": "no"}),
            {"id": "ask", "approved": False, "reason": "no"},
        ),
        (
            [{"interruptId": "ask", "status": "cancelled"}],
            {"id": "ask", "approved": False, "reason": "cancelled"},
        ),
    ],
)
def test_an_interrupt_is_answered(entry, approval):
    """Whoever walks away has not allowed it."""
    (part,) = advanced(body(resume=entry), stored(ASKED))["parts"]
    assert (part["state"], part["approval"]) == ("approval-responded", approval)


def test_only_what_is_allowed_approves():
    """A denial needs no turn of its own before a new message."""
    assert settle(parse_run(body(resume=resume())), [stored(ASKED)]).approves  # type: ignore[list-item]
    denied = parse_run(body(resume=resume(payload={"approved": False})))
    assert not settle(denied, [stored(ASKED)]).approves  # type: ignore[list-item]


def test_an_interrupt_that_was_answered_is_passed():
    """Answers may be sent again."""
    part = call("output-available", "m", output=1, approval={"id": "ask", "approved": True})
    assert advanced(body(resume=resume()), stored(part)) is None


def test_an_interrupt_that_never_was_is_refused():
    """Nobody believes that they have allowed something."""
    with pytest.raises(InvalidInputError) as refused:
        advanced(body(resume=resume("other")), stored(ASKED))
    assert refused.value.path == "/resume/0/interruptId"


def test_where_calls_of_several_messages_are_open_the_newest_message_counts():
    """The conversation went on behind the others."""
    found = advanced(body(*OLD, tool("c"), tool("d")), stored(call()), stored(call(call_id="d"), message_id="N"))
    assert found["id"] == "N"


def test_the_same_request_has_the_same_name():
    """And another answer under the same run id has another one: some clients keep the id of a run."""
    run = parse_run(body(USER))
    assert run.message is not None
    assert run.part_id(run.message, None) == parse_run(body(*OLD, USER)).part_id(run.message, None)
    assert run.part_id(run.message, None) != run.part_id({**run.message, "id": "other"}, None)
