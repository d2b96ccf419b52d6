"""The OpenAPI 3.1 document of the HTTP interface, with what the agents take and give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt import __version__, packed
from chatrt.agent import ChatAgent
from chatrt.agent_schema import AgentSchema, describe_agent
from chatrt.errors import ChatrtError, RemoteError, StoreLockedError, TurnFailedError, UsageError
from chatrt.json_schema import moved
from chatrt.server.errors import json_response
from chatrt.server.openapi_schemas import ANY, COMPONENTS, PARAMETERS, TEXT, Schema, ref
from chatrt.server.operations import AG_UI, AI_SDK, BYTES, FILES, HEALTH, JSON, NATIVE, WEBHOOKS, Operation
from chatrt.server.service import Service

TABLES: dict[str, tuple[Operation, ...]] = {
    "native": NATIVE,
    "files": FILES,
    "ai-sdk": AI_SDK,
    "ag-ui": AG_UI,
    "webhooks": WEBHOOKS,
    "health": HEALTH,
}
"""The operations of the interface, by the tag they have in the document."""

_TAGS = {
    "native": "Sessions: JSON in, standard server-sent events out, resumable at any record.",
    "ai-sdk": "What the stock `DefaultChatTransport` of the AI SDK calls.",
    "files": "Files of chats, sent beside the conversation.",
    "webhooks": "Events of other services become inputs.",
    "ag-ui": "What `HttpAgent` of AG-UI calls.",
    "health": "Whether the server is there, and what it offers.",
}
_ANY_BODY = ("invalid-input", "invalid-json", "too-large", "unsupported-type", "request-timeout", "shutting-down")
_ANY_CREDENTIALS = ("unauthorized", "invalid-token", "forbidden")
_ANYWHERE = ("internal-error", "store-error", "store-unavailable")
_FOR_WHOM = {
    "secret": "For the secret key only.",
    "sender": "For whoever signs as the application has agreed with.",
    **{
        scope: f"For the secret key, or a session token of the chat to {scope}."
        for scope in ("read", "write", "read and write")
    },
}


def describe_http(agents: Sequence[ChatAgent]) -> dict[str, Any]:
    """Return the document.

    Args:
        agents: Those that are served; without any, the document leaves open what they take and give.
    """
    described = [describe_agent(agent) for agent in agents]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chatrt",
            "version": __version__,
            "summary": "Durable conversations with agents.",
            "description": "A 2xx on an append means durable. Unknown keys are ignored, in requests and in answers.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items() if name in TABLES],
        "paths": _paths(),
        "components": {
            "schemas": {**COMPONENTS, **_agent_components(described), "ErrorCode": {"enum": sorted(_statuses())}},
            "parameters": PARAMETERS,
            "securitySchemes": {
                "secretKey": {"type": "http", "scheme": "bearer", "description": "The secret key, for servers."},
                "sessionToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token for one chat, for browsers: to read, to write or both.",
                },
            },
        },
        "x-chatrt-agents": {agent.id: _agent_index(agent) for agent in described},
    }


class OpenAPIEndpoint:
    """Gives the document of the application that it is part of."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._document: dict[str, Any] | None = None

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/v1/openapi.json", self.get, methods=["GET"])]

    async def get(self, request: Request) -> Response:
        """Return the document: it tells what agents and tools there are, so it is for the secret key."""
        self._service.authority.identify(request).require_full()
        if self._document is None:
            self._document = describe_http([*self._service.sessions.agents.values()])
        return json_response(self._document)


# --- paths


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for tag, operations in TABLES.items():
        for operation in operations:
            paths.setdefault(operation.path, {})[operation.method] = _operation(tag, operation)
    return paths


