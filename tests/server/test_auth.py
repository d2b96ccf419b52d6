"""Who may do what: the secret key, session tokens, and loopback without a key."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from httpx import ASGITransport, AsyncClient

from chatrt.clock import ManualClock
from chatrt.errors import ForbiddenError, InvalidInputError, InvalidTokenError
from chatrt.ids import CountingIds
from chatrt.server import Authority, create_app
from tests.server.kit import KEY, Gates, make_agent, user

SIGNING_KEY = hmac.digest(KEY.encode(), b"chatrt session token v1", "sha256")
NOW = int(ManualClock().now())
GOOD: dict[str, Any] = {
    "sub": "c1",
    "aud": "chatrt",
    "scope": ["read", "write"],
    "iat": NOW,
    "exp": NOW + 60,
    "jti": "t1",
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def authority(clock: ManualClock) -> Authority:
    return Authority(KEY, clock=clock, ids=CountingIds())


def signed(claims: dict[str, Any], key: bytes = SIGNING_KEY, **options: Any) -> str:
    return jwt.encode(claims, key, algorithm="HS256", **options)


def raw(header: dict[str, Any], claims: Any, key: bytes = SIGNING_KEY) -> str:
    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    body = f"{part(header)}.{part(claims)}"
    return f"{body}.{part(hmac.digest(key, body.encode(), 'sha256'))}"


# --- tokens


def test_a_token_stands_for_its_chat_and_scopes(authority):
    """What was minted is what is read."""
    token = authority.mint("c1", tenant="acme", agent="kit", scopes=["read"], ttl=60)
    principal = authority.verify(token.token)
    assert (principal.chat_id, principal.tenant, principal.agent) == ("c1", "acme", "kit")
    assert (principal.full, principal.scopes) == (False, {"read"})
    assert token.expires_at == NOW + 60


def test_a_token_is_not_signed_with_the_secret_key(authority):
    """Tokens made with the secret key itself are worth nothing."""
    with pytest.raises(InvalidTokenError):
        authority.verify(signed(GOOD, KEY.encode()))


def test_two_tokens_are_never_the_same(authority):
    """Each token has an id of its own."""
    assert authority.mint("c1").token != authority.mint("c1").token


def test_a_token_ends(authority, clock):
    """It holds for its time and five seconds of leeway between clocks."""
    token = authority.mint("c1", ttl=60).token
    clock.advance(64)
    authority.verify(token)
    clock.advance(1)
    with pytest.raises(InvalidTokenError):
        authority.verify(token)


@pytest.mark.parametrize("claim", GOOD)
def test_every_claim_is_required(authority, claim: str):
    """A token without an end, an audience or a subject is none."""
    with pytest.raises(InvalidTokenError):
        authority.verify(signed({name: value for name, value in GOOD.items() if name != claim}))


@pytest.mark.parametrize(
    "change",
    [
        {"exp": str(NOW + 60)},
        {"exp": 1e300},
        {"exp": float(NOW + 60)},
        {"exp": True},
        {"exp": None},
        {"exp": NOW + 100 * 24 * 3600},
        {"exp": NOW - 60},
        {"iat": NOW + 3600},
        {"iat": str(NOW)},
        {"iat": False},
        {"nbf": NOW - 10},
        {"aud": "other"},
        {"aud": ["chatrt"]},
        {"aud": ["chatrt", "other"]},
        {"sub": 1},
        {"sub": ["c1"]},
        {"scope": "read"},
        {"scope": ["admin"]},
        {"scope": ["read", 1]},
        {"scope": {"read": True}},
        {"tenant": 1},
        {"agent": ["kit"]},
    ],
    ids=str,
)
def test_claims_have_the_right_types_and_times(authority, change: dict[str, Any]):
    """Nothing is guessed from a claim of another shape."""
    with pytest.raises(InvalidTokenError):
        authority.verify(signed({**GOOD, **change}))


def test_the_good_claims_are_good(authority):
    """The claims that the cases here vary are accepted as they are."""
    assert authority.verify(signed(GOOD)).chat_id == "c1"


@pytest.mark.parametrize(
    "token",
    [
        raw({"alg": "none"}, GOOD),
        raw({"alg": "none"}, GOOD).rpartition(".")[0] + ".",
        raw({"alg": "HS512"}, GOOD),
        raw({"alg": "RS256"}, GOOD),
        raw({"alg": "hs256"}, GOOD),
        raw({"typ": "JWT"}, GOOD),
        raw({"alg": "HS256", "crit": ["x"], "x": 1}, GOOD),
        raw({"alg": "HS256", "b64": False, "crit": ["b64"]}, GOOD),
        raw({"alg": "HS256"}, GOOD, b"another key that nobody knows of"),
        raw({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, GOOD, b"\0\0\0"),
        raw({"alg": "HS256", "kid": "../../dev/null"}, GOOD, b""),
        raw({"alg": "HS256"}, [1]),
        raw({"alg": "HS256"}, b"{"),
        raw({"alg": "HS256"}, b'{"a":' * 500 + b"1" + b"}" * 500),
        signed(GOOD) + ".x",
        signed(GOOD)[:-2],
        signed(GOOD).replace(".", ".."),
        "a.b.c",
        "...",
        "x",
        "\u0661.\u0662.\u0663",
        signed({**GOOD, "sub": "x" * 5000}),
        "a." * 100_000,
    ],
    ids=lambda token: token[:24],
)
def test_a_token_of_another_make_is_refused(authority, token: str):
    """The algorithm is ours, not the token's; whatever its header says, only our signature counts."""
    with pytest.raises(InvalidTokenError):
        authority.verify(token)


