"""The examples of sub-agents, with models that need no network."""

from __future__ import annotations

from typing import Any

from chatrt import AgentChat, SessionManager
from chatrt.models.scripted import call, text, tool_call
from chatrt.testing import FunctionModel, override_model
from chatrt.ui import last_text


def said(message: Any) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def result_of(request: Any) -> Any:
    """What the last row of a prompt says that a tool gave; None if it is no tool row."""
    last = request.messages[-1]
    return last["content"][-1]["output"]["value"] if last["role"] == "tool" else None


async def test_sub_agent_for_one_turn(load_example):
    """The researcher's words show in the part of the call, its progress in the writer's answer; then it is closed."""
    module = load_example("05_sub_agent")
    requests: list[Any] = []

    def answer(request: Any) -> Any:
        requests.append(request)
        found = result_of(request)
        names = [spec.name for spec in request.tools]
        if found is None:
            given = {"topic": "agents"} if names == ["find_papers"] else {"message": "What of agents?"}
            return call(tool_call(names[0], given, id=f"call_{names[0]}"))
        return call(text(f"They claim: {found[0]}" if isinstance(found, list) else f"Article. {found}"))

    with override_model(FunctionModel(answer)):
        async with SessionManager([module.writer, module.researcher], "memory://") as sessions:
            chat = AgentChat("writer", id="chat", sessions=sessions)
            result = await chat.send_message("Write about agents.").result()
            claim = "They claim: Agents that plan before they act need fewer steps."
            assert result.text == f"Article. {claim}"
            (outcome,) = result.tool_results
            assert last_text(outcome.output) == claim
            progress = [part for part in (await chat.messages())[-1]["parts"] if part["type"] == "data-progress"]
            assert [part["data"] for part in progress] == [{"topic": "agents", "papers": 2}]
            assert result_of(requests[-1]) == claim
            rows = [row async for row in sessions.iter_sessions(parent="chat")]
            assert [row.agent for row in rows] == ["researcher"]
        async with SessionManager([module.writer, module.researcher], sessions.store) as sessions:
            rows = [row async for row in sessions.iter_sessions(parent="chat")]
            assert [row.status for row in rows] == ["closed"]


async def test_sub_agents_over_many_turns(load_example):
    """Each supplier has a negotiator that remembers, across turns and restarts, until it is dismissed."""
    module = load_example("06_sub_agent_many_turns")

    def answer(request: Any) -> Any:
        if not request.tools:
            heard = [said(message) for message in request.messages if message["role"] == "user"]
            return call(text(f"heard {', '.join(heard)}"))
        found = result_of(request)
        if found is not None:
            return call(text(f"{found}"))
        supplier, _, words = said(request.messages[-1]).partition(": ")
        number = sum(message["role"] == "user" for message in request.messages)
        if words == "bye":
            return call(tool_call("dismiss", {"supplier": supplier}, id=f"call_{number}"))
        return call(tool_call("negotiate", {"supplier": supplier, "message": words}, id=f"call_{number}"))

    with override_model(FunctionModel(answer)):
        agents = [module.buyer, module.negotiator]
        async with SessionManager(agents, "memory://") as sessions:
            chat = AgentChat("buyer", id="chat", sessions=sessions)
            assert await chat.send_message("Acme: 10 eggs").text() == "heard 10 eggs"
            assert await chat.send_message("Bean: 2 bags").text() == "heard 2 bags"
            assert await chat.send_message("acme : 12 eggs").text() == "heard 10 eggs, 12 eggs"
        async with SessionManager(agents, sessions.store) as sessions:
            chat = AgentChat("buyer", id="chat", sessions=sessions)
            assert await chat.send_message("Bean: 3 bags").text() == "heard 2 bags, 3 bags"
            assert await chat.send_message("Acme: bye").text() == "True"
            assert await chat.send_message("Nobody: bye").text() == "False"
            rows = [row async for row in sessions.iter_sessions(parent="chat")]
            assert sorted(row.status for row in rows) == ["closed", "open"]
