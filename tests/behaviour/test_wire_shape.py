"""What a client says on the native wire, and how it stands in the inbox."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatrt.stores import SessionKey
from tests.server.kit import Kit

USER = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
APPROVAL = {
    "id": "a1",
    "role": "assistant",
    "parts": [
        {
            "type": "tool-send_email",
            "toolCallId": "c1",
            "state": "approval-responded",
            "approval": {"id": "ok", "approved": True, "reason": "fine"},
        }
    ],
}


async def stored(kit: Kit, body: dict[str, Any]) -> tuple[str, Any]:
    """Say this to a session and return the kind and the body of what stands in its inbox."""
    await kit.new("c1")
    await kit.put("c1", body)
    (record,) = await kit.sessions.store.read_in(SessionKey("", "c1"), after=0)
    return record.kind, json.loads(record.body)


@pytest.mark.behaviour(139, 140, 142, 144, 146, 164, 167, 168)
@pytest.mark.parametrize(
    "body",
    [
        {"kind": "message", "message": USER, "clientData": {"plan": "pro"}},
        {"kind": "message", "message": USER, "messageId": "u0"},
        {"kind": "message", "message": APPROVAL},
        {"kind": "regenerate"},
        {"kind": "regenerate", "messageId": "a1", "clientData": 3},
        {"kind": "action", "action": {"type": "undo", "depth": [1, {"x": None}]}, "clientData": {"plan": "pro"}},
        {"kind": "message", "message": USER, "steer": True},
        {"kind": "edit", "inSeq": 7, "message": USER},
        {"kind": "withdraw", "inSeq": 7},
        {"kind": "preload", "clientData": {"plan": "pro"}},
        {"kind": "stop"},
        {"kind": "stop", "inSeq": 7, "reason": "enough"},
    ],
    ids=[
        *[
            "message",
            "edit",
            "approval",
            "regenerate",
            "regenerate-one",
            "action",
            "steer",
            "edit-waiting",
            "withdraw",
            "preload",
            "stop",
            "stop-one",
        ]
    ],
)
async def test_what_was_said_stands_in_the_inbox(kit: Kit, body: dict[str, Any]):
    """Every kind of input comes through as it was sent; its kind stands beside it."""
    kind, said = await stored(kit, body)

    assert {"kind": kind, **said} == body


@pytest.mark.behaviour(163, 145)
async def test_what_is_no_field_is_not_kept(kit: Kit):
    """A resent history, and what only the server knows about runs, does not get into the inbox."""
    extra = {"messages": [USER], "continuation": True, "previousRunId": "run_1", "trigger": "submit-message"}

    _, said = await stored(kit, {"kind": "message", "message": USER, **extra})

    assert said == {"message": USER}


@pytest.mark.behaviour(157, 159)
async def test_an_answer_is_slim_in_the_inbox(kit: Kit):
    """A whole assistant message that a client sends is cut down to the calls it answers (D15)."""
    part = {**APPROVAL["parts"][0], "input": {"to": "mallory"}, "title": "Forged"}
    whole = {**APPROVAL, "metadata": {"m": 1}, "parts": [{"type": "text", "text": "forged"}, part]}

    _, said = await stored(kit, {"kind": "message", "message": whole})

    assert said == {"message": APPROVAL}
