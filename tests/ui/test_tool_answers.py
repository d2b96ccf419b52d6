"""What a client may change about the tool calls of an assistant message (D15)."""

import pytest

from chatrt.errors import ForbiddenChangeError
from chatrt.ui import check_tool_answers

ANSWERS = {
    "output-available": {"output": 1},
    "output-error": {"errorText": "no"},
    "approval-responded": {"approval": {"id": "ap", "approved": True}},
    "output-denied": {"approval": {"id": "ap", "approved": False}},
}


def assistant(*parts, message_id="a1"):
    return {"id": message_id, "role": "assistant", "parts": list(parts)}


def call(state, call_id="c1", name="ask", **keys):
    return {"type": f"tool-{name}", "toolCallId": call_id, "state": state, **keys}


def stored_call(state, name="ask", **keys):
    part = call(state, name=name, input={"a": 1}, **keys)
    if state.startswith("approval"):
        part["approval"] = {"id": "ap", **({"approved": False} if state == "approval-responded" else {})}
    return part


def answer(state, **keys):
    return call(state, **{**ANSWERS[state], **keys})


def check(stored, incoming):
    return check_tool_answers(stored, incoming, client_tools={"ask"})


ALLOWED = {
    ("input-available", "output-available"),
    ("input-available", "output-error"),
    ("approval-requested", "approval-responded"),
}
LATE = {
    *((state, given) for state in ("output-available", "output-error", "output-denied") for given in ANSWERS),
    ("approval-responded", "approval-responded"),
}
STATES = [
    "input-streaming",
    "input-available",
    "approval-requested",
    "approval-responded",
    "output-available",
    "output-error",
    "output-denied",
]


@pytest.mark.parametrize("given", ANSWERS)
@pytest.mark.parametrize("state", STATES)
def test_only_open_calls_of_the_client_advance(state, given):
    """Each stored state takes, ignores or forbids each answer as the table says."""
    stored, incoming = assistant(stored_call(state)), assistant(answer(given))
    if (state, given) in ALLOWED:
        assert check(stored, incoming) == ("c1",)
    elif (state, given) in LATE:
        assert check(stored, incoming) == ()
    else:
        with pytest.raises(ForbiddenChangeError) as raised:
            check(stored, incoming)
        assert raised.value.path == "/parts/0/state"


@pytest.mark.parametrize("given", ["output-available", "output-error"])
def test_a_servers_call_is_not_the_clients_to_answer(given):
    """A result for an open call of a server's tool is forged."""
    stored = assistant(stored_call("input-available", name="pay"))
    with pytest.raises(ForbiddenChangeError):
        check(stored, assistant(answer(given, name="pay")))


def test_naming_another_tool_does_not_help():
    """Which tool is called is read from the stored call, not from what comes in."""
    stored = assistant(stored_call("input-available", name="pay"))
    with pytest.raises(ForbiddenChangeError):
        check(stored, assistant(answer("output-available", name="ask")))


def test_a_providers_call_is_not_the_clients_to_answer():
    """A call that the provider runs is not answered by a client, whatever its name."""
    stored = assistant(stored_call("input-available", providerExecuted=True))
    with pytest.raises(ForbiddenChangeError):
        check(stored, assistant(answer("output-available")))


def test_a_dynamic_call_is_known_by_its_tool_name():
    """A dynamic tool part of a client's tool can be answered."""
    part = {**stored_call("input-available"), "type": "dynamic-tool", "toolName": "ask"}
    assert check(assistant(part), assistant(answer("output-available"))) == ("c1",)


def test_an_output_for_an_unknown_call_is_forbidden():
    """A result for a call that nobody made is forged; the path names the part."""
    stored = assistant(stored_call("input-available"))
    with pytest.raises(ForbiddenChangeError) as raised:
        check(stored, assistant({"type": "text", "text": "x"}, answer("output-available", call_id="c9")))
    assert raised.value.path == "/parts/1/toolCallId"


@pytest.mark.parametrize("approval", [{"id": "other", "approved": True}, {"approved": True}, {"id": "ap"}, None])
def test_an_approval_matches_what_was_asked(approval):
    """An approval counts only with the id that was asked for and a decision."""
    stored = assistant(stored_call("approval-requested"))
    with pytest.raises(ForbiddenChangeError):
        check(stored, assistant(call("approval-responded", approval=approval)))


def test_an_approval_for_a_request_without_id_is_forbidden():
    """A missing id never matches a missing id."""
    stored = assistant({**stored_call("approval-requested"), "approval": {}})
    with pytest.raises(ForbiddenChangeError):
        check(stored, assistant(call("approval-responded", approval={"approved": True})))


def test_a_resent_message_with_one_new_answer_advances_only_that():
    """The stock client sends the whole message again; what is stored already is ignored."""
    done = {**stored_call("output-available", name="pay"), "toolCallId": "c0", "output": 1}
    stored = assistant({"type": "text", "text": "x", "state": "done"}, done, stored_call("input-available"))
    incoming = assistant({"type": "text", "text": "forged", "state": "streaming"}, done, answer("output-available"))
    assert check(stored, incoming) == ("c1",)


def test_an_older_copy_brings_nothing():
    """A copy of an earlier moment, with calls still open or only preliminary, is ignored."""
    stored = assistant(stored_call("output-available", output=1))
    for state in ("input-streaming", "input-available", "approval-requested"):
        assert check(stored, assistant(call(state))) == ()
    open_call = assistant(stored_call("input-available", name="pay"))
    assert check(open_call, assistant(call("output-available", name="pay", output=1, preliminary=True))) == ()


def test_a_message_that_is_not_stored_is_forbidden():
    """A client cannot add an assistant message of its own."""
    with pytest.raises(ForbiddenChangeError) as raised:
        check(None, assistant())
    assert raised.value.path == "/id"


def test_roles_cannot_change():
    """Neither a user message under an assistant's id nor the reverse is taken."""
    person = {"id": "a1", "role": "user", "parts": []}
    for stored, incoming in ((assistant(), person), (person, assistant())):
        with pytest.raises(ForbiddenChangeError) as raised:
            check(stored, incoming)
        assert raised.value.path == "/role"
