"""How senders sign their webhooks, and how a signature is checked: over the raw bytes, in constant time.

A request is refused when its time is too far from now, where the scheme signs a time. What names an event is taken from
what is signed; where nothing is, its bytes name it. So an event that is sent again, by anybody, is the same event.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson

from chatrt.errors import InvalidSignatureError, UsageError

Scheme = Literal["standard", "github", "stripe", "slack"]

MAX_ID = 512
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """What came in, before anything of it is believed.

    Attributes:
        headers: By their names in lower case.
        body: The raw bytes.
        secrets: Any of which may have signed it.
        now: In seconds since 1970.
        tolerance: How many seconds a signed time may be off.
    """

    headers: Mapping[str, str]
    body: bytes
    secrets: Sequence[str]
    now: float
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What is known of an event whose sender signed it.

    Attributes:
        id: Names the event, as something that is signed; None if its bytes do.
        type: What kind of event it is, if that is told.
        sent_at: When it was signed, in seconds since 1970, if that is told.
        answer: What the sender wants to read instead of being delivered: a challenge, for instance.
    """

    id: str | None = None
    type: str | None = None
    sent_at: float | None = None
    answer: str | None = None


Verifier = Callable[[WebhookRequest], Verified | Awaitable[Verified]]
"""Checks who sent a request; raises `InvalidSignatureError` if it was not who it should be."""


def verify_standard(request: WebhookRequest) -> Verified:
    """Check a request as https://www.standardwebhooks.com has it: `v1`, with secrets in base64."""
    headers = request.headers
    prefix = "webhook" if "webhook-id" in headers else "svix"
    event_id, stamp = headers.get(f"{prefix}-id", ""), headers.get(f"{prefix}-timestamp", "")
    sent_at = _check_time(stamp, request)
    if not 1 <= len(event_id) <= MAX_ID:
        raise InvalidSignatureError("no event id")
    signed = f"{event_id}.{stamp}.".encode("latin-1", "replace") + request.body
    given = [piece.partition(",") for piece in headers.get(f"{prefix}-signature", "").split()]
    signatures = [_from_base64(value) for version, _, value in given if version == "v1"]
    _require(signatures, [_digest(standard_key(secret), signed) for secret in request.secrets])
    return Verified(id=event_id, sent_at=sent_at, type=_text(request.body, "type"))


def verify_github(request: WebhookRequest) -> Verified:
    """Check `X-Hub-Signature-256`. Only the bytes are signed, so they are what names the event."""
    scheme, _, value = request.headers.get("x-hub-signature-256", "").partition("=")
    signatures = [_from_hex(value)] if scheme == "sha256" else []
    _require(signatures, [_digest(secret.encode(), request.body) for secret in request.secrets])
    return Verified(type=request.headers.get("x-github-event"))


def verify_stripe(request: WebhookRequest) -> Verified:
    """Check `Stripe-Signature`: `t=<time>,v1=<hex>,...`."""
    fields = [field.strip().partition("=") for field in request.headers.get("stripe-signature", "").split(",")]
    stamp = next((value for name, _, value in fields if name == "t"), "")
    sent_at = _check_time(stamp, request)
    signed = f"{stamp}.".encode() + request.body
    signatures = [_from_hex(value) for name, _, value in fields if name == "v1"]
    _require(signatures, [_digest(secret.encode(), signed) for secret in request.secrets])
    return Verified(id=_text(request.body, "id"), type=_text(request.body, "type"), sent_at=sent_at)


def verify_slack(request: WebhookRequest) -> Verified:
    """Check `X-Slack-Signature`; the challenge that comes when the URL is entered is answered."""
    stamp = request.headers.get("x-slack-request-timestamp", "")
    sent_at = _check_time(stamp, request)
    signed = f"v0:{stamp}:".encode() + request.body
    version, _, value = request.headers.get("x-slack-signature", "").partition("=")
    signatures = [_from_hex(value)] if version == "v0" else []
    _require(signatures, [_digest(secret.encode(), signed) for secret in request.secrets])
    kind = _text(request.body, "type")
    answer = _text(request.body, "challenge") if kind == "url_verification" else None
    return Verified(id=_text(request.body, "event_id"), type=kind, sent_at=sent_at, answer=answer)


SCHEMES: Mapping[str, Verifier] = {
    "standard": verify_standard,
    "github": verify_github,
    "stripe": verify_stripe,
    "slack": verify_slack,
}


def standard_key(secret: str) -> bytes:
    """Return the key of a Standard Webhooks secret.

    Raises:
        UsageError: If it is not base64.
    """
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise UsageError("a secret of Standard Webhooks is base64, `whsec_` before it or not") from None


def _check_time(stamp: str, request: WebhookRequest) -> float:
    if _TIMESTAMP.fullmatch(stamp) is None:
        raise InvalidSignatureError("no time")
    if abs(request.now - int(stamp)) > request.tolerance:
        raise InvalidSignatureError("signed too long ago, or in the future")
    return float(stamp)


def _digest(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, hashlib.sha256)


def _require(given: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Compare each with each, whatever the result of the others."""
    matches = [hmac.compare_digest(one, other) for one in given[:16] for other in expected]
    if not any(matches):
        raise InvalidSignatureError


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _text(body: bytes, key: str) -> str | None:
    """Return a text of a JSON object; None where there is none. Only for what is signed."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= 4096 else None
