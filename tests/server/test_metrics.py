"""`GET /metrics` of a served application."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from chatrt.metrics import CATALOGUE
from chatrt.stores import MemoryStore
from tests.server.kit import KEY, Kit, user


async def figures(kit: Kit) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await kit.http.get("/metrics")).raise_for_status().text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def turns(agent: str, trigger: str, status: str) -> Any:
    return "chatrt_turns_total", (("agent", agent), ("status", status), ("trigger", trigger))


async def test_turns_are_counted_by_how_they_ended(kit: Kit):
    """A turn that is answered and one that fails are two figures."""
    await kit.say("c", "echo hi")
    await kit.say("c", "fail")
    seen = await figures(kit)
    assert seen[turns("kit", "message", "completed")] == 1
    assert seen[turns("kit", "message", "failed")] == 1
    assert seen["chatrt_turn_seconds_count", (("agent", "kit"),)] == 2


async def test_tool_calls_are_counted_by_outcome(kit: Kit):
    """A call counts once it has an outcome, and once."""
    await kit.say("c", "approve Ada")
    message = (await kit.http.get("/v1/sessions/c/messages")).json()["messages"][-1]
    (part,) = [part for part in message["parts"] if part["type"] == "tool-send_email"]
    part |= {"state": "approval-responded", "approval": {"id": "approval-1", "approved": True}}
    await kit.http.post("/api/chat/kit", json={"id": "c", "messages": [message], "trigger": "submit-message"})
    await kit.say("c", "echo bye")
    seen = await figures(kit)
    assert seen["chatrt_tool_calls_total", (("agent", "kit"), ("outcome", "ok"))] == 1


async def test_a_turn_that_runs_shows_in_the_gauges(kit: Kit):
    """Runs, inputs, readers and streams are what they are at the moment."""
    await kit.new("c")
    await kit.put("c", {"kind": "message", "message": user("hold gate")})
    async with kit.http.stream("GET", "/v1/sessions/c/out") as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if "before" in line:
                break
        seen = await figures(kit)
        assert seen["chatrt_active_runs", ()] == 1
        assert seen["chatrt_waiting_inputs", ()] == 1
        assert seen["chatrt_live_readers", ()] == 1
        assert seen["chatrt_open_streams", ()] == 1
        assert seen["chatrt_input_seconds_count", ()] == 1
        kit.gates.open_all()


async def test_writes_are_timed(kit: Kit):
    """Commits and groups of chunks have histograms."""
    await kit.say("c", "count 50")
    seen = await figures(kit)
    assert seen["chatrt_commit_seconds_count", ()] >= 1
    assert seen["chatrt_commit_seconds_bucket", (("le", "+Inf"),)] == seen["chatrt_commit_seconds_count", ()]


async def test_a_store_that_fails_is_counted(make_kit: Any):
    """An append that the store refused is an error under its code."""
    store = MemoryStore()
    kit: Kit = await make_kit(store=store)
    await kit.new("c")
    session = await kit.sessions.get_session("c")
    await store.close()
    await kit.http.post(f"/v1/sessions/{session.chat_id}/in", json={"kind": "message", "message": user("echo hi")})
    seen = await figures(kit)
    assert seen["chatrt_store_errors_total", (("code", "store-unavailable"),)] >= 1
    await store.open()


async def test_a_stream_that_is_cut_is_counted(kit: Kit):
    """A server that stops ends its streams, and says so."""
    await kit.new("c")
    async with kit.http.stream("GET", "/v1/sessions/c/out") as response:
        kit.app.state.drain()
        await response.aread()
    assert (await figures(kit))["chatrt_streams_cut_total", (("reason", "shutdown"),)] == 1


async def test_only_the_secret_key_may_look(locked: Kit):
    """Figures are the operator's: neither strangers nor session tokens get them."""
    assert (await locked.http.get("/metrics", headers={"authorization": ""})).status_code == 401
    token = locked.app.state.authority.mint("c", agent="kit").token
    assert (await locked.http.get("/metrics", headers={"authorization": f"Bearer {token}"})).status_code == 403
    assert (await locked.http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})).status_code == 200


async def test_nothing_of_a_chat_is_in_the_figures(kit: Kit):
    """No chat id, no text and no tool name shows up, whatever clients say."""
    await kit.say("canary-chat", "echo canary-text")
    await kit.say("canary-chat", "ask canary-question")
    text = (await kit.http.get("/metrics")).text
    assert "canary" not in text
    assert "ask_user" not in text


async def test_every_figure_is_described(kit: Kit):
    """Each instrument has its help and its type, also before anything was counted."""
    text = (await kit.http.get("/metrics")).text
    for one in CATALOGUE:
        name = f"{one.name}_total" if one.kind == "counter" else one.name
        assert f"# TYPE {name} {one.kind}\n" in text


async def test_openmetrics_is_spoken_to_those_who_ask(kit: Kit):
    """The newer format ends with its mark."""
    response = await kit.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
