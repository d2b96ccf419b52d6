"""`chatrt mcp`: the process as an MCP client sees it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

PLAYBOOK = "chatrt.testing.playbook:playbook"

LOUD = """
from chatrt import ChatAgent

print("this is not JSON")


def run(turn):
    print("this is not JSON either")
    return "hello"


loud = ChatAgent("loud", run=run)
quiet = ChatAgent("quiet", run=lambda turn: "hush")
agents = [loud, quiet]
"""

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@asynccontextmanager
async def connect(chatrt: Any, *arguments: str, **environment: str) -> AsyncIterator[Client]:
    """Start `chatrt mcp` as an MCP client does, and speak to it."""
    place = StdioServerParameters(
        command=sys.executable,
        args=["-m", "chatrt.cli", "mcp", *arguments],
        env=chatrt.environment(**environment),
        cwd=chatrt.folder,
    )
    async with Client(place) as client:
        yield client


async def ask(client: Client, said: str, **arguments: str) -> str:
    """Begin a chat, say something in it and return the answer."""
    started = await client.call_tool("start_chat", arguments)
    chat = started.structured_content["chatId"]
    result = await client.call_tool("send_message", {"chatId": chat, "text": said, **arguments})
    return result.structured_content["text"]


async def test_an_agent_is_served(chatrt):
    """An MCP client that starts `chatrt mcp` talks to the agent of the target."""
    async with connect(chatrt, PLAYBOOK) as client:
        assert client.server_info.name == "chatrt"
        assert await ask(client, "echo hello") == "hello"


async def test_what_a_target_prints_is_not_in_the_way(chatrt):
    """Standard output belongs to the protocol, whatever a target and its agents print."""
    (chatrt.folder / "loud.py").write_text(LOUD)
    async with connect(chatrt, "loud.py:agents") as client:
        assert await ask(client, "Hi.", agent="loud") == "hello"


async def test_agents_are_chosen(chatrt):
    """`--agent` names those of a target that are served."""
    (chatrt.folder / "loud.py").write_text(LOUD)
    async with connect(chatrt, "loud.py:agents", "--agent", "quiet") as client:
        listed = (await client.call_tool("list_agents")).structured_content
        assert [agent["id"] for agent in listed["agents"]] == ["quiet"]
        assert await ask(client, "Hi.") == "hush"


async def test_agents_of_a_server_are_served(chatrt):
    """`--url` serves agents of a chatrt server, with its key from the environment."""
    _, url = await chatrt.serve(PLAYBOOK, CHATRT_SECRET_KEY="k" * 32, CHATRT_STORE="memory://")
    async with connect(chatrt, "--url", url, "--agent", "playbook", CHATRT_SECRET_KEY="k" * 32) as client:
        assert await ask(client, "echo hello") == "hello"


async def test_a_store_keeps_the_chats(chatrt):
    """With `--store` a chat is there when the process is started again."""
    arguments = (PLAYBOOK, "--store", "sqlite:///chats.db")
    async with connect(chatrt, *arguments) as client:
        await client.call_tool("start_chat", {"chatId": "mine"})
        await client.call_tool("send_message", {"chatId": "mine", "text": "echo one"})
    async with connect(chatrt, *arguments) as client:
        found = await client.call_tool("get_messages", {"chatId": "mine"})
        assert [message["text"] for message in found.structured_content["messages"]] == ["echo one", "one"]


async def test_it_ends_with_its_input(chatrt):
    """When standard input ends the process does, with exit code 0."""
    done = await chatrt.run("mcp", PLAYBOOK)
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_with_a_signal(chatrt, number: signal.Signals):
    """SIGTERM and Ctrl-C end the process, though nobody closed its input, with exit code 0."""
    process = await chatrt.start("mcp", PLAYBOOK)
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    answer = json.loads(await process.stdout.readline())
    assert answer["result"]["serverInfo"]["name"] == "chatrt"
    process.send_signal(number)
    assert await process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say what to serve"),
        ([PLAYBOOK, "--url", "http://127.0.0.1:9"], "say what to serve"),
        (["--url", "http://127.0.0.1:9"], "--url needs --agent"),
        ([PLAYBOOK, "--agent", "nobody"], "has no agent 'nobody'"),
    ],
)
async def test_a_wrong_command_line(chatrt, arguments: list[str], told: str):
    """What cannot be served is said in a sentence, with exit code 2."""
    done = await chatrt.run("mcp", *arguments)
    assert done.code == 2
    assert told in done.err


async def test_without_the_package_it_says_what_to_install(chatrt):
    """Without the package `mcp` the command says how to get it, with exit code 2."""
    # Python takes a module that is None in sys.modules for one that is not there.
    (chatrt.folder / "sitecustomize.py").write_text("import sys; sys.modules['mcp'] = None\n")
    path = f"{chatrt.folder}:{chatrt.environment()['PYTHONPATH']}"
    done = await chatrt.run("mcp", PLAYBOOK, PYTHONPATH=path)
    assert done.code == 2
    assert "chatrt[mcp]" in done.err
