"""`chatrt chat`: a conversation in the terminal with live streaming; works through a pipe too, one line a message."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from chatrt.agent import ChatAgent
from chatrt.cli.target import load
from chatrt.cli.terminal import Lines, Screen, clean, compact, standard_screen
from chatrt.client import AgentChat, ChatStream, ToolCall, pending_tool_calls
from chatrt.errors import ChatrtError, UsageError
from chatrt.runtime import SessionManager
from chatrt.ui import UIMessage, UIPart

HELP = """\
/stop        stop the answer that is streaming (or Ctrl-C)
/undo        send the action {"type": "undo"}
/regenerate  ask for another answer to the last message
/help        this text
/quit        leave (or the end of input)"""


def run(options: argparse.Namespace) -> int:
    """Talk until the input ends; the exit code is 1 if the last answer failed.

    Raises:
        UsageError: If it is not clear what to talk to.
    """
    if (options.target is None) == (options.url is None):
        raise UsageError("say what to talk to: a target, or --url and --agent")
    if options.url is not None and options.agent is None:
        raise UsageError("--url needs --agent, the id of the agent")
    # A target may make an application, which then warns of how it would be served. Nothing is served here.
    logging.getLogger("chatrt.server").setLevel(logging.ERROR)
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    connected = _remote(options) if options.url is not None else _local(options)
    async with connected as chat:
        return await Conversation(chat, standard_screen(), Lines(sys.stdin), prompts=sys.stdin.isatty()).run()


@asynccontextmanager
async def _remote(options: argparse.Namespace) -> AsyncGenerator[AgentChat]:
    token = os.environ.get("CHATRT_SECRET_KEY") or None
    async with AgentChat(options.agent, id=options.id, base_url=options.url, token=token, timeout=5.0) as chat:
        yield chat


@asynccontextmanager
async def _local(options: argparse.Namespace) -> AsyncGenerator[AgentChat]:
    agents = load(options.target).agents
    agent = _choose(agents, options.target, options.agent)
    async with (
        SessionManager(agents, options.store or "memory://") as sessions,
        AgentChat(agent, id=options.id, sessions=sessions) as chat,
    ):
        yield chat


def _choose(agents: list[ChatAgent], target: str, agent_id: str | None) -> ChatAgent:
    known = ", ".join(agent.id for agent in agents)
    if not agents:
        raise UsageError(f"{target} does not say which agents it serves: name an agent, or serve it and use --url")
    if agent_id is None and len(agents) > 1:
        raise UsageError(f"{target} has several agents; choose one with --agent: {known}")
    for agent in agents:
        if agent_id in (None, agent.id):
            return agent
    raise UsageError(f"{target} has no agent {agent_id!r}; it has {known}")


class Conversation:
    """Reads lines, sends them, shows answers, and asks what the agent wants to know."""

    def __init__(self, chat: AgentChat, screen: Screen, lines: Lines, *, prompts: bool) -> None:
        self._chat = chat
        self._screen = screen
        self._lines = lines
        self._prompts = prompts
        self._interrupted = asyncio.Event()
        self._streaming = False

    async def run(self) -> int:
        """Talk until there is nothing more to read."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupt() -> None:
            if self._streaming and not self._interrupted.is_set():
                self._interrupted.set()
            elif task is not None:
                task.cancel()

        with suppress(NotImplementedError):  # where the loop has no signals, Ctrl-C ends the program
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            await self._talk()
        except asyncio.CancelledError:
            self._screen.end_line()
            return 0
        return 1 if self._screen.failed else 0

    async def _talk(self) -> None:
        if self._prompts:
            self._screen.line(f"chat {clean(self._chat.id)}, /help for help")
        await self._answer_until_settled(await self._chat.reconnect())
        while True:
            if self._prompts:
                self._screen.ask("> ")
            line = await self._lines.next()
            if line is None or line.strip() == "/quit":
                return
            try:
                await self._answer_until_settled(self._send(line.strip()))
            except ChatrtError as error:
                self._screen.failed = True
                self._screen.line(f"error: {clean(str(error))} [{error.code}]")

    def _send(self, line: str) -> ChatStream | None:
        match line:
            case "" | "/stop":
                return None
            case "/help":
                self._screen.line(HELP)
                return None
            case "/undo":
                return self._chat.send_action({"type": "undo"})
            case "/regenerate":
                return self._chat.regenerate()
            case _ if line.startswith("/"):
                self._screen.line(f"there is no {clean(line)}; /help lists what there is")
                return None
            case _:
                return self._chat.send_message(line)

    async def _answer_until_settled(self, stream: ChatStream | None) -> None:
        while stream is not None:
            await self._show(stream)
            # What a stopped or failed answer left open can be answered later, with the next message or not at all.
            asks = self._screen.saw_call and stream.status == "completed"
            stream = await self._ask_person() if asks else None

    async def _show(self, stream: ChatStream) -> None:
        self._screen.begin()
        self._interrupted.clear()
        self._streaming = True
        await stream
        stopper = asyncio.create_task(self._stop_when_told())
        try:
            async for chunk in stream:
                self._screen.show(chunk)
        finally:
            self._streaming = False
            stopper.cancel()
            await asyncio.wait({stopper})
        self._screen.end_line()

    async def _stop_when_told(self) -> None:
        told = {
            asyncio.ensure_future(self._interrupted.wait()),
            asyncio.ensure_future(self._lines.next_is("/stop")),
        }
        try:
            await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
            await self._chat.stop("the person asked for it")
        finally:
            for waiting in told:
                waiting.cancel()

    async def _ask_person(self) -> ChatStream | None:
        """Ask about the calls that wait for somebody, and send all answers as one message."""
        messages = await self._chat.messages()
        if not messages:
            return None
        message = messages[-1]
        answers: list[UIPart] = []
        for call in pending_tool_calls(message):
            answer = await self._ask_about(call)
            if answer is None:
                return None
            part = next(part for part in message["parts"] if part.get("toolCallId") == call.tool_call_id)
            answers.append(cast("UIPart", {**part, **answer}))
        advanced: UIMessage = {"id": message["id"], "role": "assistant", "parts": answers}
        return self._chat.send_raw([advanced]) if answers else None

    async def _ask_about(self, call: ToolCall) -> dict[str, Any] | None:
        question = f"{clean(call.tool_name)} {compact(call.input)}"
        if call.approval_id is None:
            self._screen.ask(f"{question}\n? ")
            line = await self._lines.next()
            return None if line is None else {"state": "output-available", "output": line}
        self._screen.ask(f"allow {question}? [y/N] ")
        line = await self._lines.next()
        if line is None:
            return None
        approved = line.strip().lower() in ("y", "yes")
        return {"state": "approval-responded", "approval": {"id": call.approval_id, "approved": approved}}
