"""The OpenAPI document: it is valid, it has every route, and answers are as it says."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import BaseModel, Field
from starlette.routing import Route

from chatrt import tool
from chatrt.agent import ChatAgent
from chatrt.json_schema import look_up, references
from chatrt.server import create_app
from chatrt.server.openapi import describe_http
from tests.server.kit import KEY, user

EXCUSED = {
    ("get", "/api/v1/sessions"),
    ("post", "/api/v1/sessions"),
    ("get", "/api/v1/sessions/{chatId}"),
    ("patch", "/api/v1/sessions/{chatId}"),
    ("post", "/api/v1/sessions/{chatId}/close"),
    ("get", "/api/v1/sessions/{chatId}/transcript"),
    ("get", "/api/v1/sessions/{chatId}/snapshot-url"),
    ("get", "/api/v1/sessions/{chatId}/snapshot"),
    ("post", "/api/v1/auth/jwt/claims"),
    ("post", "/api/v1/auth/public-tokens"),
    ("post", "/realtime/v1/sessions/{chatId}/in/append"),
    ("get", "/realtime/v1/sessions/{chatId}/out"),
    ("get", "/realtime/v1/sessions/{chatId}/out/records"),
}
"""Routes that are left out, as (method, path): those that are there for Trigger.dev's own clients, whose contract is theirs."""


class Undo(BaseModel):
    type: Literal["undo"] = "undo"


class Branch(BaseModel):
    type: Literal["branch"] = "branch"
    below: list[Branch] = []


class ClientData(BaseModel):
    plan: Literal["free", "pro"]


@tool
def count(words: list[str]) -> dict[str, int]:
    """Count words."""
    return {word: len(word) for word in words}


support = ChatAgent(
    "support-ü",
    run=lambda turn: "",
    tools=[count],
    client_data=ClientData,
    action=Annotated[Undo | Branch, Field(discriminator="type")],
    on_action=lambda event: None,
)
plain = ChatAgent("plain", run=lambda turn: "", tools=lambda turn: [])


@pytest.fixture(params=[[], [support], [support, plain]], ids=["none", "one", "two"])
def document(request) -> dict[str, Any]:
    """The document for some agents."""
    return describe_http(request.param)


def test_the_document_is_valid(document):
    """It is OpenAPI 3.1, whatever the agents are, and each of its references leads somewhere."""
    validate(document)
    for reference in references(document):
        assert look_up(document, reference)[0], reference
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_in_the_document():
    """A route that is added is described, or excused by name."""
    routes = set()
    for route in create_app(plain, store="memory://").routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: f"{{{camel(found[1])}}}", route.path)
        routes |= {(method.lower(), path) for method in route.methods - {"HEAD"}}
    paths = describe_http([plain])["paths"]
    described = {(method, path) for path, operations in paths.items() for method in operations}
    assert routes >= EXCUSED
    assert routes - EXCUSED == described


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def test_operations_have_names_of_their_own(document):
    """Generators make functions of them."""
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)


def test_agents_are_described():
    """What an agent takes and gives is there, and where to find it."""
    document = describe_http([support, plain])
    agents = document["x-chatrt-agents"]
    assert agents["plain"] == {}
    _, output = look_up(document, agents["support-ü"]["tools"]["count"]["output"]["$ref"])
    assert output == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert document["components"]["schemas"]["AgentId"]["enum"] == ["support-ü", "plain"]


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("Input", {"kind": "action", "action": {"type": "undo"}}, True),
        ("Input", {"kind": "action", "action": {"type": "branch", "below": [{"below": []}]}}, True),
        ("Input", {"kind": "action", "action": {"type": "branch", "below": [{"below": 1}]}}, False),
        ("Input", {"kind": "action", "action": {"type": "explode"}}, False),
        ("Input", {"kind": "message", "message": user("hi"), "clientData": {"plan": "pro"}}, True),
        ("Input", {"kind": "message", "message": user("hi"), "clientData": {"plan": "gold"}}, False),
        ("Input", {"kind": "shout"}, False),
        ("ChatRequest", {"id": "c1", "messages": [user("hi")]}, True),
        ("ChatRequest", {"id": "c1", "trigger": "regenerate-message"}, True),
        ("ChatRequest", {"id": "c1"}, False),
        ("NewSession", {"agent": "support-ü"}, True),
        ("NewSession", {"agent": "nobody"}, False),
    ],
)
def test_requests_are_held_to_what_the_agents_take(name: str, value: Any, fits: bool):
    """The schemas of the agents are part of those of the requests."""
    assert validator(describe_http([support]), name).is_valid(value) is fits


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})


# --- served


