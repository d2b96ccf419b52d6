"""Webhooks: events of other services become inputs of chats.

    async def to_chat(event: WebhookEvent) -> Delivery | None:
        if event.type != "issues":
            return None
        issue = event.json["issue"]
        return Delivery(chat_id=f"issue-{issue['number']}", agent="triage", message=issue["title"])

    app = create_app(triage, webhooks=[Webhook("github", scheme="github", secret=SECRET, to=to_chat)])

The sender is answered 202 only after the durable append, so it sends again what was not taken in; what it sends again,
and what anybody else replays, is the same input.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from chatrt import codec
from chatrt.clock import Clock
from chatrt.errors import ChatrtError, NotFoundError, SessionClosedError, UsageError, WebhookFailedError
from chatrt.runtime import Session
from chatrt.server.errors import NO_STORE, json_response
from chatrt.server.limits import read_bytes
from chatrt.server.service import Service
from chatrt.server.webhook_schemes import SCHEMES, Scheme, Verified, Verifier, WebhookRequest, standard_key
from chatrt.stores import Appended
from chatrt.ui import UIMessage

logger = logging.getLogger("chatrt.server")

_NOTHING: Any = object()


@dataclass(frozen=True)
class WebhookEvent:
    """An event that its sender signed.

    Attributes:
        webhook: The name of the webhook it came to.
        id: Names the event for good.
        type: What kind of event it is, if the scheme tells; for GitHub a header, which is not signed.
        body: The raw bytes.
        headers: By their names in lower case; most schemes do not sign them.
        sent_at: When it was signed, in seconds since 1970, if the scheme signs that.
    """

    webhook: str
    id: str
    type: str | None
    body: bytes
    headers: Mapping[str, str]
    sent_at: float | None = None

    @cached_property
    def json(self) -> Any:
        """The body as JSON; raises `InvalidJSONError` if it is none."""
        return codec.load_checked(self.body, codec.Limits(bytes=len(self.body), nodes=1_000_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What becomes of an event: one input of one chat, which is created if it is not there.

    Attributes:
        chat_id: The chat.
        agent: The agent it belongs to.
        message: A text or a user message; or, instead of it, one of the two below.
        action: An action.
        data: JSON for an agent that serves its sessions by a loop of its own.
        client_data: Sent along.
        metadata: Of the session, if it is new.
        tenant: Of the chat.
        steer: Whether a message is read before the next step of a turn that runs.
    """

    chat_id: str
    agent: str
    message: str | UIMessage | None = None
    action: Any = _NOTHING
    data: Any = _NOTHING
    client_data: Any = None
    metadata: dict[str, Any] | None = None
    tenant: str = ""
    steer: bool = False

    def __post_init__(self) -> None:
        if (self.message is not None) + (self.action is not _NOTHING) + (self.data is not _NOTHING) != 1:
            raise UsageError("a delivery is a message, an action or data")


ToDelivery = Callable[[WebhookEvent], Awaitable[Delivery | None] | Delivery | None]


class Webhook:
    """Where another service may send its events: `POST /v1/webhooks/{name}`.

    Args:
        name: Letters, digits, `-` and `_`.
        to: Says what becomes of an event; None drops it. What it raises is answered with 500, and the sender tries
            again.
        secret: What the sender signs with; several while one is being changed.
        scheme: How it signs: `standard` (Standard Webhooks), `github`, `stripe`, `slack`, or a function that checks.
        tolerance: How many seconds a signed time may be off.
        max_bytes: The largest body.
        timeout: Seconds that `to` may take.

    Raises:
        UsageError: If the name or the scheme is not possible, or there is no secret for a scheme that needs one.
    """

    def __init__(
        self,
        name: str,
        *,
        to: ToDelivery,
        secret: str | Sequence[str] = (),
        scheme: Scheme | Verifier = "standard",
        tolerance: float = 300.0,
        max_bytes: int = 1024 * 1024,
        timeout: float = 20.0,
    ) -> None:
        if not name or not all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
            raise UsageError(f"a webhook's name is made of letters, digits, '-' and '_', not {name!r}")
        verifier = scheme if callable(scheme) else SCHEMES.get(scheme)
        if verifier is None:
            raise UsageError(f"known schemes are {', '.join(SCHEMES)}, not {scheme!r}")
        self.secrets = (secret,) if isinstance(secret, str) else tuple(secret)
        if not callable(scheme) and (not self.secrets or not all(self.secrets)):
            raise UsageError(f"webhook {name!r} needs the secret that its sender signs with")
        if scheme == "standard":
            for one in self.secrets:
                standard_key(one)
        self.name = name
        self.to = to
        self.verifier = verifier
        self.tolerance = tolerance
        self.max_bytes = max_bytes
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"Webhook({self.name!r})"


