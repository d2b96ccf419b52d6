"""The agent under test: its model, its tools and its hooks do what the machine says next, and note what they are told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.events import RecoveryPlan
from chatrt.generate import step_count_is, stream_text
from chatrt.ids import Ids
from chatrt.models import FunctionModel, ModelRequest
from chatrt.models.scripted import finish
from chatrt.run_locals import local
from chatrt.tools import ToolContext, tool

fired = local("tests.machine.fired", int, default=int, durable=True)
"""How many hooks have fired in the chat, as far as it was committed: what a run leaves to the next one."""

SECRET = "the secret of the house"
"""What every planned exception says; nothing of it may reach a client (D11)."""


class Planned(Exception):
    """Raised where the machine planned it."""

    def __init__(self) -> None:
        super().__init__(SECRET)


@tool
async def ask(question: str) -> str:
    """Ask the person."""


class Stage:
    """What the agent shares with the machine; it outlives the workers.

    Attributes:
        moves: What the model does next, see `Stage.speak`.
        faults: What the next firing of a hook does: "raise" or "hold".
        told: The hooks that fired.
        prompts: What the model was shown.
        effects: The tool calls whose bodies began.
    """

    def __init__(self, ids: Ids, **options: Any) -> None:
        self.moves: deque[tuple[Any, ...]] = deque()
        self.faults: dict[str, str] = {}
        self.told: list[tuple[Any, ...]] = []
        self.prompts: list[Any] = []
        self.effects: list[str] = []
        self._ids = ids
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self.agent = self._make_agent(options)

    # --- holding

    async def hold(self, place: str) -> Any:
        """Wait at a place until `release`; returns what is given there."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[place] = future
        try:
            return await future
        finally:
            del self._waiting[place]

    def release(self, place: str, value: Any = None) -> None:
        future = self._waiting.get(place)
        if future is not None and not future.done():
            future.set_result(value)

    @property
    def held(self) -> set[str]:
        return set(self._waiting)

    async def hook(self, name: str, *facts: Any) -> str | None:
        fired.set(fired.get() + 1)
        self.told.append((name, fired.get(), *facts))
        fault = self.faults.pop(name, None)
        if fault == "hold":
            await self.hold("hook")
        if fault == "raise":
            raise Planned
        return fault

    # --- the model

    def feed(self, moves: list[tuple[Any, ...]]) -> None:
        self.moves.extend(moves)
        self.release("model")

    async def speak(self, request: ModelRequest) -> AsyncIterator[dict[str, Any]]:
        """Do one move after another:

        ("say", words) · ("half", id, tool, how) begins a call · ("calls", [(id, tool, how)]), ("end",) and ("cut",) end
        the model call, and calls that were begun are made then · ("error",) reports an error in the stream · ("raise",)
        """
        self.prompts.append(request.messages)
        begun: dict[str, tuple[str, str]] = {}
        speaking = False
        while True:
            while not self.moves:
                await self.hold("model")
            move = self.moves.popleft()
            match move[0]:
                case "say":
                    if not speaking:
                        yield {"type": "text-start", "id": "text"}
                    speaking = True
                    yield {"type": "text-delta", "id": "text", "delta": move[1]}
                case "half":
                    begun[move[1]] = (move[2], move[3])
                    yield {"type": "tool-input-start", "id": move[1], "toolName": move[2]}
                    yield {"type": "tool-input-delta", "id": move[1], "delta": '{"h'}
                case "raise":
                    raise Planned
                case "error":
                    yield {"type": "error", "error": SECRET}
                    return
                case _:
                    break
        if speaking:
            yield {"type": "text-end", "id": "text"}
        begun |= {call_id: (name, how) for call_id, name, how in (move[1] if move[0] == "calls" else ())}
        for call_id, (name, how) in begun.items():
            text = f'{{"question":"{how}"}}' if name == "ask" else f'{{"how":"{how}"}}'
            yield {"type": "tool-call", "toolCallId": call_id, "toolName": name, "input": text}
        yield finish("length" if move[0] == "cut" else "tool-calls" if begun else "stop")[0]

    # --- the tools

    async def body(self, how: str, context: ToolContext) -> str:
        self.effects.append(context.tool_call_id)
        if how == "hang":
            how = await self.hold(f"tool {context.tool_call_id}")
        if how == "raise":
            raise Planned
        return f"did {context.tool_call_id}"

    # --- the agent

    def _make_agent(self, options: dict[str, Any]) -> ChatAgent:
        @tool
        async def look(how: str, context: ToolContext) -> str:
            """Look."""
            return await self.body(how, context)

        @tool(needs_approval=True)
        async def mail(how: str, context: ToolContext) -> str:
            """Send a mail."""
            return await self.body(how, context)

        agent = ChatAgent("machine", tools=[look, mail, ask], run=self.run, on_action=self.act, **options)
        self._hook_the_run(agent)
        self._hook_the_turn(agent)
        return agent

    async def run(self, turn: Any) -> Any:
        await self.hook("run", turn.number, turn.trigger, turn.message_id)
        return stream_text(
            FunctionModel(self.speak), turn.messages, tools=turn.tools, ids=self._ids, stop_when=step_count_is(1000)
        )

    async def act(self, event: Any) -> str | None:
        """Change the history as the action says."""
        action, history = event.action, event.history
        await self.hook("action", event.turn, action["do"])
        match action["do"]:
            case "slice":
                history.slice(0, -action["count"])
            case "rollback":
                history.rollback_to(action["id"])
            case "replace":
                parts = [{"type": "text", "text": action["text"]}]
                history.replace(action["id"], {**(history.find_message(action["id"]) or {"id": "x"}), "parts": parts})
            case "raise":
                history.slice(0, 0)
                raise Planned
            case _:
                return action["text"]
        return None

    def _hook_the_run(self, agent: ChatAgent) -> None:
        @agent.on_boot
        async def boot(e: Any) -> None:
            await self.hook("boot", e.run_id, e.continuation, e.preloaded, e.resumed, e.previous_run_id)

        @agent.on_chat_resume
        async def resume(e: Any) -> None:
            await self.hook("resume", e.run_id, e.phase, e.turn)

        @agent.on_chat_suspend
        async def suspend(e: Any) -> None:
            await self.hook("suspend", e.run_id, e.phase, e.turn)

        @agent.on_preload
        async def preload(e: Any) -> None:
            await self.hook("preload", e.run_id)

        @agent.on_recovery_boot
        async def recovery_boot(e: Any) -> RecoveryPlan | None:
            in_flight = [message["id"] for message in e.in_flight_users]
            calls = [call.tool_call_id for call in e.pending_tool_calls]
            match await self.hook("recovery_boot", e.run_id, e.previous_run_id, in_flight, calls):
                case "ask again":
                    return RecoveryPlan(messages=e.settled_messages, turns=e.in_flight_users)
                case "answer nothing":
                    return RecoveryPlan(turns=[])
                case "forget":
                    return RecoveryPlan(messages=e.settled_messages)
                case _:
                    return None

    def _hook_the_turn(self, agent: ChatAgent) -> None:
        @agent.on_validate_messages
        async def validate(e: Any) -> Any:
            await self.hook("validate", e.turn, e.trigger, e.messages[0]["id"])
            return e.messages

        @agent.on_chat_start
        async def chat_start(e: Any) -> None:
            await self.hook("chat_start", e.run_id, e.turn, e.preloaded, len(e.history))

        @agent.on_turn_start
        async def turn_start(e: Any) -> None:
            facts = e.run_id, e.turn, e.trigger, e.continuation, e.preloaded, len(e.history)
            await self.hook("turn_start", *facts)

        @agent.prepare_messages
        async def prepare(e: Any) -> Any:
            await self.hook("prepare", e.turn)
            return e.messages

        @agent.on_before_turn_complete
        async def before_complete(e: Any) -> None:
            message_id = e.response_message and e.response_message["id"]
            facts = e.turn, e.trigger, e.stopped, e.finish_reason, message_id, len(e.history)
            await self.hook("before_complete", *facts)

        @agent.on_turn_complete
        async def complete(e: Any) -> None:
            message_id = e.response_message and e.response_message["id"]
            facts = e.turn, e.trigger, e.status, e.finish_reason, message_id, len(e.history)
            await self.hook("complete", *facts, e.total_usage.output_tokens or 0)
