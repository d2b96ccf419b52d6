"""Writes: data chunks that code elsewhere puts into the answers of a session, without a turn of its run function.

While a turn or action is under way a write becomes part of its answer at once, ahead of inputs that wait, and is
settled by its commit. When nothing runs it is a small piece of work of its own (`chatrt.runtime.write_work`).

Each part that is kept has an id, so a write that is done twice after a crash is seen once (D18).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from chatrt.codec import loads
from chatrt.errors import ChatrtError
from chatrt.runtime.response import Response
from chatrt.stores import Record
from chatrt.ui import UIMessageChunk

logger = logging.getLogger("chatrt.runtime")


def write_record(response: Response, record: Record) -> None:
    """Put what a `write` record holds into an answer."""
    for chunk in _chunks(record):
        try:
            response.emit(chunk)
        except ChatrtError:
            logger.exception("input %d: a %s could not be written", record.seq, chunk["type"])


def is_shown(record: Record, chunks: Sequence[UIMessageChunk]) -> bool:
    """Tell whether all that a `write` record holds is among these chunks."""
    return all(chunk in chunks for chunk in _chunks(record))


def _chunks(record: Record) -> list[UIMessageChunk]:
    body: dict[str, Any] = loads(record.body)
    return body["chunks"]
