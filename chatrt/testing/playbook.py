"""The playbook: an agent for end-to-end tests of any client, whose answers depend on the words of the last user text.

Serve it with `chatrt serve chatrt.testing.playbook:app`. What it answers to a text that begins with:

    echo X       X
    count N      N deltas `w0 `, `w1 `, ... about 10 ms apart
    sleep        a delta every 100 ms for 30 s
    history      the number of messages it sees, this one included
    ask Q        client-side tool `ask_user` {question: Q}; answered: `answer: <output>` (text as it is, else JSON)
    asklong N    the same tool; answered: N deltas as for `count`
    approve X    tool `send_email` {to: X}, needs approval: {sent: true} and `sent`, or `not sent`
    confirm W    tool `do_it` {what: W}, needs approval: {ok: true} and `done: W`, or `denied`
    tool A+B     tool `add` {a, b}, and the sum as text
    fail         raises an exception whose text is `boom-secret`
    data         `data-status` with id `s` at step 1 and then 2, a transient `data-note`, and text
    meta         message metadata {model: "scripted"}, and text
    think        reasoning, then text
    call T X     frontend tool T, which the client brought along, with the input X (JSON); answered: `answer: <output>`
    state        `data-state` {step: 1}, then {step: 2}, and text
    source       a url source and a document source, then text
    file         a file part, then text
    else         `You said: ` and the text

Actions: {type: "undo"} takes back the last user message and what followed it; {type: "rollback", targetMessageId} keeps
up to that message; {type: "edit", messageId, text} changes a message's text; {type: "regenerate"} answers the last user
message anew, and is refused while a tool call is pending. Any client data are accepted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from chatrt.agent import ChatAgent
from chatrt.errors import MessageNotFoundError, PublicError
from chatrt.events import ActionEvent
from chatrt.generate import TextStream, stream_text
from chatrt.ids import RandomIds
from chatrt.models import FunctionModel, ModelPart, ModelRequest
from chatrt.models.scripted import call, finish, reasoning, text, tool_call
from chatrt.server import create_app
from chatrt.tools import Tool, tool
from chatrt.turn import ResponseWriter, Turn
from chatrt.ui import ModelMessage, UIMessage, UIPart, is_tool_part, message_text

COUNT_PAUSE = 0.01
SLEEP_PAUSE = 0.1
SLEEP_DELTAS = 300
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

_ids = RandomIds()


# --- tools


@tool
async def ask_user(question: str) -> Any:
    """Ask the person in front of the client."""


@tool(needs_approval=True)
async def send_email(to: str) -> dict[str, bool]:
    """Send an e-mail."""
    del to
    return {"sent": True}


@tool(needs_approval=True)
async def do_it(what: str) -> dict[str, bool]:
    """Do something that somebody must allow."""
    del what
    return {"ok": True}


@tool
async def add(a: int | float, b: int | float) -> float:  # noqa: PYI041 - whole numbers stay whole
    """Add two numbers."""
    return a + b


TOOLS = (ask_user, send_email, do_it, add)


# --- the model


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model finds in its prompt: the command, and what came of the tool it called for it, if it did.

    Attributes:
        word: The first word of the last user text.
        rest: What follows it.
        output: The tool's output as a prompt has it, `{"type", "value"}`; None before the call.
    """

    word: str
    rest: str
    output: dict[str, Any] | None

    @property
    def denied(self) -> bool:
        return self.output is not None and self.output["type"] == "execution-denied"

    def output_text(self) -> str:
        """The output as text: a string as it is, anything else as compact JSON."""
        value = (self.output or {}).get("value")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read_prompt(messages: Sequence[ModelMessage]) -> Prompt:
    """Find the command in a prompt: what stands in its last user message, and the tool results after it."""
    last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    said = _said(messages[last_user]) if last_user >= 0 else ""
    output: dict[str, Any] | None = None
    for message in messages[last_user + 1 :]:
        if message["role"] == "tool":
            for part in message["content"]:
                output = part["output"] if part["type"] == "tool-result" else output
    word, _, rest = said.partition(" ")
    return Prompt(word, rest, output)