@pytest.mark.parametrize("options", [{"ttl": 0}, {"ttl": 86_401}, {"scopes": []}, {"scopes": ["admin"]}], ids=str)
def test_tokens_are_short_lived_and_of_known_scopes(authority, options):
    """A token lives for at most a day."""
    with pytest.raises(InvalidInputError):
        authority.mint("c1", **options)


def test_without_a_key_there_is_nothing_to_sign_with(clock):
    """Minting needs a secret key."""
    with pytest.raises(ForbiddenError):
        Authority(None, clock=clock, ids=CountingIds()).mint("c1")


# --- routes

ROUTES = [
    ("POST", "/v1/sessions", "full"),
    ("GET", "/v1/sessions", "full"),
    ("GET", "/v1/sessions/{id}", "read"),
    ("DELETE", "/v1/sessions/{id}", "full"),
    ("POST", "/v1/sessions/{id}/close", "full"),
    ("POST", "/v1/sessions/{id}/token", "full"),
    ("GET", "/v1/sessions/{id}/messages", "read"),
    ("POST", "/v1/sessions/{id}/in", "write"),
    ("GET", "/v1/sessions/{id}/out?until=idle", "read"),
    ("POST", "/api/chat/kit", "read write"),
    ("GET", "/api/chat/kit/{id}/stream", "read"),
    ("POST", "/api/chat/kit/{id}/stop", "write"),
    ("GET", "/api/chat/kit/{id}/messages", "read"),
]
BODIES = {
    "/v1/sessions": {"agent": "kit"},
    "/in": {"kind": "stop"},
    "/token": {},
    "/close": {},
    "/stop": {},
    "/api/chat/kit": {"id": "c1", "messages": [user("echo x")]},
}


def body_of(path: str) -> Any:
    return next(body for ending, body in reversed(BODIES.items()) if path.endswith(ending))


async def ask(kit, method: str, path: str, token: str | None) -> Any:
    headers = {"authorization": f"Bearer {token}" if token is not None else ""}
    json_body = body_of(path) if method == "POST" else None
    return await kit.http.request(method, path.replace("{id}", "c1"), headers=headers, json=json_body)


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_no_credentials_no_answer(locked, method: str, path: str, needs: str):
    """With a key configured every endpoint asks for credentials and says how."""
    response = await ask(locked, method, path, None)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_a_wrong_token_is_refused_without_a_reason(locked, method: str, path: str, needs: str):
    """Wrong, expired, malformed: one answer."""
    response = await ask(locked, method, path, KEY[:-1])
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid-token")
    assert response.json()["error"]["message"] == "The token is not valid."
    assert response.headers["www-authenticate"].startswith("Bearer error=")


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
@pytest.mark.parametrize("scopes", [["read"], ["write"], ["read", "write"]], ids="+".join)
async def test_a_token_does_what_its_scopes_say(locked, method: str, path: str, needs: str, scopes: list[str]):
    """Each endpoint asks for its scopes; some are for the secret key alone."""
    await locked.new("c1")
    token = locked.app.state.authority.mint("c1", scopes=scopes).token
    response = await ask(locked, method, path, token)
    if needs != "full" and set(needs.split()) <= set(scopes):
        assert response.status_code < 300
    else:
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
@pytest.mark.parametrize("exists", [True, False])
async def test_another_chat_is_forbidden_whether_it_exists_or_not(locked, method, path, needs, exists: bool):
    """The answer is made from the token alone, so it tells nothing about other chats."""
    if exists:
        await locked.new("c1")
    token = locked.app.state.authority.mint("c2", agent="kit").token
    response = await ask(locked, method, path, token)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("other", ["C1", "c1 ", "c1/in", "c1%", "ｃ1"])
async def test_a_chat_id_is_compared_as_it_is(locked, other: str):
    """No case folding, no normal forms, no prefixes."""
    await locked.new("c1")
    token = locked.app.state.authority.mint(other).token
    assert (await ask(locked, "GET", "/v1/sessions/{id}", token)).status_code == 403


async def test_a_token_of_another_tenant_sees_another_chat(locked):
    """The same chat id in another tenant is another chat."""
    await locked.new("c1")
    token = locked.app.state.authority.mint("c1", tenant="acme").token
    assert (await ask(locked, "GET", "/v1/sessions/{id}", token)).status_code == 404


