"""The runtime: sessions, the runs that serve them, and their turns."""

from __future__ import annotations

from chatrt.runtime.inbox import Inbox
from chatrt.runtime.manager import SessionManager
from chatrt.runtime.outbox import Outbox
from chatrt.runtime.session import RunningTurn, Session, SessionState

__all__ = ["Inbox", "Outbox", "RunningTurn", "Session", "SessionManager", "SessionState"]
