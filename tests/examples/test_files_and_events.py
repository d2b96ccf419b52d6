"""The examples about attachments and webhooks do what they say."""

from __future__ import annotations

import hashlib
import hmac
import json

from chatrt.client import AgentChat
from chatrt.models import ScriptedModel, override_model
from chatrt.models.scripted import call, tool_call
from tests import files
from tests.s3_server import KEYS, s3_server

SALES = b"month,amount\nJune,40\nJuly,2.5\n"


async def ask_for_the_sum(app) -> tuple[ScriptedModel, str]:
    model = ScriptedModel([call(tool_call("sum_column", {"filename": "sales.csv", "column": "amount"})), "42.5 euros."])
    with override_model(model):
        async with AgentChat("analyst", id="c", sessions=app.state.sessions) as chat:
            part = await chat.upload(SALES, filename="sales.csv")
            text = await chat.send_message(parts=[{"type": "text", "text": "How much?"}, part]).text()
    return model, text


async def test_a_table_is_added_up(load_example):
    """The model reads the file, and a tool adds its numbers up."""
    app = load_example("14_attachments").app
    model, text = await ask_for_the_sum(app)
    assert text == "42.5 euros."
    assert "July,2.5" in model.requests[0].messages[0]["content"][1]["text"]
    assert model.requests[1].messages[-1]["content"][0]["output"] == {"type": "json", "value": 42.5}
    await app.state.aclose()
    await app.state.sessions.aclose()


async def test_a_table_in_a_bucket(load_example, monkeypatch):
    """With a bucket the same file is read from there."""
    with s3_server() as server:
        monkeypatch.setenv("ATTACHMENT_BUCKET", "files/chats")
        monkeypatch.setenv("ATTACHMENT_ENDPOINT", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["access_key_id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["secret_access_key"])
        app = load_example("14_attachments").app
        _, text = await ask_for_the_sum(app)
        assert text == "42.5 euros."
        assert len(server.names()) == 1
        await app.state.sessions.aclose()


async def test_only_listed_files(load_example, serve):
    """What the example does not list is refused."""
    http = await serve(load_example("14_attachments").app)
    await http.post("/v1/sessions", json={"agent": "analyst", "chatId": "c1"})
    for kind, data, status in (
        ("image/png", files.PNG, 201),
        ("image/gif", files.GIF, 415),
        ("text/csv", files.PDF, 415),
    ):
        answer = await http.post("/v1/sessions/c1/attachments", content=data, headers={"content-type": kind})
        assert answer.status_code == status


async def test_an_issue_becomes_a_chat(load_example, serve, monkeypatch):
    """An opened issue begins a chat, a comment goes on with it, and other events are nothing to it."""
    monkeypatch.setenv("WEBHOOK_SECRET", "s3cret")
    app = load_example("15_webhooks").app
    model = ScriptedModel(["Which version?", "Thank you."])
    issue = {"number": 7, "title": "It does not start", "body": "At all."}
    events = [
        {"action": "opened", "issue": issue},
        {"action": "created", "issue": issue, "comment": {"body": "It is 1.2."}},
        {"action": "opened", "issue": issue},
        {"action": "labeled", "issue": issue},
    ]
    answers = []
    with override_model(model):
        http = await serve(app)
        for event in events:
            body = json.dumps(event).encode()
            signature = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
            sent = {"x-hub-signature-256": f"sha256={signature}", "x-github-event": "issues"}
            answers.append((await http.post("/v1/webhooks/github", content=body, headers=sent)).json())
        await http.get("/v1/sessions/issue-7/out?until=idle")
    messages = (await http.get("/v1/sessions/issue-7/messages")).json()["messages"]
    texts = [message["parts"][-1]["text"] for message in messages]
    assert texts == ["It does not start\n\nAt all.", "Which version?", "It is 1.2.", "Thank you."]
    assert answers[2:] == [{"chatId": "issue-7", "seq": 1, "repeated": True}, {"ignored": True}]
