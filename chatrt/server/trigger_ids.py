"""Ids of the Trigger-compatible wire: a chat id stands for itself, or is written as a reversible `session_...`."""

from __future__ import annotations

import base64
import binascii
import hashlib

from chatrt.wires.trigger_input import RESERVED_PREFIX


def session_id(chat_id: str) -> str:
    """Return the id of a session that its chat id can be read from."""
    return RESERVED_PREFIX + base64.urlsafe_b64encode(chat_id.encode()).rstrip(b"=").decode()


def run_id(chat_id: str) -> str:
    """Return what stands for the run of a session: clients store it, and nothing takes it back."""
    return f"run_{hashlib.sha256(chat_id.encode()).hexdigest()[:24]}"


def chat_id_of(name: str) -> str | None:
    """Return the chat id that a name of either kind means, one of each kind meaning it; None if it means none."""
    if not name.startswith(RESERVED_PREFIX):
        return name or None
    encoded = name.removeprefix(RESERVED_PREFIX)
    try:
        padded = encoded.encode("ascii") + b"=" * (-len(encoded) % 4)
        chat_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        return None
    return chat_id if chat_id and session_id(chat_id) == name else None
