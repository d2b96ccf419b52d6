"""Errors: a stable code, a fixed text, an id; nothing of what happened inside."""

from __future__ import annotations

import inspect

import pytest

from chatrt import errors
from chatrt.errors import (
    ChatrtError,
    InvalidInputError,
    PublicError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from chatrt.ids import CountingIds
from chatrt.server.errors import INTERNAL, MESSAGES, error_response, public_text
from chatrt.stores import MemoryStore
from tests.server.kit import user

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ChatrtError)]
OUTSIDE = [cls for cls in CLASSES if cls.status != 500 and not issubclass(cls, InvalidInputError | errors.RemoteError)]


@pytest.mark.parametrize("cls", [cls for cls in OUTSIDE if not issubclass(cls, errors.ToolError)])
def test_every_error_that_has_a_status_has_a_text(cls: type[ChatrtError]):
    """No code that a client can meet reads like an accident."""
    assert cls.code in MESSAGES


def test_texts_are_for_codes_that_exist():
    """The table holds nothing else."""
    assert MESSAGES.keys() <= {cls.code for cls in CLASSES}


def test_codes_are_unique():
    """A code names one class."""
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PublicError("for people"), "for people"),
        (InvalidInputError("not a string", path="/id"), "/id: not a string"),
        (SessionNotFoundError("secret-chat"), "There is no such chat."),
        (StoreUnavailableError("postgres://user:secret@host"), "The store is not available; nothing was written."),
        (ChatrtError("secret"), INTERNAL),
    ],
)
def test_only_two_kinds_of_text_cross(error: ChatrtError, text: str):
    """What was written for people, and what speaks of the client's own input (D11)."""
    assert public_text(error) == text


def test_an_exception_is_in_the_log_under_the_id_of_the_answer(caplog):
    """The id is what a client and an operator have in common."""
    response = error_response(RuntimeError("boom-secret"), CountingIds())
    assert response.status_code == 500
    assert bytes(response.body) == (
        b'{"error":{"code":"internal-error","message":"Something went wrong.","id":"err_1"}}'
    )
    assert "err_1" in caplog.text
    assert "boom-secret" in caplog.text


def test_debug_tells_the_exception():
    """For development only."""
    response = error_response(RuntimeError("boom"), CountingIds(), debug=True)
    assert b'"detail":"RuntimeError: boom"' in bytes(response.body)


class BrokenStore(MemoryStore):
    """Fails with a text that nobody may read."""

    error: Exception | None = None

    async def append_in(self, *args, **options):
        if self.error is not None:
            raise self.error
        return await super().append_in(*args, **options)


@pytest.mark.behaviour(87)
async def test_a_store_that_is_away_is_told_as_503(make_kit):
    """Nothing is acknowledged, and the client is told when to try again."""
    store = BrokenStore()
    kit = await make_kit(store=store)
    await kit.new("c1")
    store.error = StoreUnavailableError("disk full at /secret/path")
    response = await kit.http.post("/v1/sessions/c1/in", json={"kind": "message", "message": user("x")})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["code"] == "store-unavailable"
    assert b"secret" not in response.content


async def test_an_accident_is_told_as_500(make_kit):
    """The text of any other exception stays inside."""
    store = BrokenStore()
    kit = await make_kit(store=store)
    await kit.new("c1")
    store.error = RuntimeError("boom-secret")
    response = await kit.http.post("/v1/sessions/c1/in", json={"kind": "message", "message": user("x")})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal-error")
    assert b"boom-secret" not in response.content


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1", 404, "not-found"),
        ("GET", "/v1/sessions/", 404, "not-found"),
        ("GET", "/v1/sessions/a/b", 404, "not-found"),
        ("GET", "/v1/sessions/a/in/", 404, "not-found"),
        ("GET", "/api/chat", 404, "not-found"),
        ("GET", "/docs", 404, "not-found"),
        ("GET", "/openapi.json", 404, "not-found"),
        ("GET", "/metricz", 404, "not-found"),
        ("PUT", "/v1/sessions", 405, "method-not-allowed"),
        ("GET", "/v1/sessions/a/in", 405, "method-not-allowed"),
        ("POST", "/v1/sessions/a/out", 405, "method-not-allowed"),
        ("GET", "/api/chat/kit", 405, "method-not-allowed"),
        ("GET", "/v1/sessions/%ff", 400, "invalid-input"),
    ],
)
async def test_what_is_not_there_is_told_in_json(kit, method: str, path: str, status: int, code: str):
    """Unknown paths and methods have codes like everything else, and nothing redirects."""
    response = await kit.http.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_answers_are_not_cached_and_not_sniffed(kit):
    """JSON is JSON, for one reader."""
    for path in ("/healthz", "/v1/sessions", "/nothing"):
        headers = (await kit.http.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "application/json"
