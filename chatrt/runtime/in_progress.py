"""A turn in progress as the log tells it: what a process that does not run it can know, by the rule of the run itself.

What `.out` holds behind the last `turn-complete` says which input is being answered, and `.in` has that input. Merged
into the committed messages they make what the run shows. What hooks made of it is known to the run alone, until it is
committed: messages that `hydrate_messages` brought, that `on_validate_messages` changed, or that `on_boot` put away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.codec import dumps, loads
from chatrt.errors import ChatrtError
from chatrt.history import History
from chatrt.runtime.merge import merge_tool_answers, merge_user_message, trim_for_regenerate
from chatrt.stores import Record, SessionKey, Store
from chatrt.ui import INJECTED, UIMessage, find_answered_message

PAGE = 1000

_INJECTED = f'"{INJECTED}"'.encode()


@dataclass(slots=True)
class TurnInProgress:
    """What `.out` says of the first turn or action behind a cursor that has no `turn-complete` at it.

    Attributes:
        in_seq: The input it settles.
        trigger: What kind of input that is.
        message_id: The message it makes.
        base: The message that is continued, as it was before.
        edit_seq: The last edit of the input that reached it; 0 if it was never edited.
        injected_ids: Messages that were put into it, by their ids, in their order.
        handed_on: Whether its run left it to the next one, which has not begun.
    """

    in_seq: int
    trigger: str
    message_id: str
    base: UIMessage | None
    edit_seq: int
    injected_ids: list[str] = field(default_factory=list[str])
    handed_on: bool = False

    def find_served(self, records: Sequence[Record]) -> Record | None:
        """Return its input as it is served, out of the inputs behind the cursor; None if it is not there."""
        served = next((record for record in records if record.seq == self.in_seq), None)
        edit = next((record for record in records if record.seq == self.edit_seq), None)
        if served is None or edit is None:
            return served
        return edited(served, loads(edit.body)["message"], edit.seq)

    def bring_in(self, history: History, served: Record, agent: ChatAgent) -> None:
        """Merge what came in into the committed messages; what cannot be merged leaves them as they are."""
        if self.base is not None:
            if history.find_message(self.base["id"]) is not None:
                history.advance(self.base)
            return
        body: dict[str, Any] = loads(served.body)
        checkpoint = history.checkpoint()
        try:
            match served.kind:
                case "message" if body["message"]["role"] == "user":
                    _bring_in_user_message(history, body, agent)
                case "message":
                    merge_tool_answers(history, body["message"], _server_tools(agent))
                case "regenerate":
                    trim_for_regenerate(history, body.get("messageId"))
                case _:
                    pass
        except ChatrtError:
            history.restore(checkpoint)


def edited(record: Record, message: Any, edit_seq: int) -> Record:
    """Return a waiting message record with another message in it; the id stays, and what edited it is named."""
    body: dict[str, Any] = loads(record.body)
    body["message"] = {**message, "id": body["message"]["id"]}
    body["editSeq"] = edit_seq
    return Record(record.seq, record.at, record.kind, dumps(body))


async def find_turn_in_progress(store: Store, key: SessionKey, settled_seq: int) -> TurnInProgress | None:
    """Read which turn begins behind a `turn-complete`; None if none does, or if it was left to the next run.

    A turn that has come to its end by now counts: at this cursor it had not. Reads all that was said of it.
    """
    turn: TurnInProgress | None = None
    cursor = settled_seq
    while records := (await store.read_out(key, after=cursor, limit=PAGE)).records:
        for record in records:
            match record.kind:
                case "turn-complete":
                    return turn
                case "turn-start":
                    turn = _begun(loads(record.body))
                case "upgrade" | "handover" if turn is not None:
                    turn.handed_on = record.kind == "upgrade"
                case "chunk" if turn is not None and _INJECTED in record.body:
                    chunk: dict[str, Any] = loads(record.body)
                    turn.injected_ids += chunk["data"]["messageIds"] if chunk["type"] == INJECTED else ()
                case _:
                    pass
        cursor = records[-1].seq
    return None if turn is None or turn.handed_on else turn


def _begun(body: dict[str, Any]) -> TurnInProgress:
    return TurnInProgress(
        body["inSeq"], body["trigger"], body["messageId"], body.get("message"), body.get("editSeq", 0)
    )


def _bring_in_user_message(history: History, body: dict[str, Any], agent: ChatAgent) -> None:
    message: UIMessage = body["message"]
    answers: UIMessage | None = body.get("answers")
    is_known = history.find_message(message["id"]) is not None
    if answers is not None and not is_known and find_answered_message(history.all(), answers) is not None:
        merge_tool_answers(history, answers, _server_tools(agent))
    merge_user_message(history, message, body.get("messageId"))


def _server_tools(agent: ChatAgent) -> set[str]:
    """The tools that are answered by the server, as far as they are declared: a function says them to the run alone."""
    return set() if callable(agent.tools) else {tool.name for tool in agent.tools if tool.has_body}
