"""The runtime: sessions, the runs that serve them, and their turns."""

from __future__ import annotations

from chatrt.runtime.inbox import Inbox
from chatrt.runtime.manager import Role, SessionManager
from chatrt.runtime.outbox import Outbox, Pulse
from chatrt.runtime.retention import Retention
from chatrt.runtime.session import UNANSWERED, Position, RunningTurn, Session, SessionState
from chatrt.runtime.session_writer import SessionWriter, session_writer

__all__ = [
    "UNANSWERED",
    "Inbox",
    "Outbox",
    "Position",
    "Pulse",
    "Retention",
    "Role",
    "RunningTurn",
    "Session",
    "SessionManager",
    "SessionState",
    "SessionWriter",
    "session_writer",
]
