"""The history of a session: the ordered messages of its active branch, and the way to the other branches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from chatrt.errors import MessageNotFoundError, UsageError
from chatrt.ids import Ids, RandomIds
from chatrt.message_tree import HistoryChanges, HistoryCheckpoint, MessageTree, Node, TreeNode
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


class History:
    """The messages of the active branch, in order, and the branches beside it.

    Every change acts at once and is seen by the next read (D1). Reads return lists of their own; the messages in them
    are shared and treated as immutable. `append`, `advance`, moving to another branch, and what is tracked for saving
    and undoing cost what changes, never the length of the history.

    What the store holds is never destroyed (D14): an undo or an edit only leaves it, and `siblings` and `switch_to`
    find it again. So it is with unsaved messages that `slice(0, n)`, `rollback_to` and `switch_to` leave; those that
    `replace`, `remove` or `set` put away before they were ever saved are gone without a trace.

    Args:
        messages: The first messages, in order; each needs an id. The store does not hold them yet.
        ids: Names the nodes that are made here.

    Raises:
        UsageError: If a message has no id.
    """

    def __init__(self, messages: Iterable[UIMessage] = (), *, ids: Ids | None = None) -> None:
        self._tree = MessageTree(ids or RandomIds())
        self.set(messages)

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node], leaf_id: str | None, *, ids: Ids | None = None) -> History:
        """Make the history that a store holds; the arguments are those of `load`."""
        history = cls(ids=ids)
        history.load(nodes, leaf_id)
        return history

    def load(self, nodes: Sequence[Node], leaf_id: str | None) -> None:
        """Forget everything and be what the store holds.

        Args:
            nodes: In order of creation: parents before their children. Of branches that are left out nothing is known.
            leaf_id: The end of the active branch; None if it is empty.

        Raises:
            UsageError: If a parent or the leaf is not among the nodes.
        """
        self._tree.load(nodes, leaf_id)

    # --- reading ---

    def __len__(self) -> int:
        return len(self._tree.messages)

    @property
    def last(self) -> UIMessage | None:
        """The newest message; None if there is none."""
        return self._tree.messages[-1] if self._tree.messages else None

    def all(self) -> list[UIMessage]:
        """Return the messages in order, in a list of the caller's own."""
        return list(self._tree.messages)

    def find_message(self, message_id: str) -> UIMessage | None:
        """Return the newest message of that id, or None."""
        index = self._find(message_id)
        return None if index is None else self._tree.messages[index]

    def get_pending_tool_calls(self) -> list[ToolCallRef]:
        """Return the calls of the newest assistant message that wait for an answer.

        User messages behind it do not matter. Calls that wait for an approval are not among them.
        """
        for message in reversed(self._tree.messages):
            if message["role"] == "assistant":
                return [_ref(part, message) for part in _calls(message) if part.get("state") == "input-available"]
        return []

    def get_resolved_tool_calls(self) -> list[ToolCallRef]:
        """Return the calls of the whole history that have an output or failed, in order."""
        return [
            _ref(part, message) for message in self._tree.messages for part in _calls(message) if _is_resolved(part)
        ]

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

    # --- branches ---

    def siblings(self, message_id: str) -> list[UIMessage]:
        """Return what stands at the place of a message: the message and its alternatives, in order of creation.

        They may have the same id: an edit keeps it. `branches` tells such apart.

        Args:
            message_id: A message of any branch, or a name that `branches` gave. Of several messages of that id the
                newest of the active branch is meant; if it has none, the one that was made last.

        Raises:
            MessageNotFoundError: If there is none on any branch.
        """
        return [node.message for node in self._tree.siblings(self._get_node(message_id))]

    def branches(self) -> dict[str, list[str]]:
        """Return where the active branch has alternatives: the id of its message, and how to name each sibling.

        A name is what `switch_to` and `siblings` take: the sibling's message id, or, where that means another message,
        the id of its node. In order of creation; the message of the active branch is among them by its own id.
        """
        return self._tree.forks()

    def switch_to(self, message_id: str) -> None:
        """Make the branch active that holds a message, down to the leaf that was made last below it.

        The branch that is left stays, unsaved messages included. Nothing is written anew for a switch.

        Args:
            message_id: As for `siblings`.

        Raises:
            MessageNotFoundError: If no branch holds it; nothing changes then.
        """
        self._tree.switch(self._get_node(message_id))

    # --- changing ---

    def append(self, message: UIMessage) -> None:
        """Add a message at the end.

        Raises:
            UsageError: If it has no id.
        """
        self._tree.rewrite(len(self), [_identified(message)])

    def advance(self, message: UIMessage) -> None:
        """Put in the place of the newest message of the same id what became of it; this starts no new branch.

        For an answer that goes on, or tool calls that were answered. An edit is `replace`.

        Raises:
            MessageNotFoundError: If there is no message of that id.
            UsageError: If it has no id.
        """
        index = self._get(_identified(message)["id"])
        if self._tree.messages[index] is not message:
            self._tree.change(index, message)

    def slice(self, start: int, end: int | None = None) -> None:
        """Keep the messages from `start` up to `end`, exclusive; negative numbers count from the end.

        `slice(0, -2)` drops the last two messages, `slice(-20)` keeps the last twenty.
        """
        first, stop, _ = slice(start, end).indices(len(self))
        if first == 0:
            self._tree.cut(stop)
        else:
            self._tree.rewrite(0, self._tree.messages[first:stop])

    def rollback_to(self, message_id: str) -> None:
        """Drop what came after the newest message of that id; the message itself stays.

        Raises:
            MessageNotFoundError: If there is none; nothing changes then (D4).
        """
        self._tree.cut(self._get(message_id) + 1)

    def replace(self, message_id: str, message: UIMessage) -> None:
        """Put `message`, which may have another id, in the place of every message of that id.

        Raises:
            MessageNotFoundError: If there is none; nothing changes then (D4).
            UsageError: If `message` has no id.
        """
        _identified(message)
        for index in self._get_places(message_id):
            self._replace(index, message)

    def _replace(self, index: int, message: UIMessage) -> None:
        tree = self._tree
        node = tree.branch[index]
        if node.stored or tree.find_child(node.parent, message) is not None:
            tree.rewrite(index, [message, *tree.messages[index + 1 :]])
        else:
            tree.change(index, message)  # a draft that nobody has seen is not worth a branch

    def remove(self, message_id: str) -> None:
        """Drop every message of that id.

        Raises:
            MessageNotFoundError: If there is none; nothing changes then (D4).
        """
        start = self._get_places(message_id)[0]
        rest = self._tree.messages[start:]
        self._tree.rewrite(start, [message for message in rest if message["id"] != message_id])

    def set(self, messages: Iterable[UIMessage]) -> None:
        """Put other messages in the place of all; those that are the same at the beginning count as kept.

        Raises:
            UsageError: If a message has no id; nothing changes then.
        """
        self._tree.rewrite(0, [_identified(message) for message in messages])

    # --- saving and undoing ---

    def changes(self) -> HistoryChanges:
        """Return what has changed since `mark_saved`; the cost is that of the change."""
        return self._tree.changes()

    def mark_saved(self) -> None:
        """Say that the store holds the history as it is now."""
        self._tree.mark_saved()

    def checkpoint(self) -> HistoryCheckpoint:
        """Return the present moment for `restore`."""
        return self._tree.checkpoint()

    def restore(self, checkpoint: HistoryCheckpoint) -> None:
        """Undo everything since `checkpoint`, as for an action that failed (D20).

        Raises:
            UsageError: If the history was saved or loaded since.
        """
        self._tree.restore(checkpoint)

    # --- places ---

    def _find(self, message_id: str) -> int | None:
        messages = self._tree.messages
        for index in range(len(messages) - 1, -1, -1):
            if messages[index]["id"] == message_id:
                return index
        return None

    def _get(self, message_id: str) -> int:
        index = self._find(message_id)
        if index is None:
            raise MessageNotFoundError(message_id)
        return index

    def _get_places(self, message_id: str) -> list[int]:
        places = [index for index, message in enumerate(self._tree.messages) if message["id"] == message_id]
        if not places:
            raise MessageNotFoundError(message_id)
        return places

    def _get_node(self, name: str) -> TreeNode:
        node = self._tree.find(name)
        if node is None:
            raise MessageNotFoundError(name)
        return node


def _identified(message: UIMessage) -> UIMessage:
    message_id = cast("dict[str, Any]", message).get("id")
    if not message_id or not isinstance(message_id, str):
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
