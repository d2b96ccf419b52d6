"""Agents of every shape that types can have, for the declarations that `chatrt types` writes of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from chatrt import ChatAgent, tool
from chatrt.tools import Tool


class Plan(StrEnum):
    FREE = "free"
    PRO = "pro"


class Place(BaseModel):
    """Where somebody is: ends with a */ sign."""

    city: str
    at: tuple[float, float] | None = None


class ClientData(BaseModel):
    user_id: str = Field(alias="userId")
    plan: Plan = Plan.FREE
    place: Place | None = None
    labels: dict[str, list[str]] = {}
    note: str | None = Field(None, description='Anything; "quoted" and */ too.')


class Undo(BaseModel):
    type: Literal["undo"] = "undo"


class Rollback(BaseModel):
    type: Literal["rollback"] = "rollback"
    target_message_id: str = Field(alias="targetMessageId")


class Thread(BaseModel):
    """Contains itself."""

    title: str
    replies: list[Thread] = []


class Hit(TypedDict, total=False):
    url: str
    score: float


class Found(BaseModel):
    hits: list[Hit]
    first: Thread | None = None
    more: bool = False


@tool
async def search_docs(query: str, limit: int = 5, since: datetime | None = None) -> Found:
    """Search the product documentation."""
    return Found(hits=[])


@tool
def ask_user(question: str, options: list[str]) -> str:
    """Ask the person."""


@tool(name="keep-thread")
async def keep_thread(thread: Thread, data: Any) -> None:
    """Keep it."""
    _ = thread


pick = Tool.client("pick", Place, output_type=Place)
remote = Tool.from_schema("remote", "Known at run time only.", {"type": "object"}, dynamic=True)

support = ChatAgent(
    "support",
    run=lambda turn: "",
    tools=[search_docs, ask_user, keep_thread, pick, remote],
    client_data=ClientData,
    action=Annotated[Undo | Rollback, Field(discriminator="type")],
    on_action=lambda event: None,
)
plain = ChatAgent("plain-2.0", run=lambda turn: "")
own = ChatAgent("own", run=lambda turn: "", tools=lambda turn: [], on_action=lambda event: None)

agents = [support, plain, own]
