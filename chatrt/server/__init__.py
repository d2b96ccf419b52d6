"""The HTTP application."""

from __future__ import annotations

from chatrt.server.app import create_app
from chatrt.server.auth import Authority, SessionToken
from chatrt.server.first_step import Handover
from chatrt.server.head_start import HeadStart, HeadStartRequest, StartedHeadStart, start_head_start
from chatrt.server.limits import Limits

__all__ = [
    "Authority",
    "Handover",
    "HeadStart",
    "HeadStartRequest",
    "Limits",
    "SessionToken",
    "StartedHeadStart",
    "create_app",
    "start_head_start",
]
