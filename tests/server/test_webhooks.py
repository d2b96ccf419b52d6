"""Webhooks: who may send, what becomes of an event, and that it is one input however often it comes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from chatrt.clock import ManualClock
from chatrt.errors import InvalidSignatureError, PublicError, StoreUnavailableError, UsageError
from chatrt.server import Delivery, Verified, Webhook, WebhookEvent
from chatrt.server.webhooks import part_id_of
from tests.runtime.troubled_store import TroubledStore

NOW = 1_700_000_000
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
NEW_SECRET = "whsec_" + base64.b64encode(b"another-secret-of-24-byte").decode()
BODY = b'{"id": "evt_1", "event_id": "Ev1", "type": "made", "text": "echo hi", "chat": "c1"}'


def digest(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, hashlib.sha256).digest()


def key_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


def standard(body: bytes, *, secret: str = SECRET, at: int = NOW, event_id: str = "msg_1") -> dict[str, str]:
    signature = base64.b64encode(digest(key_of(secret), f"{event_id}.{at}.".encode() + body)).decode()
    return {"webhook-id": event_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}


def svix(body: bytes, **options: Any) -> dict[str, str]:
    return {name.replace("webhook", "svix"): value for name, value in standard(body, **options).items()}


def github(body: bytes, *, secret: str = SECRET, at: int = NOW) -> dict[str, str]:
    signature = digest(secret.encode(), body).hex()
    return {"x-hub-signature-256": f"sha256={signature}", "x-github-event": "issues", "x-github-delivery": f"d{at}"}


def stripe(body: bytes, *, secret: str = SECRET, at: int = NOW) -> dict[str, str]:
    return {"stripe-signature": f"t={at},v1={digest(secret.encode(), f'{at}.'.encode() + body).hex()},v0=00"}


def slack(body: bytes, *, secret: str = SECRET, at: int = NOW) -> dict[str, str]:
    signature = digest(secret.encode(), f"v0:{at}:".encode() + body).hex()
    return {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={signature}"}


SIGN = {"standard": standard, "github": github, "stripe": stripe, "slack": slack}
TIMED = ("standard", "stripe", "slack")


def to_chat(event: WebhookEvent) -> Delivery | None:
    said = event.json
    return None if said["type"] == "noise" else Delivery(chat_id=said["chat"], agent="kit", message=said["text"])


@pytest.fixture
def hook(make_kit):
    """Serve one webhook; returns the kit and a way to send to it."""

    async def make(scheme: Any = "github", *, secret: Any = SECRET, to: Any = to_chat, **options: Any):
        names = ("tolerance", "max_bytes", "timeout")
        own = {name: options.pop(name) for name in names if name in options}
        webhook = Webhook("hook", scheme=scheme, secret=secret, to=to, **own)
        kit = await make_kit(webhooks=[webhook], clock=ManualClock(NOW), **options)

        async def send(body: bytes = BODY, headers: dict[str, str] | None = None, **signing: Any) -> httpx.Response:
            signed = SIGN[scheme](body, **signing) if headers is None else headers
            return await kit.http.post("/v1/webhooks/hook", content=body, headers=signed)

        return kit, send

    return make


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def inputs(kit, chat_id: str = "c1") -> list[dict[str, Any]]:
    session = await kit.app.state.sessions.find_session(chat_id)
    if session is None:
        return []
    records = await kit.app.state.sessions.store.read_in(session.key, after=0)
    return [{"kind": record.kind, **json.loads(record.body)} for record in records]


# --- who sends


@pytest.mark.parametrize("scheme", SIGN)
async def test_a_signed_event_becomes_a_message(hook, scheme):
    """An event that its sender signed is a message of a chat, which is made for it, and is answered."""
    kit, send = await hook(scheme)
    response = await send()
    assert (response.status_code, response.json()) == (202, {"chatId": "c1", "seq": 1, "repeated": False})
    await kit.http.get("/v1/sessions/c1/out?until=idle")
    messages = (await kit.http.get("/v1/sessions/c1/messages")).json()["messages"]
    assert [message["parts"][-1]["text"] for message in messages] == ["echo hi", "hi"]


async def test_the_example_of_the_specification(hook):
    """A signature that another implementation of Standard Webhooks has published is taken."""
    seen = []
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    _, send = await hook("standard", secret=secret, to=seen.append, tolerance=10.0**9)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert (await send(b'{"test": 2432232314}', headers)).json() == {"ignored": True}
    assert [event.id for event in seen] == ["msg_p5jXN8AQM9LWM0D4loKWxJek"]


async def test_the_example_of_github(hook):
    """The signature in GitHub's documentation is taken."""
    seen = []
    _, send = await hook("github", secret="It's a Secret to Everybody", to=seen.append)
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert (await send(b"Hello, World!", {"x-hub-signature-256": signature})).status_code == 202
    assert seen[0].body == b"Hello, World!"


