"""The OpenAI Agents SDK with its own model class, against a server on loopback that speaks the Responses API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import Agent, OpenAIResponsesModel, function_tool
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from chatrt.adapters import stream_openai_agents
from chatrt.agent import ChatAgent
from tests.runtime.driver import Gate, House, user


class ResponsesServer:
    """Answers `POST /responses` from a script: each answer is a list of events, of gates to wait at, or a status."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests: list[Any] = []
        self.left = asyncio.Event()
        self.app = Starlette(routes=[Route("/responses", self._respond, methods=["POST"])])

    async def _respond(self, request: Request) -> Response:
        self.requests.append(await request.json())
        answer = self._answers.pop(0)
        if isinstance(answer, int):
            return JSONResponse({"error": {"message": "no", "type": "error"}}, status_code=answer)
        return StreamingResponse(self._stream(answer), media_type="text/event-stream")

    async def _stream(self, answer: list[Any]) -> AsyncIterator[bytes]:
        try:
            for event in answer:
                if isinstance(event, Gate):
                    await event.wait()
                else:
                    yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        finally:
            self.left.set()


def response(output: list[Any], status: str = "completed") -> dict[str, Any]:
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 9,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": "gpt-test",
        "status": status,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if status == "completed" else None,
    }


def events(*output: dict[str, Any]) -> list[Any]:
    """What the API streams for these items: a message in two deltas, a call in two, between created and completed."""
    streamed: list[Any] = [{"type": "response.created", "response": response([], "in_progress")}]
    for index, item in enumerate(output):
        at = {"output_index": index, "item_id": item["id"]}
        streamed.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item["type"] == "message":
            text = item["content"][0]["text"]
            delta = {"type": "response.output_text.delta", "content_index": 0, "logprobs": [], **at}
            streamed += [{**delta, "delta": text[:2]}, {**delta, "delta": text[2:]}]
        else:
            delta = {"type": "response.function_call_arguments.delta", **at}
            streamed += [{**delta, "delta": item["arguments"][:3]}, {**delta, "delta": item["arguments"][3:]}]
        streamed.append({"type": "response.output_item.done", "output_index": index, "item": item})
    streamed.append({"type": "response.completed", "response": response(list(output))})
    return [{**event, "sequence_number": number} for number, event in enumerate(streamed)]


def message(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": name,
        "arguments": json.dumps(arguments),
        "status": "completed",
    }


@function_tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.fixture
async def agent_at(serve: Any) -> Any:
    """Return an agent whose model asks that server."""
    clients: list[AsyncOpenAI] = []

    async def make(server: ResponsesServer) -> Agent[Any]:
        base_url = str((await serve(server.app)).base_url)
        client = AsyncOpenAI(base_url=base_url, api_key="sk-test-0123456789", max_retries=0)
        clients.append(client)
        return Agent(name="Desk", model=OpenAIResponsesModel("gpt-test", client), tools=[add])

    yield make
    for client in clients:
        await client.close()


def chatting(agent: Agent[Any]) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: stream_openai_agents(agent, turn))


async def test_two_turns_with_a_tool(house: House, agent_at: Any):
    """A tool round streams as the API streams it, and the next request has it all, in the API's own items."""
    server = ResponsesServer(events(message("let me"), call("add", a=1, b=2)), events(message("three")), events())
    agent = await agent_at(server)
    chat = await house.open(chatting(agent))

    first = await chat.send("1+2?")
    await chat.send("thanks")

    assert (first.text, first.status) == ("let methree", "completed")
    assert [part["type"] for part in (await chat.messages())[1]["parts"]] == [
        *["step-start", "text", "tool-add"],
        *["step-start", "text"],
    ]
    assert server.requests[2]["input"] == [
        {"role": "user", "content": "1+2?"},
        {"role": "assistant", "content": "let me"},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 1, "b": 2}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "thanks"},
    ]


async def test_a_stop_hangs_up(house: House, gate: Gate, agent_at: Any):
    """A stop in mid-answer ends the request: the server sees its client leave."""
    answer = events(message("half of it"))
    server = ResponsesServer([*answer[:3], gate, *answer[3:]])
    agent = await agent_at(server)
    chat = await house.open(chatting(agent))
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await gate.reached.wait()
    await chat.inbox.stop()

    turn = await chat.settled(sent)

    await server.left.wait()
    assert (turn.status, turn.text, await chat.texts()) == ("stopped", "ha", [("user", "hi"), ("assistant", "ha")])


@pytest.mark.parametrize(
    ("status", "code"), [(401, "model-auth"), (429, "model-rate-limit"), (500, "model-unavailable")]
)
async def test_an_error_of_the_api(house: House, agent_at: Any, status: int, code: str):
    """What the API refuses is a failed turn with a stable code; the key is nowhere in it."""
    agent = await agent_at(ResponsesServer(status))
    chat = await house.open(chatting(agent))

    turn = await chat.send("hi")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", code)
    assert "sk-test" not in str(turn.complete)
