"""The scenarios of `scenarios.mjs` with the Python `AgentChat` over HTTP. Usage: python -m ... <base URL>."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from chatrt.client import AgentChat
from chatrt.errors import ChatrtError
from chatrt.ui import UIMessage, message_text

Open = Callable[[str], AgentChat]


async def _texts(chat: AgentChat) -> list[str]:
    return [message_text(message) for message in await chat.messages()]


def _call(message: UIMessage, name: str) -> dict[str, Any]:
    return next(dict(part) for part in message["parts"] if part["type"] == f"tool-{name}")


async def send(open_chat: Open) -> Any:
    chat = open_chat("send")
    await chat.send_message("echo Hello, world").text()
    return await _texts(chat)


async def second_turn(open_chat: Open) -> Any:
    chat = open_chat("second: a/b %c é")
    await chat.send_message("echo one").text()
    await chat.send_message("history").text()
    return await _texts(chat)


async def server_tool(open_chat: Open) -> Any:
    result = await open_chat("server-tool").send_message("tool 2+3").result()
    call = _call(result.message, "add")
    return {"text": result.text, "name": "add", "input": call["input"], "output": call["output"]}


async def client_tool(open_chat: Open) -> Any:
    chat = open_chat("client-tool")
    call = _call((await chat.send_message("ask Which colour?").result()).message, "ask_user")
    await chat.add_tool_output(call["toolCallId"], "blue").text()
    await chat.send_message("history").text()
    return {"input": call["input"], "texts": await _texts(chat)}


async def _approval(chat: AgentChat, *, approved: bool) -> Any:
    call = _call((await chat.send_message("approve Ada").result()).message, "send_email")
    await chat.approve(call["approval"]["id"], approved).text()
    await chat.send_message("history").text()
    return {"input": call["input"], "texts": await _texts(chat)}


async def approved(open_chat: Open) -> Any:
    return await _approval(open_chat("approved"), approved=True)


async def denied(open_chat: Open) -> Any:
    return await _approval(open_chat("denied"), approved=False)


async def failure(open_chat: Open) -> Any:
    chat = open_chat("failure")
    said = ""
    try:
        await chat.send_message("fail").text()
    except ChatrtError as error:
        said = repr(error)
    last = await chat.send_message("echo after").text()
    return {"failed": bool(said), "leaked": "boom-secret" in said + json.dumps(await chat.messages()), "last": last}


async def stop(open_chat: Open) -> Any:
    chat = open_chat("stop")
    async for chunk in chat.send_message("sleep"):
        if chunk["type"] == "text-delta":
            await chat.stop()
    last = await chat.send_message("echo after").text()
    return {"last": last, "kept": any(text.startswith("w0 ") for text in await _texts(chat))}


async def resume(open_chat: Open) -> Any:
    stream = open_chat("resume").send_message("count 150")
    async for chunk in stream:
        if chunk.get("delta") == "w9 ":
            break
    await stream.aclose()
    again = await open_chat("resume").reconnect()
    return None if again is None else await again.text()


SCENARIOS: dict[str, Callable[[Open], Awaitable[Any]]] = {
    "send": send,
    "second-turn": second_turn,
    "server-tool": server_tool,
    "client-tool": client_tool,
    "approved": approved,
    "denied": denied,
    "failure": failure,
    "stop": stop,
    "resume": resume,
}


async def _play(scenario: Callable[[Open], Awaitable[Any]], base_url: str) -> dict[str, Any]:
    chats: list[AgentChat] = []

    def open_chat(name: str) -> AgentChat:
        chats.append(AgentChat("playbook", id=f"{name} AgentChat", base_url=base_url))
        return chats[-1]

    try:
        return {"saw": await scenario(open_chat)}
    except Exception as error:
        return {"failed": repr(error)}
    finally:
        for chat in chats:
            await chat.aclose()


async def main(base_url: str) -> None:
    """Play all scenarios and print what was seen as one line of JSON."""
    seen = await asyncio.gather(*(_play(scenario, base_url) for scenario in SCENARIOS.values()))
    print(json.dumps(dict(zip(SCENARIOS, seen, strict=True))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
