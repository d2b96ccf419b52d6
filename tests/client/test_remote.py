"""What a server's error answer becomes."""

from __future__ import annotations

import inspect

import httpx
import pytest

from chatrt import errors
from chatrt.client.remote import error_from_response
from chatrt.errors import ChatrtError, RemoteError, ServerUnavailableError

CROSSING = sorted(
    (
        value
        for value in vars(errors).values()
        if inspect.isclass(value)
        and issubclass(value, ChatrtError)
        and value.status in (400, 401, 403, 404, 409, 413, 415, 422)
    ),
    key=lambda error: error.code,
)
# A client never meets these: they are about the inside of the server, or of another protocol.
NOT_MET = {
    "stale-epoch",
    "invalid-signature",
    "invalid-tool-input",
    "no-such-tool",
    "sub-agent-deadlock",
    "sub-agent-depth",
    "sub-agent-taken",
}


@pytest.mark.parametrize("error", [e for e in CROSSING if e.code not in NOT_MET], ids=lambda error: error.code)
def test_a_code_becomes_its_class(error):
    """A refusal is raised as the class of its code, whichever way the call went."""
    response = httpx.Response(error.status, json={"error": {"code": error.code, "message": "Why.", "id": "err_1"}})
    made = error_from_response(response, chat_id="c", agent_id="a")
    assert type(made) is error


def test_an_unknown_code_is_kept():
    """A code that this version does not know is told, with the status and the id."""
    response = httpx.Response(418, json={"error": {"code": "new-thing", "message": "Why.", "id": "err_1"}})
    made = error_from_response(response, chat_id="c", agent_id="a")
    assert isinstance(made, RemoteError)
    assert (str(made), made.remote_code, made.remote_status, made.error_id) == ("Why.", "new-thing", 418, "err_1")


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b'{"error":"x"}', b"[]", b""])
def test_an_answer_from_something_else(body):
    """What a proxy says in place of the server is an unavailable server."""
    made = error_from_response(httpx.Response(502, content=body), chat_id="c", agent_id="a")
    assert type(made) is ServerUnavailableError
    assert made.remote_status == 502
