"""Who may do what on the Trigger-compatible wire: the secret key, and tokens that name what they allow."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from chatrt.clock import ManualClock
from chatrt.errors import ForbiddenError, InvalidInputError, InvalidTokenError
from chatrt.ids import CountingIds
from chatrt.server import Authority
from chatrt.server.trigger_ids import session_id
from chatrt.server.trigger_tokens import AUDIENCE, ISSUER, TriggerTokens
from tests.server.kit import KEY, Kit

NOW = int(ManualClock().now())
GOOD: dict[str, Any] = {
    "sub": "chatrt",
    "pub": True,
    "iss": ISSUER,
    "aud": AUDIENCE,
    "iat": NOW,
    "exp": NOW + 900,
    "scopes": ["read:sessions:c1", "write:sessions:c1"],
}


def signed(claims: dict[str, Any], key: bytes | str = KEY, **options: Any) -> str:
    return jwt.encode(claims, key, algorithm="HS256", **options)


def raw(header: dict[str, Any], claims: Any, key: bytes = KEY.encode()) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = f"{part(header)}.{part(claims)}"
    return f"{body}.{base64.urlsafe_b64encode(hmac.digest(key, body.encode(), 'sha256')).rstrip(b'=').decode()}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(clock: ManualClock) -> TriggerTokens:
    return TriggerTokens(Authority(KEY, clock=clock, ids=CountingIds()), clock=clock, ids=CountingIds())


def allows(tokens: TriggerTokens, token: str, chat_id: str, scope: Any) -> bool:
    try:
        tokens.verify(token).require(chat_id, scope)
    except ForbiddenError:
        return False
    return True


# --- what is read


def test_a_token_signed_with_the_secret_key_is_read(tokens):
    """The SDK signs with the very key; such a token opens its chat, and is nobody who may do everything."""
    principal = tokens.verify(signed(GOOD))
    principal.require("c1", "read", "write")
    assert (principal.full, principal.expires_at) == (False, NOW + 905)
    assert not principal.may_create("kit")
    with pytest.raises(ForbiddenError):
        principal.require_full()


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("read:sessions:c1", ["read c1"]),
        ("write:sessions:c1", ["write c1"]),
        ("read:sessions", ["read a:b:c", "read c1", "read c2"]),
        ("read:sessions:a:b:c", ["read a:b:c"]),
        (f"read:sessions:{session_id('c1')}", ["read c1"]),
        ("read:sessions:", []),
        ("read:sessions:*", []),
        ("read:sessions:c", []),
        ("read:sessions:C1", []),
        ("READ:sessions:c1", []),
        ("admin:sessions:c1", []),
        ("admin", []),
        ("read", []),
        ("read:runs:c1", []),
        ("read:session:c1", []),
        (" read:sessions:c1", []),
        (7, []),
        (["read:sessions:c1"], []),
        (None, []),
    ],
    ids=str,
)
def test_a_scope_allows_what_it_says(tokens, scope: Any, allowed: list[str]):
    """An id is everything behind the second colon; without one it is all chats."""
    token = signed({**GOOD, "scopes": [scope]})
    asked = [(what, chat_id) for what in ("read", "write") for chat_id in ("a:b:c", "c1", "c2")]
    assert [f"{what} {chat_id}" for what, chat_id in asked if allows(tokens, token, chat_id, what)] == allowed


@pytest.mark.parametrize("scopes", [None, "read:sessions:c1", {"read:sessions:c1": 1}, 7, []], ids=str)
def test_scopes_of_another_shape_allow_nothing(tokens, scopes: Any):
    """The token is good, and opens nothing."""
    assert not allows(tokens, signed({**GOOD, "scopes": scopes}), "c1", "read")


def test_a_session_token_is_read_as_well(tokens, clock):
    """What the server mints for its other wires opens its chat here."""
    token = Authority(KEY, clock=clock, ids=CountingIds()).mint("c1", scopes=["read"]).token
    assert allows(tokens, token, "c1", "read")
    assert not allows(tokens, token, "c1", "write")
    assert not allows(tokens, token, "c2", "read")


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW - 60},
        {"exp": NOW + 86_401},
        {"exp": NOW + 10**9},
        {"exp": str(NOW + 60)},
        {"exp": float(NOW + 60)},
        {"exp": True},
        {"exp": None},
        {"iat": NOW + 3600, "exp": NOW + 7200},
        {"iat": str(NOW)},
        {"iat": True},
        {"iat": NOW - 90_000},
        {"nbf": NOW - 10},
        {"iss": "https://id.trigger.dev.evil.example"},
        {"iss": [ISSUER]},
        {"aud": "chatrt"},
        {"aud": [AUDIENCE]},
        {"aud": [AUDIENCE, "other"]},
        {"sub": 7},
    ],
    ids=str,
)
def test_claims_have_the_right_types_and_times(tokens, change: dict[str, Any]):
    """At most a day from when it was made; nothing is guessed from a claim of another shape."""
    with pytest.raises(InvalidTokenError):
        tokens.verify(raw({"alg": "HS256"}, {**GOOD, **change}))


def test_the_good_claims_are_good(tokens):
    """The claims that the cases here vary are accepted as they are."""
    assert allows(tokens, raw({"alg": "HS256"}, GOOD), "c1", "read")


@pytest.mark.parametrize("missing", ["exp", "iss", "aud"])
def test_a_token_says_who_made_it_for_whom_and_until_when(tokens, missing: str):
    """Without that it is none."""
    with pytest.raises(InvalidTokenError):
        tokens.verify(signed({key: value for key, value in GOOD.items() if key != missing}))


def test_a_token_need_not_say_when_it_was_made(tokens):
    """Then it ends within a day from now."""
    bare = {key: value for key, value in GOOD.items() if key != "iat"}
    assert allows(tokens, signed(bare), "c1", "read")
    with pytest.raises(InvalidTokenError):
        tokens.verify(signed({**bare, "exp": NOW + 86_401}))


def test_a_token_ends(tokens, clock):
    """It holds for its time and five seconds of leeway between clocks."""
    token = signed(GOOD)
    clock.advance(904)
    tokens.verify(token)
    clock.advance(1)
    with pytest.raises(InvalidTokenError):
        tokens.verify(token)


@pytest.mark.parametrize(
    "token",
    [
        raw({"alg": "none"}, GOOD),
        raw({"alg": "none"}, GOOD).rpartition(".")[0] + ".",
        raw({"alg": "HS512"}, GOOD),
        raw({"alg": "RS256"}, GOOD),
        raw({"alg": "hs256"}, GOOD),
        raw({"alg": "HS256", "crit": ["x"], "x": 1}, GOOD),
        raw({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, GOOD, b"\0\0\0"),
        raw({"alg": "HS256"}, GOOD, b""),
        raw({"alg": "HS256"}, GOOD, b"\0" * 64),
        raw({"alg": "HS256"}, GOOD, hmac.digest(KEY.encode(), b"chatrt session token v1", "sha256")),
        raw({"alg": "HS256"}, GOOD, b"another key that nobody knows of"),
        raw({"alg": "HS256"}, [1]),
        signed(GOOD)[:-2],
        signed(GOOD) + ".x",
        signed({**GOOD, "scopes": ["x" * 5000]}),
        "a.b.c",
        "",
        "open-on-loopback",
    ],
    ids=lambda token: token[:24],
)
def test_a_token_of_another_make_is_refused(tokens, token: str):
    """The algorithm and the keys are ours, whatever the token says."""
    with pytest.raises(InvalidTokenError):
        tokens.verify(token)


@pytest.mark.parametrize("key", ["short", "x" * 64, "x" * 65, "ключ", "tr_dev_sk_0123456789abcdefABCDEFGH"])
def test_any_secret_key_works(clock, key: str):
    """Of any length, as the SDK uses its bytes."""
    tokens = TriggerTokens(Authority(key, clock=clock, ids=CountingIds()), clock=clock, ids=CountingIds())
    token = raw({"alg": "HS256"}, GOOD, key.encode())
    assert allows(tokens, token, "c1", "write")


# --- what is made


def test_the_server_makes_tokens_of_the_same_kind(tokens, clock):
    """With the scopes that are asked for, for a quarter of an hour unless something else is said."""
    token = tokens.mint({"scopes": ["read:sessions:c1"]})
    assert allows(tokens, token, "c1", "read")
    assert not allows(tokens, token, "c1", "write")
    clock.advance(906)
    with pytest.raises(InvalidTokenError):
        tokens.verify(token)


def test_what_the_server_signs_does_not_show_the_secret_key(tokens):
    """It has a key of its own for that; nobody can try secret keys on it."""
    token = tokens.mint({"scopes": ["read:sessions:c1"]})
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, KEY, algorithms=["HS256"], audience=AUDIENCE)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("10m", 600), ("1 hour", 3600), ("90s", 90), ("1.5h", 5400), ("1 DAY", 86_400), (NOW + 60, 60), (NOW + 60.9, 60)],
    ids=str,
)
def test_a_token_may_be_made_for_a_time(tokens, time: Any, seconds: int):
    """A duration as the SDK writes it, or an end."""
    claims = jwt.decode(tokens.mint({"scopes": ["x"], "expirationTime": time}), options={"verify_signature": False})
    assert claims["exp"] == NOW + seconds


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"scopes": None}, "/scopes"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": "read:sessions:c1"}, "/scopes"),
        ({"scopes": [7]}, "/scopes"),
        ({"scopes": ["x"] * 101}, "/scopes"),
        ({"scopes": ["x" * 4000]}, "/scopes"),
        ({"expirationTime": "soon"}, "/expirationTime"),
        ({"expirationTime": "2d"}, "/expirationTime"),
        ({"expirationTime": "0s"}, "/expirationTime"),
        ({"expirationTime": "-5m"}, "/expirationTime"),
        ({"expirationTime": NOW}, "/expirationTime"),
        ({"expirationTime": NOW + 86_401}, "/expirationTime"),
        ({"expirationTime": True}, "/expirationTime"),
        ({"expirationTime": [1]}, "/expirationTime"),
        ({"expirationTime": 1e300}, "/expirationTime"),
        ({"oneTimeUse": True}, "/oneTimeUse"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_promised_is_refused(tokens, change: dict[str, Any], path: str):
    """No token that holds longer, or more often, than it says."""
    with pytest.raises(InvalidInputError) as refused:
        tokens.mint({"scopes": ["read:sessions:c1"], **change})
    assert refused.value.path == path


# --- routes

ROUTES = [
    ("POST", "/api/v1/sessions", "full"),
    ("GET", "/api/v1/sessions", "full"),
    ("GET", "/api/v1/sessions/{id}", "full"),
    ("PATCH", "/api/v1/sessions/{id}", "full"),
    ("POST", "/api/v1/sessions/{id}/close", "full"),
    ("GET", "/api/v1/sessions/{id}/transcript", "full"),
    ("GET", "/api/v1/sessions/{id}/snapshot-url", "full"),
    ("GET", "/api/v1/sessions/{id}/snapshot", "read"),
    ("POST", "/api/v1/auth/jwt/claims", "full"),
    ("POST", "/api/v1/auth/public-tokens", "full"),
    ("POST", "/realtime/v1/sessions/{id}/in/append", "write"),
    ("GET", "/realtime/v1/sessions/{id}/out", "read"),
    ("GET", "/realtime/v1/sessions/{id}/out/records", "read"),
]
BODIES: dict[str, Any] = {
    "sessions": {"taskIdentifier": "kit", "externalId": "c1"},
    "close": {},
    "claims": {},
    "public-tokens": {"scopes": ["read:sessions:c1"]},
    "append": {"kind": "stop"},
    "{id}": {"tags": ["x"]},
}


async def ask(kit: Kit, method: str, path: str, token: str | None, chat_id: str = "c1") -> Any:
    headers = {"authorization": f"Bearer {token}" if token is not None else "", "x-peek-settled": "1"}
    body = BODIES[path.rpartition("/")[2]] if method in ("POST", "PATCH") else None
    url = path.replace("{id}", quote(chat_id, safe=""))
    return await kit.http.request(method, url, headers=headers, json=body)


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_no_credentials_no_answer(locked, method: str, path: str, needs: str):
    """None, and wrong ones, are a 401: clients fetch a new token then."""
    none = await ask(locked, method, path, None)
    assert (none.status_code, none.json()["code"]) == (401, "unauthorized")
    wrong = await ask(locked, method, path, KEY[:-1])
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid-token")
    assert wrong.headers["www-authenticate"].startswith("Bearer error=")


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_the_secret_key_may_do_everything(locked, method: str, path: str, needs: str):
    """Appending and reading included: a server has no other credentials."""
    await locked.new("c1")
    assert (await ask(locked, method, path, KEY)).status_code in (200, 201)


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
@pytest.mark.parametrize("scopes", ["read", "write"])
async def test_a_token_does_what_its_scopes_say(locked, method: str, path: str, needs: str, scopes: str):
    """Each endpoint asks for its own; some are for the secret key alone."""
    await locked.new("c1")
    response = await ask(locked, method, path, signed({**GOOD, "scopes": [f"{scopes}:sessions:c1"]}))
    assert response.status_code == (200 if needs == scopes else 403)


@pytest.mark.parametrize(("method", "path", "needs"), [route for route in ROUTES if "{id}" in route[1]])
@pytest.mark.parametrize("exists", [True, False])
async def test_another_chat_is_forbidden_whether_it_exists_or_not(locked, method, path, needs, exists: bool):
    """By either of its names; the answer tells nothing about other chats."""
    if exists:
        await locked.new("c2")
    for name in ("c2", session_id("c2")):
        refused = await ask(locked, method, path, signed(GOOD), name)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_an_unknown_chat_of_its_own_is_not_found(locked):
    """After the token was checked: clients start the session then."""
    for method, path in (("POST", "/realtime/v1/sessions/{id}/in/append"), ("GET", "/realtime/v1/sessions/{id}/out")):
        assert (await ask(locked, method, path, signed(GOOD))).status_code == 404


@pytest.mark.parametrize("chat_id", ["a/b:c %25", "read:sessions:x", "дом"])
async def test_a_token_names_any_chat(locked, chat_id: str):
    """The path is decoded once, and compared with what the scope says as it is."""
    await locked.new(chat_id)
    own = signed({**GOOD, "scopes": [f"write:sessions:{chat_id}"]})
    path = "/realtime/v1/sessions/{id}/in/append"
    assert (await ask(locked, "POST", path, own, chat_id)).status_code == 200
    assert (await ask(locked, "POST", path, own, quote(chat_id, safe="") + "%")).status_code == 403


@pytest.mark.parametrize("path", ["/v1/sessions/c1", "/api/chat/kit/c1/messages"])
async def test_a_public_token_holds_on_this_wire_only(locked, path: str):
    """The other wires know their own tokens."""
    await locked.new("c1")
    headers = {"authorization": f"Bearer {signed(GOOD)}"}
    refused = await locked.http.get(path, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid-token")


async def test_a_session_is_started_with_a_token_for_it(locked):
    """The answer brings one along that reads and writes for an hour."""
    token = (await ask(locked, "POST", "/api/v1/sessions", KEY)).json()["publicAccessToken"]
    assert (await ask(locked, "POST", "/realtime/v1/sessions/{id}/in/append", token)).status_code == 200
    assert (await ask(locked, "GET", "/realtime/v1/sessions/{id}/out", token)).status_code == 200
    locked.clock.advance(3606)
    assert (await ask(locked, "POST", "/realtime/v1/sessions/{id}/in/append", token)).status_code == 401


async def test_the_claims_of_a_token_are_told(locked):
    """What the SDK asks for before it signs."""
    assert (await ask(locked, "POST", "/api/v1/auth/jwt/claims", KEY)).json() == {"sub": "chatrt", "pub": True}


async def test_the_address_of_a_snapshot_is_for_a_minute_and_one_chat(locked):
    """It has a token of its own, which reads nothing else."""
    for name in ("c1", "c2"):
        await locked.new(name)
    url = (await ask(locked, "GET", "/api/v1/sessions/{id}/snapshot-url", KEY)).json()["presignedUrl"]
    bare = {"authorization": ""}
    assert (await locked.http.get(url, headers=bare)).status_code == 200
    assert (await locked.http.get(url.replace("/c1/", "/c2/"), headers=bare)).status_code == 403
    token = url.partition("token=")[2]
    assert (await ask(locked, "POST", "/realtime/v1/sessions/{id}/in/append", token)).status_code == 403
    locked.clock.advance(66)
    assert (await locked.http.get(url, headers=bare)).status_code == 401


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_without_a_key_this_machine_is_let_in(kit, method: str, path: str, needs: str):
    """Whatever it says; the tokens that it is given are words."""
    await kit.new("c1")
    assert (await ask(kit, method, path, "anything")).status_code in (200, 201)


@pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
async def test_without_a_key_pages_of_other_sites_are_refused(kit, method: str, path: str, needs: str):
    """What a page elsewhere could send to this machine is refused as on the other wires."""
    await kit.new("c1")
    body = BODIES[path.rpartition("/")[2]] if method in ("POST", "PATCH") else None
    headers = {"origin": "https://evil.example"}
    refused = await kit.http.request(method, path.replace("{id}", "c1"), headers=headers, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
