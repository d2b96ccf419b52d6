"""The playground: a chat page for any agent, plain HTML and JavaScript served by the application itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from chatrt.agent import ChatAgent
from chatrt.errors import NotFoundError

STATIC = Path(__file__).parent / "static"

MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}

HEADERS = {
    # Nothing from elsewhere, nothing inline: what a model writes stays text.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def routes(*, title: str = "chatrt", suggestions: Sequence[str] = ()) -> list[BaseRoute]:
    """Return the routes of the page: itself at `/`, its files under `/playground/`.

    The application they are part of keeps its session manager at `app.state.sessions`, as `create_app` does.

    Args:
        title: What the page is called.
        suggestions: First messages offered in an empty chat.
    """

    async def index(_request: Request) -> Response:
        return _file("index.html")

    async def static(request: Request) -> Response:
        return _file(request.path_params["name"])

    async def config(request: Request) -> Response:
        agents: Sequence[ChatAgent] = list(request.app.state.sessions.agents.values())
        described = [{"id": agent.id, "actions": action_types(agent)} for agent in agents]
        body = {"title": title, "suggestions": list(suggestions), "agents": described}
        return JSONResponse(body, headers=HEADERS)

    return [
        Route("/", index, methods=["GET"]),
        Route("/playground/config.json", config, methods=["GET"]),
        Route("/playground/{name}", static, methods=["GET"]),
    ]


def action_types(agent: ChatAgent) -> list[str]:
    """Return what the `type` field of an agent's actions may be, as far as their schema tells."""
    if agent.action_type is None:
        return []
    schema: dict[str, Any] = TypeAdapter[Any](agent.action_type).json_schema()
    models = [schema, *schema.get("$defs", {}).values()]
    kinds = [model.get("properties", {}).get("type", {}).get("const") for model in models]
    return [kind for kind in kinds if isinstance(kind, str)]


def _file(name: str) -> Response:
    path = STATIC / name
    if path.parent != STATIC or path.suffix not in MEDIA_TYPES or not path.is_file():
        raise NotFoundError(f"the page has no file {name!r}")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)