async def test_the_older_names_of_headers(hook):
    """Headers of Standard Webhooks may have the names of the service that they come from."""
    _kit, send = await hook("standard")
    assert (await send(BODY, svix(BODY))).status_code == 202


@pytest.mark.parametrize("scheme", SIGN)
async def test_wrong_secrets(hook, scheme):
    """What somebody else signed is refused, without a reason, and nothing is appended."""
    kit, send = await hook(scheme)
    response = await send(secret=NEW_SECRET)
    assert code(response) == (401, "invalid-signature")
    assert response.json()["error"]["message"] == "The signature is not valid."
    assert await inputs(kit) == []


@pytest.mark.parametrize("scheme", SIGN)
async def test_changed_bodies(hook, scheme):
    """A signature is for the bytes that were signed, to the last blank."""
    _, send = await hook(scheme)
    for body in (BODY + b" ", BODY.replace(b"hi", b"ho"), b""):
        assert code(await send(body, SIGN[scheme](BODY))) == (401, "invalid-signature")


@pytest.mark.parametrize("scheme", SIGN)
async def test_headers_that_are_none(hook, scheme):
    """Missing, empty and broken headers are refused, whichever it is."""
    _, send = await hook(scheme)
    good = SIGN[scheme](BODY)
    signed = [name for name in good if not name.startswith("x-github")]
    for name in signed:
        for value in (None, "", "x", "v1,", "sha256=", "t=,v1=", "v0=", "v1,AAAA", "sha1=00", "٣", "1e9", "-1"):
            headers = {**good, name: value}
            sent = {key: text.encode() for key, text in headers.items() if text is not None}
            assert code(await send(BODY, sent)) == (401, "invalid-signature"), (name, value)