def _said(message: ModelMessage) -> str:
    content: Any = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


Parts = Sequence[ModelPart | Exception] | AsyncIterator[ModelPart]


def _ask(prompt: Prompt) -> Parts:
    if prompt.output is None:
        return _call("ask_user", {"question": prompt.rest})
    return call(text(f"answer: {prompt.output_text()}"))


def _asklong(prompt: Prompt) -> Parts:
    if prompt.output is None:
        return _call("ask_user", {"question": prompt.rest})
    return _slow_words(_number(prompt.rest), COUNT_PAUSE)


def _approve(prompt: Prompt) -> Parts:
    if prompt.output is None:
        return _call("send_email", {"to": prompt.rest})
    return call(text("not sent" if prompt.denied else "sent"))


def _confirm(prompt: Prompt) -> Parts:
    if prompt.output is None:
        return _call("do_it", {"what": prompt.rest})
    return call(text("denied" if prompt.denied else f"done: {prompt.rest}"))


def _tool(prompt: Prompt) -> Parts:
    if prompt.output is None:
        a, _, b = prompt.rest.partition("+")
        return _call("add", {"a": _number(a), "b": _number(b)})
    return call(text(prompt.output_text()))


def _call_frontend(prompt: Prompt) -> Parts:
    if prompt.output is None:
        name, _, written = prompt.rest.partition(" ")
        return _call(name, _arguments(written or "{}"))
    return call(text(f"answer: {prompt.output_text()}"))


def _source(prompt: Prompt) -> Parts:
    del prompt
    url: ModelPart = {
        "type": "source",
        "sourceType": "url",
        "id": _ids.new("source"),
        "url": "https://example.com/a",
        "title": "A page",
    }
    document: ModelPart = {
        "type": "source",
        "sourceType": "document",
        "id": _ids.new("source"),
        "mediaType": "application/pdf",
        "title": "A document",
        "filename": "a.pdf",
    }
    return call([url, document], text("See the sources."))


def _file(prompt: Prompt) -> Parts:
    del prompt
    return call([{"type": "file", "mediaType": "image/png", "data": PIXEL}], text("A picture."))


COMMANDS: dict[str, Callable[[Prompt], Parts]] = {
    "echo": lambda prompt: call(text(prompt.rest)),
    "count": lambda prompt: _slow_words(_number(prompt.rest), COUNT_PAUSE),
    "sleep": lambda _: _slow_words(SLEEP_DELTAS, SLEEP_PAUSE),
    "ask": _ask,
    "asklong": _asklong,
    "approve": _approve,
    "confirm": _confirm,
    "tool": _tool,
    "call": _call_frontend,
    "state": lambda _: call(text("The state was sent.")),
    "data": lambda _: call(text("The data were sent.")),
    "meta": lambda _: call(text("The metadata were sent.")),
    "think": lambda _: call(reasoning("I think about it."), text("I have thought.")),
    "source": _source,
    "file": _file,
}


async def play(request: ModelRequest) -> AsyncIterator[ModelPart]:
    """Answer a prompt by the playbook."""
    prompt = read_prompt(request.messages)
    command = COMMANDS.get(prompt.word)
    if command is None:
        said = f"{prompt.word} {prompt.rest}".strip()
        parts: Parts = call(text(f"You said: {said}"))
    else:
        parts = command(prompt)
    if isinstance(parts, AsyncIterator):
        async for part in parts:
            yield part
        return
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


def _call(name: str, arguments: dict[str, Any]) -> Parts:
    return call(tool_call(name, arguments, id=_ids.new("call"), deltas=2))


async def _slow_words(count: float, pause: float) -> AsyncIterator[ModelPart]:
    yield {"type": "text-start", "id": "text"}
    for number in range(int(count)):
        await asyncio.sleep(pause)
        yield {"type": "text-delta", "id": "text", "delta": f"w{number} "}
    yield {"type": "text-end", "id": "text"}
    yield finish()[0]


