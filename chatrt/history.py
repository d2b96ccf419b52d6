"""The history of a session: the ordered messages of its active branch, and what has changed since they were saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chatrt.errors import MessageNotFoundError, UsageError
from chatrt.ui import UIMessage, UIPart, get_tool_name, is_tool_part


@dataclass(frozen=True, slots=True)
class ToolCallRef:
    """A tool call and the message it stands in."""

    tool_call_id: str
    tool_name: str
    message_id: str


@dataclass(frozen=True, slots=True)
class NewToolResult:
    """A result the history does not have yet; of a failed call `output` is None and `error_text` says why."""

    tool_call_id: str
    tool_name: str
    output: Any
    error_text: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryChanges:
    """What has to be written so that the store holds the history (D14).

    Attributes:
        kept: How many leading messages stand where they stood when saved, unchanged or only advanced.
        advanced: Index and message of those among them that went on in place (a continued answer, tool results).
        added: The messages behind the kept ones, to be written as new nodes.
        dropped: How many saved messages behind the kept ones the active branch has left. Without `added` the active
            leaf just moves back.
    """

    kept: int
    advanced: list[tuple[int, UIMessage]]
    added: list[UIMessage]
    dropped: int


@dataclass(frozen=True, slots=True)
class HistoryCheckpoint:
    """A moment of a history to return to; made by `History.checkpoint`."""

    messages: tuple[UIMessage, ...]
    saved: int
    kept: int
    advanced: frozenset[int]


class History:
    """The messages of the active branch, in order.

    Every change acts at once and is seen by the next read (D1). Reads return lists of their own; the messages in them
    are shared and treated as immutable. `append`, `advance`, dropping messages at the end, and what is tracked for
    saving cost what changes, never the length of the history.
    """

    def __init__(self, messages: Iterable[UIMessage] = (), *, saved: bool = True) -> None:
        """Make a history of `messages`.

        Args:
            messages: The messages in order; each needs an id.
            saved: Whether the store holds them already.

        Raises:
            UsageError: If a message has no id.
        """
        self._messages = [_identified(message) for message in messages]
        self._saved = len(self._messages) if saved else 0
        self._kept = self._saved
        self._advanced: set[int] = set()

    # --- reading ---

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def last(self) -> UIMessage | None:
        """The newest message; None if there is none."""
        return self._messages[-1] if self._messages else None

    def all(self) -> list[UIMessage]:
        """Return the messages in order, in a list of the caller's own."""
        return list(self._messages)

    def find_message(self, message_id: str) -> UIMessage | None:
        """Return the newest message of that id, or None."""
        index = self._find(message_id)
        return None if index is None else self._messages[index]

    def get_pending_tool_calls(self) -> list[ToolCallRef]:
        """Return the calls of the newest assistant message that wait for an answer.

        User messages behind it do not matter. Calls that wait for an approval are not among them.
        """
        for message in reversed(self._messages):
            if message["role"] == "assistant":
                return [_ref(part, message) for part in _calls(message) if part.get("state") == "input-available"]
        return []

    def get_resolved_tool_calls(self) -> list[ToolCallRef]:
        """Return the calls of the whole history that have an output or failed, in order."""
        return [_ref(part, message) for message in self._messages for part in _calls(message) if _is_resolved(part)]

    def extract_new_tool_results(self, message: UIMessage) -> list[NewToolResult]:
        """Return the tool results of `message` that the history does not have yet.

        Ask before the message is merged: afterwards the history has them and nothing is new. A call that is answered
        twice in `message` counts once, the first time. Only assistant messages have results.
        """
        if message["role"] != "assistant":
            return []
        found: dict[str, NewToolResult] = {}
        for part in _calls(message):
            if _is_resolved(part) and part["toolCallId"] not in found:
                found[part["toolCallId"]] = _result(part)
        if found:
            for call in self.get_resolved_tool_calls():
                found.pop(call.tool_call_id, None)
        return list(found.values())

    # --- changing ---

    def append(self, message: UIMessage) -> None:
        """Add a message at the end.

        Raises:
            UsageError: If it has no id.
        """
        self._messages.append(_identified(message))

    def advance(self, message: UIMessage) -> None:
        """Put in the place of the newest message of the same id what became of it; this starts no new branch.

        For an answer that goes on, or tool calls that were answered. An edit is `replace`.

        Raises:
            MessageNotFoundError: If there is no message of that id.
            UsageError: If it has no id.
        """
        index = self._get(_identified(message)["id"])
        if self._messages[index] is message:
            return
        self._messages[index] = message
        if index < self._kept:
            self._advanced.add(index)

    def slice(self, start: int, end: int | None = None) -> None:
        """Keep the messages from `start` up to `end`, exclusive; negative numbers count from the end.

        `slice(0, -2)` drops the last two messages, `slice(-20)` keeps the last twenty.
        """
        first, stop, _ = slice(start, end).indices(len(self._messages))
        if first == 0:
            self._truncate(stop)
        else:
            self._messages = self._messages[first:stop]
            self._keep(0)

    def rollback_to(self, message_id: str) -> None:
        """Drop what came after the newest message of that id; the message itself stays.

        Raises:
            MessageNotFoundError: If there is none; nothing changes then (D4).
        """
        self._truncate(self._get(message_id) + 1)

    def replace(self, message_id: str, message: UIMessage) -> None:
        """Put `message`, which may have another id, in the place of every message of that id.

        Raises:
            MessageNotFoundError: If there is none; nothing changes then (D4).
            UsageError: If `message` has no id.
        """
        _identified(message)
        for index in self._get_places(message_id):
            if self._messages[index] != message:
                self._keep(index)
            self._messages[index] = message

    def remove(self, message_id: str) -> None:
        """Drop every message of that id.

        Raises:
            MessageNotFoundError: If there is none; nothing changes then (D4).
        """
        places = self._get_places(message_id)
        for index in reversed(places):
            del self._messages[index]
        self._keep(places[0])

    def set(self, messages: Iterable[UIMessage]) -> None:
        """Put other messages in the place of all; those that are the same at the beginning count as kept.

        Raises:
            UsageError: If a message has no id; nothing changes then.
        """
        new = [_identified(message) for message in messages]
        same = 0
        for before, after in zip(self._messages, new, strict=False):
            if before is not after and before != after:
                break
            same += 1
        self._messages = new
        self._keep(same)

    # --- saving and undoing ---

    def changes(self) -> HistoryChanges:
        """Return what has changed since `mark_saved`; the cost is that of the change."""
        return HistoryChanges(
            kept=self._kept,
            advanced=[(index, self._messages[index]) for index in sorted(self._advanced)],
            added=self._messages[self._kept :],
            dropped=self._saved - self._kept,
        )

    def mark_saved(self) -> None:
        """Say that the store holds the history as it is now."""
        self._saved = self._kept = len(self._messages)
        self._advanced.clear()

    def checkpoint(self) -> HistoryCheckpoint:
        """Return the present moment for `restore`."""
        return HistoryCheckpoint(tuple(self._messages), self._saved, self._kept, frozenset(self._advanced))

    def restore(self, checkpoint: HistoryCheckpoint) -> None:
        """Undo everything since `checkpoint`, as for an action that failed (D20).

        What was marked as saved in between is forgotten as well: do not save between the two.
        """
        self._messages = list(checkpoint.messages)
        self._saved = checkpoint.saved
        self._kept = checkpoint.kept
        self._advanced = set(checkpoint.advanced)

    # --- places ---

    def _find(self, message_id: str) -> int | None:
        for index in range(len(self._messages) - 1, -1, -1):
            if self._messages[index]["id"] == message_id:
                return index
        return None

    def _get(self, message_id: str) -> int:
        index = self._find(message_id)
        if index is None:
            raise MessageNotFoundError(message_id)
        return index

    def _get_places(self, message_id: str) -> list[int]:
        places = [index for index, message in enumerate(self._messages) if message["id"] == message_id]
        if not places:
            raise MessageNotFoundError(message_id)
        return places

    def _truncate(self, length: int) -> None:
        del self._messages[length:]
        self._keep(length)

    def _keep(self, length: int) -> None:
        """Note that only the first `length` messages can still stand as they were saved."""
        if length < self._kept:
            self._kept = length
            self._advanced = {index for index in self._advanced if index < length}


def _identified(message: UIMessage) -> UIMessage:
    if not message.get("id"):
        raise UsageError("a message in the history needs an id")
    return message


def _calls(message: UIMessage) -> list[UIPart]:
    if message["role"] != "assistant":
        return []
    return [part for part in message["parts"] if is_tool_part(part) and isinstance(part.get("toolCallId"), str)]


def _is_resolved(part: UIPart) -> bool:
    state = part.get("state")
    return state == "output-error" or (state == "output-available" and part.get("preliminary") is not True)


def _ref(part: UIPart, message: UIMessage) -> ToolCallRef:
    return ToolCallRef(part["toolCallId"], get_tool_name(part), message["id"])


def _result(part: UIPart) -> NewToolResult:
    name = get_tool_name(part)
    if part["state"] == "output-error":
        return NewToolResult(part["toolCallId"], name, None, part.get("errorText", ""))
    return NewToolResult(part["toolCallId"], name, part.get("output"))