@pytest.mark.parametrize("scheme", TIMED)
@pytest.mark.parametrize(("off", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
async def test_times(hook, scheme, off, taken):
    """A signed time may be five minutes off, back or forth."""
    _, send = await hook(scheme)
    response = await send(at=NOW + off)
    assert response.status_code == (202 if taken else 401)


@pytest.mark.parametrize("scheme", TIMED)
async def test_times_are_signed(hook, scheme):
    """An old event does not become young by another time in its headers."""
    _, send = await hook(scheme)
    old = SIGN[scheme](BODY, at=NOW - 1000)
    young = {name: value.replace(str(NOW - 1000), str(NOW)) for name, value in old.items()}
    assert young != old
    assert code(await send(BODY, young)) == (401, "invalid-signature")


@pytest.mark.parametrize("scheme", SIGN)
async def test_secrets_change(hook, scheme):
    """While a secret is being changed both are good."""
    _, send = await hook(scheme, secret=[SECRET, NEW_SECRET])
    assert (await send(secret=SECRET)).status_code == 202
    assert (await send(secret=NEW_SECRET)).status_code == 202


async def test_senders_change_secrets(hook):
    """A sender may sign with several secrets at once."""
    _, send = await hook("standard")
    headers = standard(BODY)
    other = standard(BODY, secret=NEW_SECRET)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,AAAA {other} {headers['webhook-signature']}"
    assert (await send(BODY, headers)).status_code == 202


# --- again


@pytest.mark.parametrize("scheme", SIGN)
async def test_what_comes_again_is_the_same(hook, scheme):
    """An event that is sent again, later and signed anew, is one input."""
    kit, send = await hook(scheme)
    first = await send()
    again = await send(at=NOW + 60)
    assert (again.status_code, again.json()) == (202, {**first.json(), "repeated": True})
    assert len(await inputs(kit)) == 1


async def test_unsigned_names_are_not_believed(hook):
    """Where only the bytes are signed, another delivery id makes no other event."""
    _kit, send = await hook("github")
    await send()
    again = await send(BODY, {**github(BODY), "x-github-delivery": "other"})
    assert again.json()["repeated"] is True


async def test_other_events_are_others(hook):
    """Two events with the same words are two."""
    _kit, send = await hook("standard")
    await send(event_id="msg_1")
    assert (await send(event_id="msg_2")).json() == {"chatId": "c1", "seq": 2, "repeated": False}


def test_names_of_appends():
    """An append is named by the webhook and the event, in 64 characters that any store takes."""
    names = {
        part_id_of(WebhookEvent(webhook, event_id, None, b"", {}))
        for webhook in ("a", "ab")
        for event_id in ("b", "c", "žluť" * 100, "\x00")
    }
    assert len(names) == 8
    assert all(len(name) == 64 and name.isascii() and name.isalnum() for name in names)


# --- what becomes of it


async def test_events_that_nobody_wants(hook):
    """An event of no use is answered so that it does not come again, and nothing is appended."""
    kit, send = await hook()
    response = await send(BODY.replace(b"made", b"noise"))
    assert (response.status_code, response.json()) == (202, {"ignored": True})
    assert await inputs(kit) == []


@pytest.mark.parametrize("error", [KeyError("x"), PublicError("no"), UsageError("no"), InvalidSignatureError()])
async def test_a_mapping_that_fails(hook, error):
    """What the application raises is 500 and says nothing: the sender tries again, and then it is taken in."""
    broken = [error]

    async def to(event: WebhookEvent) -> Delivery | None:
        if broken:
            raise broken[0]
        return to_chat(event)

    _kit, send = await hook(to=to)
    response = await send()
    assert code(response) == (500, "webhook-failed")
    assert response.json()["error"]["message"] == "Something went wrong."
    assert response.headers["retry-after"]
    broken.clear()
    assert (await send()).json() == {"chatId": "c1", "seq": 1, "repeated": False}


async def test_a_mapping_that_hangs(hook):
    """A mapping has a time to end."""

    async def to(event: WebhookEvent) -> None:
        await asyncio.Event().wait()

    _, send = await hook(to=to, timeout=0.01)
    assert code(await send()) == (500, "webhook-failed")


@pytest.mark.parametrize(
    "delivery",
    [
        {"chat_id": "c1", "agent": "nobody", "message": "hi"},
        {"chat_id": "", "agent": "kit", "message": "hi"},
        {"chat_id": "c1", "agent": "kit", "message": {"role": "system", "parts": []}},
        {"chat_id": "c1", "agent": "kit", "message": {"role": "user", "parts": [{"type": "text"}]}},
        {"chat_id": "c1", "agent": "kit", "data": float("nan")},
    ],
)
async def test_deliveries_that_cannot_be(hook, delivery):
    """What is wrong with a delivery is the application's to mend, not the sender's: 500, and never a conflict."""
    _, send = await hook(to=lambda event: Delivery(**delivery))
    assert code(await send()) == (500, "webhook-failed")


async def test_chats_of_other_agents(hook):
    """A chat that belongs to another agent is no conflict for the sender either."""
    kit, send = await hook()
    await kit.http.post("/v1/sessions", json={"agent": "other", "chatId": "c1"})
    assert code(await send()) == (500, "webhook-failed")


async def test_closed_chats(hook):
    """An event for a closed chat is dropped, and does not come again."""
    kit, send = await hook()
    await kit.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})
    await kit.http.post("/v1/sessions/c1/close")
    response = await send()
    assert (response.status_code, response.json()) == (202, {"ignored": True})


async def test_busy_chats(hook):
    """A chat that refuses messages while it is busy is tried again later."""
    kit, send = await hook(agent={"when_busy": "reject"})
    await kit.http.post("/v1/sessions", json={"agent": "kit", "chatId": "c1"})
    hold = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hold gate"}]}
    await kit.http.post("/v1/sessions/c1/in", json={"kind": "message", "message": hold})
    assert code(await send()) == (500, "webhook-failed")
    kit.gates["gate"].set()
    await kit.http.get("/v1/sessions/c1/out?until=idle")
    assert (await send()).json()["repeated"] is False


async def test_a_store_that_fails(hook):
    """Nothing is acknowledged that is not durable."""
    store = TroubledStore()
    _kit, send = await hook(store=store)
    store.fail("append_in")
    assert code(await send()) == (503, StoreUnavailableError.code)
    assert (await send()).json()["repeated"] is False


async def test_actions_and_data(hook):
    """A delivery may be an action or data, with client data and metadata."""
    kinds = iter([{"action": {"type": "undo"}}, {"data": None}])

    def to(event: WebhookEvent) -> Delivery:
        return Delivery(
            chat_id="c1", agent="kit", client_data={"from": "hook"}, metadata={"made": "by a hook"}, **next(kinds)
        )

    kit, send = await hook("standard", to=to)
    await send(event_id="a")
    await send(event_id="b")
    assert await inputs(kit) == [
        {"kind": "action", "action": {"type": "undo"}, "clientData": {"from": "hook"}},
        {"kind": "data", "data": None, "clientData": {"from": "hook"}},
    ]
    assert (await kit.http.get("/v1/sessions/c1")).json()["metadata"] == {"made": "by a hook"}


