"""The HTTP application."""

from __future__ import annotations

from chatrt.server.app import create_app
from chatrt.server.auth import Authority, SessionToken
from chatrt.server.limits import Limits

__all__ = ["Authority", "Limits", "SessionToken", "create_app"]
