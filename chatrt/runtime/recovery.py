"""Recovery: what a run finds of a turn that another run left unfinished, and how it is closed.

The records after the last `turn-complete` are that turn. What a person saw of it is kept and closed truthfully (D8,
D21); when nobody saw anything, the input is simply served again, under the same message id. An interrupted action is
always served again: its changes were never committed, and it was acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from chatrt.codec import loads
from chatrt.runtime.finish import finish
from chatrt.runtime.merge import has_approved_calls
from chatrt.runtime.turns import TurnWork
from chatrt.runtime.work import Interrupted
from chatrt.stores import Record, SessionKey, Store
from chatrt.ui import UIMessage, UIMessageChunk

PAGE = 1000


@dataclass(slots=True)
class UnfinishedTurn:
    """What `.out` holds of a turn without its `turn-complete`."""

    in_seq: int
    trigger: str
    message_id: str
    base: UIMessage | None
    chunks: list[UIMessageChunk] = field(default_factory=list[UIMessageChunk])

    @property
    def is_kept(self) -> bool:
        """Whether a person saw more than that an answer began, or approved calls may have run; never for actions."""
        seen = any(chunk["type"] not in ("start", "start-step") for chunk in self.chunks)
        approved_ran = bool(self.chunks) and self.base is not None and has_approved_calls(self.base)
        return (seen or approved_ran) and self.trigger != "action"


async def find_unfinished_turn(store: Store, key: SessionKey, settled_seq: int) -> UnfinishedTurn | None:
    """Read what stands after the last `turn-complete`; None if nothing does."""
    turn: UnfinishedTurn | None = None
    cursor = settled_seq
    while records := (await store.read_out(key, after=cursor, limit=PAGE)).records:
        for record in records:
            if record.kind == "turn-start":
                turn = _begun(record)
            elif record.kind == "chunk" and turn is not None:
                turn.chunks.append(cast("UIMessageChunk", loads(record.body)))
        cursor = records[-1].seq
    return turn


async def close_unfinished_turn(work: TurnWork, turn: UnfinishedTurn) -> None:
    """Settle the input of an interrupted turn with the answer it had so far.

    Crashing in here is harmless: nothing is changed before the one commit at the end.
    """
    await work.resume(turn.message_id, turn.base, turn.chunks)
    await finish(work, Interrupted())


def _begun(record: Record) -> UnfinishedTurn:
    body: dict[str, Any] = loads(record.body)
    return UnfinishedTurn(body["inSeq"], body["trigger"], body["messageId"], body.get("message"))