async def test_what_a_mapping_is_told(hook):
    """An event has its name, its kind, its time, its bytes and its headers."""
    seen: list[WebhookEvent] = []
    _, send = await hook("stripe", to=seen.append)
    await send()
    event = seen[0]
    assert (event.webhook, event.id, event.type, event.sent_at, event.body) == ("hook", "evt_1", "made", NOW, BODY)
    assert event.json["chat"] == "c1"
    assert event.headers["stripe-signature"].startswith("t=")


async def test_the_challenge_of_slack(hook):
    """The challenge that Slack sends first is answered, if it is signed, and is no event."""
    seen: list[WebhookEvent] = []
    _, send = await hook("slack", to=seen.append)
    body = b'{"type": "url_verification", "challenge": "3eZbrw1aB", "token": "x"}'
    response = await send(body)
    assert (response.status_code, response.text, seen) == (200, "3eZbrw1aB", [])
    assert response.headers["content-type"].startswith("text/plain")
    assert code(await send(body, slack(BODY))) == (401, "invalid-signature")


async def test_a_scheme_of_ones_own(hook):
    """A function may check in its own way; what it leaves unnamed is named by its bytes."""

    async def check(request) -> Verified:
        if request.headers.get("x-token") not in request.secrets:
            raise InvalidSignatureError
        return Verified(type="own")

    _kit, send = await hook(check, secret="s3")
    assert code(await send(BODY, {"x-token": "s4"})) == (401, "invalid-signature")
    assert (await send(BODY, {"x-token": "s3"})).json()["repeated"] is False
    assert (await send(BODY, {"x-token": "s3"})).json()["repeated"] is True


# --- the rest


async def test_large_bodies(hook):
    """A body over the limit is refused before its signature is looked at."""
    _, send = await hook(max_bytes=100)
    assert code(await send(b"a" * 101, {})) == (413, "too-large")
    assert code(await send(b"a" * 100, {})) == (401, "invalid-signature")


async def test_bodies_that_are_no_json(hook):
    """Bytes that are no JSON reach the application, which cannot read them as such."""
    _, send = await hook()
    for body in (b"payload=1", b"", b"\xff", b"[" * 5000, b'{"a":1,"a":2}', b'{"__proto__":{}}'):
        assert code(await send(body)) == (500, "webhook-failed"), body


async def test_no_other_credentials(make_kit):
    """A server with a secret key takes events without it."""
    kit = await make_kit(
        secret_key="k" * 32,
        clock=ManualClock(NOW),
        webhooks=[Webhook("hook", scheme="github", secret=SECRET, to=to_chat)],
    )
    response = await kit.http.post("/v1/webhooks/hook", content=BODY, headers=github(BODY))
    assert response.status_code == 202


async def test_unknown_names(hook):
    """There is nothing where no webhook is."""
    kit, _ = await hook()
    for path in ("/v1/webhooks/other", "/v1/webhooks/hook/more", "/v1/webhooks/"):
        assert code(await kit.http.post(path, content=BODY, headers=github(BODY))) == (404, "not-found")
    assert code(await kit.http.get("/v1/webhooks/hook")) == (405, "method-not-allowed")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a b"},
        {"name": ""},
        {"scheme": "basic"},
        {"secret": ()},
        {"secret": ""},
        {"secret": [SECRET, ""]},
        {"scheme": "standard", "secret": "no base64!"},
    ],
)
def test_webhooks_that_cannot_be(options):
    """A webhook without a secret, or with a name or scheme that is none, is refused when it is made."""
    with pytest.raises(UsageError):
        Webhook(**{"name": "hook", "scheme": "github", "secret": SECRET, "to": to_chat, **options})


def test_deliveries_are_one_thing():
    """A delivery is one of a message, an action and data."""
    for options in ({}, {"message": "a", "action": 1}, {"action": None, "data": None}):
        with pytest.raises(UsageError):
            Delivery(chat_id="c", agent="a", **options)


async def test_two_of_one_name(make_kit):
    """Two webhooks have two names."""
    one = Webhook("hook", scheme="github", secret=SECRET, to=to_chat)
    with pytest.raises(UsageError, match="same name"):
        await make_kit(webhooks=[one, one])


def test_secrets_stay_out_of_the_repr():
    """What is shown of a webhook is its name."""
    assert repr(Webhook("hook", scheme="github", secret=SECRET, to=to_chat)) == "Webhook('hook')"