def _arguments(written: str) -> dict[str, Any]:
    try:
        return json.loads(written)
    except ValueError:
        raise PublicError(f"{written!r} is no JSON") from None


def _number(written: str) -> int | float:
    try:
        return int(written)
    except ValueError:
        pass
    try:
        return float(written)
    except ValueError:
        raise PublicError(f"{written.strip()!r} is no number") from None


MODEL = FunctionModel(play, name="playbook")


# --- the agent


class Undo(BaseModel):
    """Take back the last user message and what followed it."""

    type: Literal["undo"]


class Rollback(BaseModel):
    """Keep the messages up to this one."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    type: Literal["rollback"]
    target_message_id: str = Field(alias="targetMessageId")


class Edit(BaseModel):
    """Change the text of a message."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    type: Literal["edit"]
    message_id: str = Field(alias="messageId")
    text: str


class Regenerate(BaseModel):
    """Answer the last user message anew."""

    type: Literal["regenerate"]


Action = Annotated[Undo | Rollback | Edit | Regenerate, Field(discriminator="type")]

playbook = ChatAgent("playbook", tools=TOOLS, frontend_tools=True, action=Action)


@playbook.run
def respond(turn: Turn[Any]) -> TextStream | str:
    """Answer a turn."""
    return answer(turn.ui_messages, turn.messages, turn.response, turn.tools)


@playbook.on_action
def act(event: ActionEvent) -> TextStream | str | None:
    """Carry out an action."""
    history = event.history
    match event.action:
        case Undo():
            history.slice(0, _last_user(history.all()))
        case Rollback(target_message_id=message_id):
            history.rollback_to(message_id)
        case Edit(message_id=message_id, text=new_text):
            message = history.find_message(message_id)
            if message is None:
                raise MessageNotFoundError(message_id)
            history.replace(message_id, {**message, "parts": [{"type": "text", "text": new_text}]})
        case Regenerate():
            messages = history.all()
            if _is_pending(messages):
                raise PublicError("A tool call is pending: answer it first.")
            if not any(message["role"] == "user" for message in messages):
                raise PublicError("There is no question to answer again.")
            history.slice(0, _last_user(messages) + 1)
            return answer(event.ui_messages, event.messages, event.response)
        case _:
            pass
    return None


def answer(
    ui_messages: list[UIMessage],
    messages: list[ModelMessage],
    response: ResponseWriter,
    tools: Sequence[Tool] = TOOLS,
) -> TextStream | str:
    """Answer the last user message."""
    last_user = ui_messages[_last_user(ui_messages)]
    word = message_text(last_user).partition(" ")[0]
    match word:
        case "fail":
            raise RuntimeError("boom-secret")
        case "history":
            return str(len(ui_messages))
        case "data":
            response.write({"type": "data-status", "id": "s", "data": {"step": 1}})
            response.write({"type": "data-note", "data": {"text": "seen once"}, "transient": True})
            response.write({"type": "data-status", "id": "s", "data": {"step": 2}})
        case "state":
            response.write({"type": "data-state", "id": "s", "data": {"step": 1}})
            response.write({"type": "data-state", "id": "s", "data": {"step": 2}})
        case _:
            pass
    metadata = _name_the_model if word == "meta" else None
    return stream_text(MODEL, messages, tools=tools, send_sources=True, message_metadata=metadata)


def _name_the_model(part: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"model": "scripted"} if part["type"] == "start" else None


def _last_user(messages: Sequence[UIMessage]) -> int:
    """The index of the last user message; 0 when there is none."""
    return max((index for index, message in enumerate(messages) if message["role"] == "user"), default=0)


def _is_pending(messages: Sequence[UIMessage]) -> bool:
    """Whether the last answer waits for the client, for an output or for an approval."""
    parts = next((message["parts"] for message in reversed(messages) if message["role"] == "assistant"), list[UIPart]())
    return any(is_tool_part(part) and part["state"] in ("input-available", "approval-requested") for part in parts)


app = create_app(playbook)
