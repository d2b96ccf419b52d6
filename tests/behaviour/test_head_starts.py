"""Head starts: how they stand in the inbox, who may say them, and how a test plays one."""

from __future__ import annotations

import json

import pytest

from chatrt.agent import ChatAgent
from chatrt.stores import SessionKey
from tests.runtime.driver import House
from tests.runtime.head_starts import ANSWER, Warm, begun
from tests.server.kit import Kit

# --- in the inbox


@pytest.mark.behaviour(141, 165, 169, 170)
async def test_head_starts_have_shapes_of_their_own(house: House):
    """A message says which answer is begun; chunks, a handover and a skip name the message that they are about."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "ok"))
    warm = await Warm.start(chat, client_data={"plan": "pro"})
    chunks = begun("x")
    await warm.says(chunks)
    await warm.hands_over(final=True, usage={"inputTokens": 1})
    await warm.settled()
    await chat.inbox.skip_handover(1)

    records = await house.store.read_in(chat.session.key, after=0)

    message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    assert [(record.kind, json.loads(record.body)) for record in records] == [
        ("message", {"message": message, "headStart": {"messageId": ANSWER}, "clientData": {"plan": "pro"}}),
        ("head-chunks", {"inSeq": 1, "first": 0, "chunks": chunks}),
        (
            "handover",
            {
                "inSeq": 1,
                "isFinal": True,
                "finish": {"type": "finish", "finishReason": "stop"},
                "usage": {"inputTokens": 1},
            },
        ),
        ("handover-skip", {"inSeq": 1}),
    ]


@pytest.mark.behaviour(169, 170)
@pytest.mark.parametrize("kind", ["head-chunks", "handover", "handover-skip"])
async def test_clients_cannot_say_what_an_agent_says(kit: Kit, kind: str):
    """What belongs to a head start is said by servers: on the wire it is refused."""
    await kit.new("c1")

    response = await kit.http.post(
        "/v1/sessions/c1/in", json={"kind": kind, "inSeq": 1, "first": 0, "chunks": [], "isFinal": True}
    )

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


@pytest.mark.behaviour(141)
async def test_clients_cannot_ask_for_a_head_start(kit: Kit):
    """A `headStart` that a client sends with its message is not kept: the run answers by itself."""
    await kit.new("c1")
    message = {"role": "user", "parts": [{"type": "text", "text": "hi"}]}
    await kit.put("c1", {"kind": "message", "message": message, "headStart": {"messageId": "forged"}})

    (record,) = await kit.sessions.store.read_in(SessionKey("", "c1"), after=0)

    assert "headStart" not in json.loads(record.body)


# --- in a harness


async def test_a_head_start_can_be_played_in_a_harness(chat_harness):
    """A test plays the other process through the inbox of the session, and reads the answer like any."""
    chat = await chat_harness(ChatAgent("a", run=lambda turn: "from run"))
    inbox = chat.session.inbox
    sent = await inbox.send_with_head_start({"role": "user", "parts": [{"type": "text", "text": "hi"}]}, ANSWER)
    await inbox.relay_chunks(sent.seq, 0, begun("from warm"))
    await inbox.hand_over(sent.seq, is_final=True, finish={"type": "finish", "finishReason": "stop"})

    result = await chat.sent(sent.seq).result()

    assert (result.status, result.text, result.message["id"]) == ("completed", "from warm", ANSWER)


async def test_a_harness_can_die_in_a_head_start(chat_harness):
    """A head start whose worker dies is taken up by the next one, which has what was said so far."""
    chat = await chat_harness(ChatAgent("a", run=lambda turn: "from run"))
    sent = await chat.session.inbox.send_with_head_start(
        {"role": "user", "parts": [{"type": "text", "text": "hi"}]}, ANSWER
    )
    await chat.session.inbox.relay_chunks(sent.seq, 0, begun("from warm"))
    await chat.settle()
    await chat.crash()
    await chat.restart()
    await chat.session.inbox.hand_over(sent.seq, is_final=True)

    result = await chat.sent(sent.seq).result()

    assert (result.status, result.text) == ("completed", "from warm")
