"""Branches: what a regenerate or an edit leaves stays, and a switch goes back to it.

Run it: `python examples/09_branching.py`. The answers are numbered texts; a real agent returns a `stream_text` there.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Literal

from pydantic import BaseModel

from chatrt import ActionEvent, AgentChat, ChatAgent, SessionManager, Turn


class Regenerate(BaseModel):
    type: Literal["regenerate"]


class Edit(BaseModel):
    type: Literal["edit"]
    message_id: str
    text: str


class Switch(BaseModel):
    type: Literal["switch"]
    to: str


brancher = ChatAgent("brancher", action=Regenerate | Edit | Switch)
numbers = count(1)


@brancher.run
async def respond(_: Turn[Any] | ActionEvent) -> str:
    return f"Answer {next(numbers)}"


@brancher.on_action
async def act(event: ActionEvent) -> str | None:
    history = event.history
    match event.action:
        case Regenerate():
            history.rollback_to([message["id"] for message in history.all() if message["role"] == "user"][-1])
        case Edit(message_id=name, text=words):
            history.rollback_to(name)
            history.replace(name, {"id": name, "role": "user", "parts": [{"type": "text", "text": words}]})
        case Switch(to=name):
            history.switch_to(name)
            return None
    return await respond(event)


async def show(chat: AgentChat) -> None:
    for message in await chat.messages():
        siblings = await chat.siblings(message["id"])
        place = f"{siblings.index(message['id']) + 1}/{len(siblings)}"
        print(place, "".join(part["text"] for part in message["parts"] if part["type"] == "text"))


async def main() -> None:
    async with SessionManager(brancher) as sessions:
        chat = AgentChat(brancher, sessions=sessions)
        await chat.send_message("What is a lighthouse for?", message_id="q").text()
        await chat.send_action({"type": "regenerate"}).text()
        await chat.send_action({"type": "edit", "message_id": "q", "text": "What is a buoy for?"}).text()
        await show(chat)  # 2/2 What is a buoy for?, 1/1 Answer 3
        await chat.send_action({"type": "switch", "to": (await chat.siblings("q"))[0]}).result()
        await show(chat)  # 1/2 What is a lighthouse for?, 2/2 Answer 2
        answers = await chat.siblings((await chat.messages())[-1]["id"])
        await chat.switch_to(answers[0]).result()  # every agent can switch, also without an action of its own
        await show(chat)  # 1/2 What is a lighthouse for?, 1/2 Answer 1


if __name__ == "__main__":
    asyncio.run(main())