@pytest.fixture
async def http(serve, store_for_documents):
    """A server with a key."""
    client = await serve(create_app(support, store=store_for_documents, secret_key=KEY))
    client.headers["authorization"] = f"Bearer {KEY}"
    return client


@pytest.fixture
def store_for_documents() -> str:
    return "memory://"


async def test_a_server_gives_its_own(http):
    """`GET /v1/openapi.json` is the document of the agents that are served."""
    assert (await http.get("/v1/openapi.json")).json() == describe_http([support])


async def test_who_may_not_know_the_agents_is_not_told(http):
    """It names agents and tools: a session token is not enough for it, and neither is nothing."""
    token = (
        await http.post("/v1/sessions", json={"agent": support.id, "chatId": "c1", "clientData": {"plan": "pro"}})
    ).json()["token"]
    assert (await http.get("/v1/openapi.json", headers={"authorization": f"Bearer {token}"})).status_code == 403
    assert (await http.get("/v1/openapi.json", headers={"authorization": ""})).status_code == 401


async def test_files_are_as_the_document_says(http):
    """What is answered about a file, and the file itself, come with the statuses and types that are listed."""
    document = describe_http([support])
    await http.post("/v1/sessions", json={"agent": support.id, "chatId": "c1", "clientData": {"plan": "pro"}})
    files, template = "/v1/sessions/c1/attachments", "/v1/sessions/{chatId}/attachments"
    sent = await http.post(files, content=b"milk", headers={"content-type": "text/plain", "x-filename": "list.txt"})
    one = f"{files}/{sent.json()['id']}"
    for answer, path in [
        (sent, template),
        (await http.get(files), template),
        (await http.get(one), f"{template}/{{id}}"),
        (await http.get(one, headers={"range": "bytes=1-2"}), f"{template}/{{id}}"),
        (await http.get(one, headers={"range": "bytes=9-"}), f"{template}/{{id}}"),
        (await http.post(f"{one}/link"), f"{template}/{{id}}/link"),
        (await http.delete(one), f"{template}/{{id}}"),
        (await http.get(one), f"{template}/{{id}}"),
    ]:
        described = document["paths"][path][answer.request.method.lower()]["responses"][str(answer.status_code)]
        content = described.get("content", {})
        if "application/json" in content:
            Draft202012Validator({**document, **content["application/json"]["schema"]}).validate(answer.json())


async def test_answers_are_as_the_document_says(http):
    """Real answers fit the schemas that stand for them, with the statuses that are listed."""
    document = describe_http([support])
    chat, data = "/v1/sessions/c1", {"plan": "pro"}
    say = {"kind": "message", "message": user("hi")}
    for method, path, template, body in [
        ("get", "/healthz", "/healthz", None),
        ("get", "/readyz", "/readyz", None),
        ("post", "/v1/sessions", "/v1/sessions", {"agent": support.id, "chatId": "c1", "clientData": data}),
        ("post", "/v1/sessions", "/v1/sessions", {"agent": support.id, "chatId": "c1"}),
        ("post", "/v1/sessions", "/v1/sessions", {"agent": "nobody"}),
        ("get", "/v1/sessions", "/v1/sessions", None),
        ("get", chat, "/v1/sessions/{chatId}", None),
        ("get", "/v1/sessions/c2", "/v1/sessions/{chatId}", None),
        ("patch", chat, "/v1/sessions/{chatId}", {"metadata": {"title": "A chat"}}),
        ("get", "/v1/sessions?order=updated", "/v1/sessions", None),
        ("post", f"{chat}/in", "/v1/sessions/{chatId}/in", say),
        ("post", f"{chat}/in", "/v1/sessions/{chatId}/in", {"kind": "shout"}),
        ("get", f"{chat}/messages", "/v1/sessions/{chatId}/messages", None),
        ("post", f"{chat}/token", "/v1/sessions/{chatId}/token", {"ttl": 60}),
        ("get", f"/api/chat/{support.id}/c1/messages", "/api/chat/{agent}/{chatId}/messages", None),
        ("post", f"/api/chat/{support.id}/c1/stop", "/api/chat/{agent}/{chatId}/stop", None),
        ("get", f"/api/chat/{support.id}/c9/stream", "/api/chat/{agent}/{chatId}/stream", None),
        ("post", f"{chat}/close", "/v1/sessions/{chatId}/close", {"reason": "done"}),
        ("post", f"{chat}/in", "/v1/sessions/{chatId}/in", say),
        ("delete", chat, "/v1/sessions/{chatId}", None),
    ]:
        answer = await http.request(method, path, json=body)
        described = document["paths"][template][method]["responses"][str(answer.status_code)]
        if "content" in described:
            schema = described["content"]["application/json"]["schema"]
            Draft202012Validator({**document, **schema}).validate(answer.json())
        else:
            assert answer.content == b""