async def test_a_token_with_its_agent_may_begin_its_chat(locked):
    """A browser with a token can send the first message, if the token names the agent."""
    mint = locked.app.state.authority.mint
    assert (await ask(locked, "POST", "/api/chat/kit", mint("c1").token)).status_code == 404
    assert (await ask(locked, "POST", "/api/chat/kit", mint("c1", agent="other").token)).status_code == 403
    assert (await ask(locked, "POST", "/api/chat/kit", mint("c1", agent="kit").token)).status_code == 200


async def test_a_token_may_make_its_own_session_and_no_other(locked):
    """The same rule on the native wire."""
    token = locked.app.state.authority.mint("c1", agent="kit").token
    headers = {"authorization": f"Bearer {token}"}
    own = await locked.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"}, headers=headers)
    other = await locked.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c2"}, headers=headers)
    assert (own.status_code, other.status_code) == (201, 403)
    assert "token" not in own.json()


async def test_only_the_secret_key_may_write_from_elsewhere(locked):
    """What is written is read as the agent's own words, so a token of the chat is not enough."""
    await locked.new("c1")
    token = locked.app.state.authority.mint("c1", agent="kit").token
    body = {"kind": "write", "chunks": [{"type": "data-x", "data": 1}]}
    refused = await locked.http.post("/v1/sessions/c1/in", json=body, headers={"authorization": f"Bearer {token}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert (await locked.put("c1", body))["seq"] == 1


async def test_a_server_gets_a_token_with_a_new_session(locked):
    """The secret key's answer brings the token for the browser along."""
    made = (await locked.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})).json()
    assert made["tokenExpiresAt"] == "2023-11-14T23:13:20.000Z"
    assert (await ask(locked, "GET", "/v1/sessions/{id}", made["token"])).json()["chatId"] == "c1"


async def test_a_token_is_minted_on_request(locked):
    """With the time and the scopes that are asked for."""
    await locked.new("c1")
    response = await locked.http.post("/v1/sessions/c1/token", json={"ttl": 60, "scopes": ["read"]})
    assert response.json()["expiresAt"] == "2023-11-14T22:14:20.000Z"
    token = response.json()["token"]
    assert (await ask(locked, "GET", "/v1/sessions/{id}", token)).status_code == 200
    assert (await ask(locked, "POST", "/v1/sessions/{id}/in", token)).status_code == 403


@pytest.mark.parametrize("body", [{"ttl": "60"}, {"ttl": True}, {"ttl": 0}, {"scopes": "read"}, {"scopes": ["all"]}])
async def test_a_token_request_is_checked(locked, body):
    """Times and scopes of another shape are refused."""
    await locked.new("c1")
    response = await locked.http.post("/v1/sessions/c1/token", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid-input")


# --- without a key


@pytest.fixture
def ask_open():
    """Ask an application without a key, as a client of that address."""

    async def ask(client: str, **headers: str) -> int:
        app = create_app(make_agent(Gates()), store="memory://", cors_origins=["https://shop.example"])
        transport = ASGITransport(app, client=(client, 1234))
        async with AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            status = (await http.get("/v1/sessions", headers=headers)).status_code
        await app.state.aclose()
        return status

    return ask


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:80", "127.1.2.3", "[::1]:8000", "a.localhost"]
)
async def test_without_a_key_this_machine_is_let_in(ask_open, host: str):
    """Loopback addresses under loopback names."""
    assert await ask_open("127.0.0.1", host=host) == 200
    assert await ask_open("::1", host=host) == 200
    assert await ask_open("::ffff:127.0.0.1", host=host) == 200


@pytest.mark.parametrize("client", ["10.0.0.1", "192.168.1.2", "::ffff:10.0.0.1", "fe80::1", "unknown", ""])
async def test_without_a_key_other_machines_are_refused(ask_open, client: str):
    """Nobody else is served."""
    assert await ask_open(client) == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "0.0.0.0", "10.0.0.1", "127.0.0.1.evil", ""]
)
async def test_without_a_key_foreign_names_are_refused(ask_open, host: str):
    """A name that somebody pointed at 127.0.0.1 is no loopback name (DNS rebinding)."""
    assert await ask_open("127.0.0.1", host=host) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:5173", 200),
        ("https://shop.example", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
async def test_without_a_key_foreign_pages_are_refused(ask_open, origin: str, status: int):
    """A page of another site may call only if its origin was named."""
    assert await ask_open("127.0.0.1", origin=origin) == status


def test_a_server_without_a_key_says_so(caplog):
    """One warning when the application is made."""
    create_app(make_agent(Gates()), store="memory://")
    assert [record.levelname for record in caplog.records if "no secret key" in record.message] == ["WARNING"]


def test_a_server_with_a_key_has_nothing_to_say(caplog, monkeypatch):
    """The key may come from the environment."""
    monkeypatch.setenv("CHATRT_SECRET_KEY", KEY)
    create_app(make_agent(Gates()), store="memory://")
    assert not caplog.records
