"""The agent of the React example with its scripted model, and what its server gives the page."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from chatrt.testing import FunctionModel, Gate

FOLDER = Path(__file__).parents[2] / "examples" / "13_react"


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Load the example as its server does, with a model that does not pause."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHATRT_DEMO_PAUSE", "0")
    monkeypatch.setenv("CHATRT_STORE", "memory://")
    monkeypatch.delenv("CHATRT_MODEL", raising=False)
    monkeypatch.delenv("CHATRT_SECRET_KEY", raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))

    def load_server(**env: str):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        for name in ("server", "scripted_model"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module("server")

    return load_server


@pytest.fixture
async def chat(load, chat_harness):
    return await chat_harness(load().guide)


def client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("127.0.0.1", 1)), base_url="http://127.0.0.1")


async def test_a_plan_takes_several_steps(chat):
    """Each kind of place is a call of its own, so that there are steps between which a wish can come in."""
    planned = await chat.send("Plan a weekend in Lisbon")
    assert [call.input["kind"] for call in planned.tool_calls] == ["sights", "food", "walks"]
    assert "A weekend in Lisbon" in planned.text


async def test_a_wish_steers_the_plan(load, chat_harness):
    """What is said while the guide looks for places is in the plan, and gets no answer of its own."""
    server = load()
    gate = Gate()

    async def wait_and_play(request):
        await gate.wait()
        async for part in server.travel_model("Plan a weekend in Lisbon", "m").stream(request):
            yield part

    chat = await chat_harness(server.guide, model=FunctionModel(wait_and_play))
    first = await chat.start("Plan a weekend in Lisbon")
    await gate.reached.wait()
    steered = await chat.steer("only by train")
    await chat.settle()
    gate.open()
    assert "You added: *only by train*" in (await first.result()).text
    assert (await steered.result()).status == "injected"


@pytest.mark.parametrize(("approved", "said"), [(True, "your table is booked"), (False, "booked nothing")])
async def test_a_booking_asks_twice(chat, approved, said):
    """First for the number of people, then for approval; only then it happens."""
    await chat.send("Book a table")
    wants = await chat.answer("ask_user", "a party of 5")
    assert wants.pending_tool_calls[0].input["people"] == 5
    assert said in (await chat.approve("book_table", approved=approved)).text


async def test_a_failure_works_when_it_is_tried_again(chat):
    """The failure is told in words of the application; the answer to the same question takes its place."""
    failed = await chat.send("Fail once")
    again = await chat.regenerate()
    assert (failed.status, failed.error["code"]) == ("failed", "public-error")
    assert again.text == "It worked this time."


async def test_undo_and_rollback(chat):
    """Undo takes back the last question with its answer, a rollback what came after a message."""
    first = await chat.send("Think about the sea")
    await chat.send("Think about rain")
    await chat.act({"type": "undo"})
    assert len(chat.messages) == 2
    await chat.send("Think about rain")
    await chat.act({"type": "rollback", "messageId": first.message["id"]})
    assert [message["role"] for message in chat.messages] == ["user", "assistant"]
    await chat.act({"type": "undo"})
    nothing = await chat.act({"type": "undo"})
    assert (nothing.status, nothing.error["message"]) == ("failed", "There is nothing to undo.")


async def test_the_page_gets_a_token_for_its_chat(load):
    """With a secret key `POST /token` mints a short one for one chat; without, none is needed and none is given."""
    async with client(load().app) as browser:
        assert (await browser.post("/token?chatId=c1")).json() == {}
    async with client(load(CHATRT_SECRET_KEY="k" * 32, CHATRT_TOKEN_TTL="60").app) as browser:
        minted = (await browser.post("/token?chatId=c1")).json()
        refused = await browser.post("/token")
    claims = jwt.decode(minted["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["agent"], claims["exp"] - claims["iat"]) == ("c1", "guide", 60)
    assert (refused.status_code, json.loads(refused.content)["error"]["code"]) == (400, "invalid-input")


async def test_the_built_page_runs_nothing_from_elsewhere(load, tmp_path):
    """The page and its assets come with a policy that lets nothing else in; assets stay in caches, the page does not."""
    server = load()
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-1.js").write_text("")
    (tmp_path / "index.html").write_text("<!doctype html>")
    async with client(Starlette(routes=[server.page(tmp_path)])) as browser:
        index, asset, missing = [await browser.get(path) for path in ("/", "/assets/index-1.js", "/assets/none.js")]
    assert "default-src 'none'; script-src 'self'" in index.headers["content-security-policy"]
    assert (index.headers["cache-control"], missing.status_code) == ("no-cache", 404)
    assert "immutable" in asset.headers["cache-control"]


async def test_without_a_build_the_page_says_how_to_get_one(load, tmp_path):
    """A fresh checkout has no built page; its server starts all the same."""
    async with client(Starlette(routes=[load().page(tmp_path / "dist")])) as browser:
        assert "make react" in (await browser.get("/")).text
