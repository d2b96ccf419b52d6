"""The HTTP application."""

from __future__ import annotations

from chatrt.server.app import create_app
from chatrt.server.auth import Authority, SessionToken
from chatrt.server.first_step import Handover
from chatrt.server.head_start import HeadStart, HeadStartRequest, StartedHeadStart, start_head_start
from chatrt.server.limits import Limits
from chatrt.server.webhook_schemes import Verified, Verifier, WebhookRequest
from chatrt.server.webhooks import Delivery, Webhook, WebhookEvent

__all__ = [
    "Authority",
    "Delivery",
    "Handover",
    "HeadStart",
    "HeadStartRequest",
    "Limits",
    "SessionToken",
    "StartedHeadStart",
    "Verified",
    "Verifier",
    "Webhook",
    "WebhookEvent",
    "WebhookRequest",
    "create_app",
    "start_head_start",
]
