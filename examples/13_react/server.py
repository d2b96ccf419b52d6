"""A travel guide with a page in React: tools, an approval, a question to the person, undo and rollback, tokens.

`make react` builds the page and serves both. Without `CHATRT_MODEL` a scripted model answers by keywords, so no key is
needed; with it (a litellm name such as `anthropic/claude-sonnet-4-5`) the same agent speaks with that model. With
`CHATRT_SECRET_KEY` the page needs a session token, which it gets at `POST /token`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field
from scripted_model import PAUSE, travel_model
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from chatrt import ActionEvent, ChatAgent, PublicError, TextStream, Turn, create_app, step_count_is, stream_text, tool
from chatrt.errors import InvalidInputError
from chatrt.ui import message_text

DIST = Path(__file__).parent / "dist"
TOKEN_SECONDS = int(os.environ.get("CHATRT_TOKEN_TTL", "3600"))

SYSTEM = """You are the travel guide of a demo. Keep answers short and use Markdown.
Use get_weather for weather, search_places to plan a trip (one call for each kind of place, with a sentence between two
calls), and book_table for a table in a restaurant. When you need to know something from the person, ask with ask_user
instead of writing a question. What the person adds while you work comes first from then on."""

PLACES = {
    "sights": ["the old harbour", "the cathedral on the hill", "the botanical garden"],
    "food": ["a market hall with fourteen stalls", "a bakery that opens at five", "a grill by the water"],
    "walks": [
        "along the river to the lighthouse",
        "through the upper town at dusk",
        "the forest behind the dunes",
    ],
}


# --- tools


@tool
async def get_weather(city: str) -> dict[str, Any]:
    """Tell the weather in a city (an invented one, the same for the same city)."""
    await asyncio.sleep(10 * PAUSE)
    number = sum(map(ord, city.lower()))
    skies = ("sunny", "partly cloudy", "rainy", "windy", "clear")
    return {"city": city, "celsius": 8 + number % 20, "sky": skies[number % len(skies)]}


@tool
async def search_places(city: str, kind: Literal["sights", "food", "walks"]) -> list[str]:
    """Find places of one kind in a city (invented ones)."""
    await asyncio.sleep(50 * PAUSE)  # time for another wish
    return PLACES[kind]


@tool(needs_approval=True)
async def book_table(restaurant: str, people: int, time: str) -> dict[str, Any]:
    """Book a table in a restaurant. A person has to approve it."""
    return {"booked": True, "number": f"T-{(len(restaurant) * 37 + people * 11) % 900 + 100}", "time": time}


@tool
async def ask_user(question: str, options: list[str]) -> str:
    """Ask the person a question; `options` are answers to choose from, or empty."""


TOOLS = (get_weather, search_places, book_table, ask_user)


# --- the agent


class Undo(BaseModel):
    """Take back the last question and its answer."""

    type: Literal["undo"]


class Rollback(BaseModel):
    """Forget what came after this message."""

    type: Literal["rollback"]
    message_id: str = Field(alias="messageId")


guide = ChatAgent("guide", tools=TOOLS, action=Undo | Rollback)


@guide.run
async def respond(turn: Turn[Any]) -> TextStream:
    """Answer a turn."""
    *_, question = (message for message in turn.ui_messages if message["role"] == "user")
    model = os.environ.get("CHATRT_MODEL") or travel_model(message_text(question), question["id"])
    return stream_text(model, turn.messages, system=SYSTEM, tools=TOOLS, stop_when=step_count_is(8))


@guide.on_action
async def act(event: ActionEvent) -> None:
    """Carry out an action."""
    match event.action:
        case Undo():
            roles = [message["role"] for message in event.history.all()]
            if "user" not in roles:
                raise PublicError("There is nothing to undo.")
            event.history.slice(0, len(roles) - 1 - roles[::-1].index("user"))
        case Rollback(message_id=message_id):
            event.history.rollback_to(message_id)
        case _:
            pass


# --- the page


HEADERS = {
    # Nothing from elsewhere, nothing inline: what a model writes stays text.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

NOT_BUILT = "<!doctype html><title>Not built</title><p>The page is not built yet: <code>make react</code> does it."


class Page(StaticFiles):
    """The built page: its assets have their hash in their names and stay, everything else is looked up anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        lasting = path.startswith("assets/") and response.status_code == 200
        response.headers.update(HEADERS)
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return response


async def token(request: Request) -> Response:
    """Mint a token for one chat, or give none where none is needed.

    Whoever knows the id of a chat may join it here: the page makes ids that nobody can guess. An application with
    accounts looks here whether the chat belongs to the person who asks.
    """
    chat_id = request.query_params.get("chatId", "")
    if not 1 <= len(chat_id) <= 256:
        raise InvalidInputError("1 to 256 characters", path="chatId")
    if not app.state.authority.mints:
        return JSONResponse({})
    minted = app.state.authority.mint(chat_id, agent=guide.id, ttl=TOKEN_SECONDS)
    return JSONResponse({"token": minted.token, "expiresAt": minted.expires_at}, headers={"cache-control": "no-store"})


def page(dist: Path = DIST) -> BaseRoute:
    """The page, or a word about how to get one."""
    if dist.is_dir():
        return Mount("/", Page(directory=dist, html=True))
    return Route("/", lambda _request: HTMLResponse(NOT_BUILT, headers=HEADERS))


app = create_app(guide, routes=[Route("/token", token, methods=["POST"]), page()])