def _operation(tag: str, operation: Operation) -> dict[str, Any]:
    named = (*re.findall(r"\{(\w+)\}", operation.path), *operation.parameters)
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [tag],
        "security": _security(operation),
    }
    if operation.scope in _FOR_WHOM:
        described["description"] = _FOR_WHOM[operation.scope]
    if named:
        described["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in named]
    if operation.body is not None:
        content: dict[str, Any] = {JSON: {"schema": ref(operation.body)}}
        if operation.takes_bytes:
            content[BYTES] = {"schema": ref("File")}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    described["responses"] = {**_answers(operation), **_failures(operation)}
    return described


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    match operation.scope:
        case "nobody" | "sender":
            return []
        case "secret":
            return [{"secretKey": []}]
        case _:
            return [{"secretKey": []}, {"sessionToken": []}]


def _answers(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for status, answer in operation.answers.items():
        content = {answer.media: {"schema": ref(answer.schema)}} if answer.schema else {}
        if answer.packed:
            content[packed.MEDIA_TYPE] = {"schema": ref("File")}
        described[str(status)] = {"description": answer.description, **({"content": content} if content else {})}
    return described


def _failures(operation: Operation) -> dict[str, Any]:
    """The failures of an operation by status; what a status stands for is said by the codes it may come with."""
    if operation.scope == "nobody":
        return {}
    statuses = _statuses()
    codes = [*(() if operation.scope == "sender" else _ANY_CREDENTIALS), *operation.errors, *_ANYWHERE]
    codes += _ANY_BODY if operation.method in ("post", "patch") else ("invalid-input",)
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(statuses[code], []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in found),
            "content": {JSON: {"schema": ref("Error")}},
        }
        for status, found in sorted(by_status.items())
        if status not in operation.answers
    }


_UNSEEN = (RemoteError, StoreLockedError, TurnFailedError, UsageError)  # raised where no server answers


def _statuses() -> dict[str, int]:
    return {error.code: error.status for error in _classes(ChatrtError)}


def _classes(error: type[ChatrtError]) -> Iterator[type[ChatrtError]]:
    if error.__module__ == ChatrtError.__module__ and error not in _UNSEEN:
        yield error
        for narrower in error.__subclasses__():
            yield from _classes(narrower)


# --- agents


def _agent_components(agents: Sequence[AgentSchema]) -> dict[str, Schema]:
    components: dict[str, Schema] = {
        "AgentId": {**TEXT, "enum": [agent.id for agent in agents]} if agents else TEXT,
        "Action": _any_of(
            _place(agent, "Action") if agent.action is not None else None for agent in agents if agent.takes_actions
        ),
        "ClientData": _any_of(
            _place(agent, "ClientData") if agent.client_data is not None else None for agent in agents
        ),
    }
    for agent in agents:
        for name, schema in _schemas(agent).items():
            components[name] = moved(schema, f"#/components/schemas/{name}")
    return components


def _schemas(agent: AgentSchema) -> dict[str, Mapping[str, Any]]:
    schemas: dict[str, Mapping[str, Any]] = {}
    if agent.takes_actions and agent.action is not None:
        schemas[_place(agent, "Action")] = agent.action
    if agent.client_data is not None:
        schemas[_place(agent, "ClientData")] = agent.client_data
    for name, tool in (agent.tools or {}).items():
        schemas[_place(agent, f"tools.{name}.Input")] = tool.input
        if tool.output is not None:
            schemas[_place(agent, f"tools.{name}.Output")] = tool.output
    return schemas


def _agent_index(agent: AgentSchema) -> dict[str, Any]:
    """Where an agent's schemas are; what is absent may be anything, but there are no actions without an `action`."""
    index: dict[str, Any] = {}
    if agent.takes_actions:
        index["action"] = ref(_place(agent, "Action")) if agent.action is not None else {}
    if agent.client_data is not None:
        index["clientData"] = ref(_place(agent, "ClientData"))
    if agent.tools is not None:
        index["tools"] = {
            name: {"description": tool.description, "input": ref(_place(agent, f"tools.{name}.Input"))}
            | ({"output": ref(_place(agent, f"tools.{name}.Output"))} if tool.output is not None else {})
            for name, tool in agent.tools.items()
        }
    return index


def _place(agent: AgentSchema, what: str) -> str:
    # Names of components are ASCII; an agent's id may have letters of any script.
    return "".join(char if char.isascii() else f"_{ord(char):x}_" for char in f"agents.{agent.id}.{what}")


def _any_of(names: Iterable[str | None]) -> Schema:
    known = list(names)
    return ANY if not known or None in known else {"anyOf": [ref(name) for name in known if name is not None]}
