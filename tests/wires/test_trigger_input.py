"""The Trigger-compatible wire, inwards: what clients append becomes the inputs of the other wires."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.errors import ForbiddenChangeError, InvalidInputError, InvalidMessageError
from chatrt.runtime import Session, SessionManager
from chatrt.wires.trigger_input import append, boot, parse_start

USER = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
ANSWER = {
    "id": "a1",
    "role": "assistant",
    "parts": [{"type": "tool-ask", "toolCallId": "c", "state": "output-available", "output": 1}],
}


@pytest.fixture
async def sessions():
    async with SessionManager(ChatAgent("a", run=lambda turn: "ok"), "memory://") as sessions:
        yield sessions


@pytest.fixture
async def session(sessions: SessionManager) -> Session:
    return await sessions.start_session("a", "c1")


@pytest.fixture
def stored(sessions: SessionManager, session: Session) -> Callable[[], Awaitable[list[tuple[str, Any]]]]:
    """Reads what is in the inbox: kinds and bodies."""

    async def read() -> list[tuple[str, Any]]:
        return [(record.kind, json.loads(record.body)) for record in await sessions.store.read_in(session.key, after=0)]

    return read


@pytest.mark.parametrize(
    ("payload", "kind", "body"),
    [
        ({"trigger": "submit-message", "message": USER}, "message", {"message": USER}),
        ({"message": USER, "messages": []}, "message", {"message": USER}),
        (
            {"trigger": "submit-message", "message": USER, "messageId": "m1"},
            "message",
            {"message": USER, "messageId": "m1"},
        ),
        ({"trigger": "submit-message", "message": ANSWER, "messageId": "a1"}, "message", {"message": ANSWER}),
        ({"message": {**USER, "id": "steer-17"}}, "message", {"message": {**USER, "id": "steer-17"}, "steer": True}),
        ({"trigger": "regenerate-message"}, "regenerate", {}),
        ({"trigger": "regenerate-message", "messageId": "a1"}, "regenerate", {"messageId": "a1"}),
        ({"trigger": "action", "action": {"type": "undo"}}, "action", {"action": {"type": "undo"}}),
        ({"trigger": "action", "action": None}, "action", {"action": None}),
        ({"trigger": "preload"}, "preload", {}),
        ({"trigger": "close"}, "end-run", {}),
    ],
    ids=str,
)
async def test_each_trigger_is_an_input(session: Session, stored, payload, kind: str, body: dict[str, Any]):
    """Keys that are not known, the chat id among them, count for nothing."""
    payload = {**payload, "chatId": "another", "continuation": True, "extra": 1}
    await append(session, {"kind": "message", "payload": payload}, part_id=None)
    assert await stored() == [(kind, body)]


@pytest.mark.parametrize("payload", [{"message": USER}, {"trigger": "regenerate-message"}, {"trigger": "preload"}])
async def test_metadata_are_the_client_data(session: Session, stored, payload):
    """What other wires call `clientData`."""
    await append(session, {"kind": "message", "payload": {**payload, "metadata": {"user": 1}}}, part_id=None)
    ((_, body),) = await stored()
    assert body["clientData"] == {"user": 1}


async def test_a_stop_is_a_stop(session: Session, stored):
    """With what the client says about it as the reason."""
    result = await append(session, {"kind": "stop", "message": "enough"}, part_id="p1")
    assert (result.seq, await stored()) == (1, [("stop", {"reason": "enough"})])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "/kind"),
        ([], "/kind"),
        ({"kind": "shout"}, "/kind"),
        ({"kind": "handover"}, "/kind"),
        ({"kind": "handover-skip"}, "/kind"),
        ({"kind": "message"}, "/payload"),
        ({"kind": "message", "payload": [USER]}, "/payload"),
        ({"kind": "message", "payload": {}}, "/payload/message"),
        ({"kind": "message", "payload": {"message": "hi"}}, "/payload/message"),
        ({"kind": "message", "payload": {"message": USER, "messageId": 1}}, "/payload/messageId"),
        ({"kind": "message", "payload": {"trigger": "action"}}, "/payload/action"),
        ({"kind": "message", "payload": {"trigger": "handover-prepare"}}, "/payload/trigger"),
        ({"kind": "message", "payload": {"trigger": ["close"]}}, "/payload/trigger"),
        ({"kind": "message", "payload": {"trigger": "regenerate-message", "messageId": []}}, "/payload/messageId"),
    ],
    ids=str,
)
async def test_what_is_no_input_is_refused(session: Session, stored, body: Any, path: str):
    """With the place that is wrong, before anything is stored."""
    with pytest.raises(InvalidInputError) as refused:
        await append(session, body, part_id=None)
    assert refused.value.path == path
    assert await stored() == []


async def test_the_rules_for_messages_hold(session: Session):
    """A client writes user messages and answers its calls (D15)."""
    for message, error in (
        ({"role": "system", "parts": []}, ForbiddenChangeError),
        ({"role": "user", "parts": [{"type": "tool-x", "toolCallId": "c", "state": "x"}]}, InvalidMessageError),
    ):
        with pytest.raises(error):
            await append(session, {"kind": "message", "payload": {"message": message}}, part_id=None)


# --- the start of a session


async def test_a_session_boots_once(session: Session, stored):
    """However often it is started, and whatever clients call their own appends."""
    for payload in ({"trigger": "preload", "messages": [], "metadata": {"a": 1}}, {"message": USER}, {}):
        await boot(session, payload)
    assert await stored() == [("preload", {"clientData": {"a": 1}})]


async def test_a_session_may_begin_with_a_message(session: Session, stored):
    """Then that is its first input."""
    await boot(session, {"trigger": "submit-message", "message": USER})
    assert await stored() == [("message", {"message": USER})]


def test_what_counts_of_a_start():
    """Everything else is taken and ignored."""
    start = parse_start(
        {
            "taskIdentifier": "a",
            "externalId": "c1",
            "tags": ["x"],
            "metadata": {"plan": "pro"},
            "expiresAt": "2030-01-01",
            "triggerConfig": {"machine": "small-1x", "basePayload": {"trigger": "preload", "chatId": "c1"}},
        }
    )
    assert (start.agent, start.chat_id, start.type) == ("a", "c1", "chat.agent")
    assert (start.tags, start.metadata, start.payload["trigger"]) == (["x"], {"plan": "pro"}, "preload")
    assert start.config["machine"] == "small-1x"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"taskIdentifier": None}, "/taskIdentifier"),
        ({"taskIdentifier": ""}, "/taskIdentifier"),
        ({"externalId": 7}, "/externalId"),
        ({"externalId": "session_x"}, "/externalId"),
        ({"type": 7}, "/type"),
        ({"tags": "x"}, "/tags"),
        ({"tags": [7]}, "/tags"),
        ({"tags": ["x"] * 11}, "/tags"),
        ({"metadata": [7]}, "/metadata"),
        ({"triggerConfig": "x"}, "/triggerConfig"),
        ({"triggerConfig": {"basePayload": "x"}}, "/triggerConfig/basePayload"),
        ({"triggerConfig": {"basePayload": {"trigger": "handover-prepare"}}}, "/triggerConfig/basePayload/trigger"),
        ({"triggerConfig": {"basePayload": {"trigger": "action"}}}, "/triggerConfig/basePayload/trigger"),
    ],
    ids=str,
)
def test_what_is_no_start_is_refused(change: dict[str, Any], path: str):
    """Before a session is made."""
    with pytest.raises(InvalidInputError) as refused:
        parse_start({"taskIdentifier": "a", "externalId": "c1", **change})
    assert refused.value.path == path
