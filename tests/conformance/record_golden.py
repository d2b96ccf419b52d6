"""Records conversations on the native wire, byte for byte, for clients to be tested with: `client/golden/*.json`.

    python -m tests.conformance.record_golden

Each file holds one conversation with a real server whose ids and clock are fixed: the requests as they were made and
the answers with their exact bodies. `test_golden.py` records them anew and compares; the tests of the TypeScript client
replay them into the reducers of the AI SDK. Record again when the wire changes on purpose.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.events import ActionEvent
from chatrt.generate import TextStream, stream_text
from chatrt.ids import CountingIds
from chatrt.models import FunctionModel, ModelPart, ModelRequest
from chatrt.models.scripted import call, reasoning, text, tool_call
from chatrt.server import create_app
from chatrt.testing import Gate
from chatrt.tools import tool
from chatrt.turn import Turn
from chatrt.ui import message_text

GOLDEN = Path(__file__).parents[2] / "client" / "golden"
AGENT = "golden"


class Undo(BaseModel):
    """Take back the last question and its answer."""

    type: Literal["undo"]


class Note(BaseModel):
    """Say something by an action."""

    type: Literal["note"]
    text: str


@tool
async def ask_user(question: str) -> Any:
    """Ask the person in front of the client."""


@tool(needs_approval=True)
async def send_email(to: str) -> dict[str, bool]:
    """Send an e-mail."""
    del to
    return {"sent": True}


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOLS = (ask_user, send_email, add)


def _after_call(request: ModelRequest) -> bool:
    return request.messages[-1]["role"] == "tool"


def _said(request: ModelRequest) -> str:
    content: Any = next(message["content"] for message in reversed(request.messages) if message["role"] == "user")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _script(said: str, *, called: bool) -> Sequence[ModelPart | Exception]:
    match said.removeprefix("hold ").split(" ")[0], called:
        case "add", False:
            return call(text(["Let me ", "add."]), tool_call("add", {"a": 2, "b": 3}, id="call_add", deltas=3))
        case "ask", False:
            return call(tool_call("ask_user", {"question": "Which colour?"}, id="call_ask", deltas=2))
        case "mail", False:
            return call(tool_call("send_email", {"to": "Ada Lovelace <ada@example.com>"}, id="call_mail"))
        case "think", _:
            return call(reasoning(["I ", "think."]), text(["Done: ", "żó 👍 \u2028."]))
        case "fail", _:
            return [*text("Half an ans")[:2], RuntimeError("a secret")]
        case _, True:
            return call(text(["The ", "result ", "is there."]))
        case _:
            return call(text([f"{word} " for word in said.split(" ")]))


def _name_the_model(part: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"model": "golden"} if part["type"] == "start" else None


def golden(gate: Gate) -> ChatAgent:
    """Make the agent; a question that begins with `hold` waits at the gate between two words."""

    async def play(request: ModelRequest) -> AsyncIterator[ModelPart]:
        said = _said(request)
        for index, part in enumerate(_script(said, called=_after_call(request))):
            if said.startswith("hold") and index == 2:
                await gate.wait()
            if isinstance(part, Exception):
                raise part
            yield part

    model, ids = FunctionModel(play, name="golden"), CountingIds()
    agent = ChatAgent(AGENT, tools=TOOLS, action=Annotated[Undo | Note, Field(discriminator="type")])

    @agent.run
    def respond(turn: Turn[Any]) -> TextStream:
        if message_text(turn.ui_messages[-1]).startswith("data"):
            turn.response.write({"type": "data-status", "id": "s", "data": {"step": 1}})
            turn.response.write({"type": "data-note", "data": {"seen": "once"}, "transient": True})
            turn.response.write({"type": "data-status", "id": "s", "data": {"step": 2}})
        return stream_text(model, turn.messages, tools=TOOLS, message_metadata=_name_the_model, ids=ids)

    @agent.on_action
    def act(event: ActionEvent) -> str | None:
        if isinstance(event.action, Note):
            return event.action.text
        event.history.slice(0, -2)
        return None

    del respond, act
    return agent


class Recorder:
    """One conversation: says things, and keeps what was said and answered."""

    def __init__(self, name: str, http: httpx.AsyncClient, gate: Gate) -> None:
        self.gate = gate
        self.exchanges: list[dict[str, Any]] = []
        self._http = http
        self._path = f"/v1/sessions/{quote(name, safe='')}"
        self._said = 0
        self._read = 0
        self._name = name

    async def start(self) -> None:
        """Create the session."""
        await self._exchange("POST", "/v1/sessions", {"agent": AGENT, "chatId": self._name})

    async def say(self, words: str, **more: Any) -> None:
        """Append a user message."""
        self._said += 1
        message_id = more.pop("id", f"m{self._said}")
        message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": words}]}
        await self.tell({"kind": "message", "message": message, **more})

    async def tell(self, body: dict[str, Any]) -> None:
        """Append an input."""
        await self._exchange("POST", f"{self._path}/in", body)

    async def read(self) -> None:
        """Read what is new until nothing is unsettled."""
        answer = await self._exchange("GET", f"{self._path}/out?until=idle", headers={"last-event-id": str(self._read)})
        self._read = max(int(line[4:]) for line in answer.splitlines() if line.startswith("id: "))

    async def load(self) -> dict[str, Any]:
        """Load the messages."""
        return json.loads(await self._exchange("GET", f"{self._path}/messages"))

    async def ask(self, words: str, **more: Any) -> dict[str, Any]:
        """Say something, read the answer, and load the messages."""
        await self.say(words, **more)
        await self.read()
        return await self.load()

    async def answer(self, message: dict[str, Any], part: dict[str, Any]) -> None:
        """Answer a call of a message, as a client does: slim."""
        slim = {"id": message["id"], "role": "assistant", "parts": [part]}
        await self.tell({"kind": "message", "message": slim})
        await self.read()
        await self.load()

    async def _exchange(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> str:
        request: dict[str, Any] = {"method": method, "path": path}
        if headers:
            request["headers"] = headers
        if body is not None:
            request["body"] = body
        response = await self._http.request(method, path, json=body, headers=headers)
        self.exchanges.append({"request": request, "response": {"status": response.status_code, "body": response.text}})
        return response.text


# --- the conversations


async def _text(chat: Recorder) -> None:
    await chat.ask("hello there")
    await chat.ask("and more")


async def _tool(chat: Recorder) -> None:
    await chat.ask("add 2 and 3")


async def _client_tool(chat: Recorder) -> None:
    asked = (await chat.ask("ask me"))["messages"][-1]
    part = {
        "type": "tool-ask_user",
        "toolCallId": "call_ask",
        "state": "output-available",
        "output": {"colour": "blue"},
    }
    await chat.answer(asked, part)


async def _approve(chat: Recorder, *, approved: bool) -> None:
    asked = (await chat.ask("mail ada"))["messages"][-1]
    approval = {"id": asked["parts"][-1]["approval"]["id"], "approved": approved}
    part = {"type": "tool-send_email", "toolCallId": "call_mail", "state": "approval-responded", "approval": approval}
    await chat.answer(asked, part)


async def _approved(chat: Recorder) -> None:
    await _approve(chat, approved=True)


async def _denied(chat: Recorder) -> None:
    await _approve(chat, approved=False)


async def _reasoning(chat: Recorder) -> None:
    await chat.ask("think hard")


async def _data(chat: Recorder) -> None:
    await chat.ask("data please")
    await chat.tell({"kind": "write", "chunks": [{"type": "data-status", "id": "s", "data": {"step": 3}}]})
    await chat.read()
    await chat.load()


async def _failure(chat: Recorder) -> None:
    await chat.ask("fail now")
    await chat.ask("hello again")


async def _stop(chat: Recorder) -> None:
    await chat.say("hold the line")
    await chat.gate.reached.wait()
    await chat.tell({"kind": "stop", "inSeq": 1, "reason": "enough"})
    await chat.read()
    await chat.load()


async def _waiting(chat: Recorder) -> None:
    await chat.say("hold the line")
    await chat.gate.reached.wait()
    await chat.say("hello later")
    await chat.say("never mind")
    edited = {"id": "m2", "role": "user", "parts": [{"type": "text", "text": "hello edited"}]}
    await chat.tell({"kind": "edit", "inSeq": 2, "message": edited})
    await chat.tell({"kind": "withdraw", "inSeq": 3})
    await chat.load()
    chat.gate.open()
    await chat.read()
    await chat.load()


async def _steer(chat: Recorder) -> None:
    # The message comes in while the first step still speaks; the tool call makes a second step, which reads it.
    await chat.say("hold add", steer=True)
    await chat.gate.reached.wait()
    await chat.say("be quick", steer=True)
    chat.gate.open()
    await chat.read()
    await chat.load()


async def _branches(chat: Recorder) -> None:
    await chat.ask("hello one")
    await chat.tell({"kind": "regenerate"})
    await chat.read()
    await chat.load()
    loaded = await chat.ask("hello two", id="m1")
    [first, *_] = loaded["branches"]["m1"]
    await chat.tell({"kind": "switch", "messageId": first})
    await chat.read()
    await chat.load()


async def _action(chat: Recorder) -> None:
    await chat.ask("hello one")
    await chat.tell({"kind": "action", "action": {"type": "note", "text": "Noted."}})
    await chat.read()
    await chat.tell({"kind": "action", "action": {"type": "undo"}})
    await chat.read()
    await chat.tell({"kind": "action", "action": {"type": "shout"}})
    await chat.read()
    await chat.load()


Conversation = Callable[[Recorder], Coroutine[Any, Any, None]]

CONVERSATIONS: dict[str, Conversation] = {
    "text": _text,
    "tool": _tool,
    "client-tool": _client_tool,
    "approved": _approved,
    "denied": _denied,
    "reasoning": _reasoning,
    "data": _data,
    "failure": _failure,
    "stop": _stop,
    "waiting": _waiting,
    "steer": _steer,
    "branches": _branches,
    "action": _action,
}


async def record(name: str) -> str:
    """Hold one conversation and return the text of its file."""
    gate = Gate()
    app = create_app(golden(gate), store="memory://", clock=ManualClock(), ids=CountingIds())
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        chat = Recorder(name, http, gate)
        await chat.start()
        await asyncio.wait_for(CONVERSATIONS[name](chat), 20)
    recorded = {"name": name, "agent": AGENT, "chatId": name, "exchanges": chat.exchanges}
    return json.dumps(recorded, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Record all conversations."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.json"):
        old.unlink()
    for name in CONVERSATIONS:
        (GOLDEN / f"{name}.json").write_text(asyncio.run(record(name)), encoding="utf-8")


if __name__ == "__main__":
    main()