class WebhookEndpoints:
    """Takes the events of all webhooks of an application."""

    def __init__(self, service: Service, webhooks: Sequence[Webhook], clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._webhooks = {webhook.name: webhook for webhook in webhooks}
        if len(self._webhooks) != len(webhooks):
            raise UsageError("two webhooks have the same name")

    def routes(self) -> list[Route]:
        """Return the route; it is there also where there is no webhook, and finds none."""
        return [Route("/v1/webhooks/{name:segment}", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Take an event: check who sent it, ask what becomes of it, append that."""
        webhook = self._webhooks.get(request.path_params["name"])
        if webhook is None:
            raise NotFoundError("no such webhook")
        self._service.check_open()
        body = await read_bytes(request, max_bytes=webhook.max_bytes, seconds=self._service.limits.body_seconds)
        headers = {name.lower(): value for name, value in request.headers.items()}
        verified = await self._verify(webhook, headers, body)
        if verified.answer is not None:
            return PlainTextResponse(verified.answer, headers=NO_STORE)
        event = WebhookEvent(
            webhook=webhook.name,
            id=verified.id or hashlib.sha256(body).hexdigest(),
            type=verified.type,
            body=body,
            headers=headers,
            sent_at=verified.sent_at,
        )
        try:
            async with asyncio.timeout(webhook.timeout):
                delivery = await _awaited(webhook.to(event))
            appended = None if delivery is None else await self._deliver(event, delivery)
        except SessionClosedError as error:
            logger.warning("webhook %s: an event for a closed chat is dropped: %s", webhook.name, error)
            appended = delivery = None
        except Exception as error:
            if isinstance(error, ChatrtError) and error.retryable and error.status >= 500:
                raise
            # Whatever is wrong with it is not the sender's to mend; and it shall come again.
            raise WebhookFailedError(webhook.name, f"{type(error).__name__}: {error}") from error
        if delivery is None or appended is None:
            return json_response({"ignored": True}, status=202)
        answer = {"chatId": delivery.chat_id, "seq": appended.seq, "repeated": appended.repeated}
        return json_response(answer, status=202)

    async def _verify(self, webhook: Webhook, headers: Mapping[str, str], body: bytes) -> Verified:
        request = WebhookRequest(
            headers=headers,
            body=body,
            secrets=webhook.secrets,
            now=self._clock.now(),
            tolerance=webhook.tolerance,
        )
        return await _awaited(webhook.verifier(request))

    async def _deliver(self, event: WebhookEvent, delivery: Delivery) -> Appended:
        session = await self._service.sessions.start_session(
            delivery.agent, delivery.chat_id, tenant=delivery.tenant, metadata=delivery.metadata
        )
        return await _append(session, delivery, part_id=part_id_of(event))


def part_id_of(event: WebhookEvent) -> str:
    """Return the name of an event's append, 64 visible ASCII characters: the same however often the event comes."""
    return hashlib.sha256(f"{event.webhook}\0{event.id}".encode("utf-8", "surrogatepass")).hexdigest()


async def _append(session: Session, delivery: Delivery, *, part_id: str) -> Appended:
    inbox, client_data = session.inbox, delivery.client_data
    if delivery.message is not None:
        said = delivery.message
        text: Any = {"role": "user", "parts": [{"type": "text", "text": said}]}
        message = cast("UIMessage", text if isinstance(said, str) else said)
        return await inbox.send_message(message, client_data=client_data, steer=delivery.steer, part_id=part_id)
    if delivery.action is not _NOTHING:
        return await inbox.act(delivery.action, client_data=client_data, part_id=part_id)
    return await inbox.send_data(delivery.data, client_data=client_data, part_id=part_id)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
