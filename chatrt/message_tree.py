"""The tree of messages behind a history (D14): all branches, which of them is active, and what the store lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatrt.errors import UsageError
from chatrt.ids import Ids
from chatrt.ui import UIMessage


@dataclass(frozen=True, slots=True)
class Node:
    """A message in the tree of a session (D14), as it is stored.

    Attributes:
        node_id: Names the row; a message id may stand in several nodes, on different branches.
        parent_id: The node before it on its branch, None for the first.
        message: The UI message.
    """

    node_id: str
    parent_id: str | None
    message: UIMessage


@dataclass(frozen=True, slots=True)
class HistoryChanges:
    """What has to be written so that the store holds the history (D14); falsy when that is nothing.

    Attributes:
        nodes: New nodes, parents before their children, and known ones whose message went on in place.
        leaf_id: The node the active branch ends with; None for an empty history.
        leaf_moved: Whether the store has another leaf.
    """

    nodes: list[Node]
    leaf_id: str | None
    leaf_moved: bool

    def __bool__(self) -> bool:
        return bool(self.nodes) or self.leaf_moved


@dataclass(frozen=True, slots=True)
class HistoryCheckpoint:
    """A moment of a history to return to, as long as nothing was saved since; made by `History.checkpoint`."""

    generation: int
    position: int


class TreeNode:
    """A node in memory; it keeps its parent for good.

    Attributes:
        number: Grows with every node that is made, so a parent's is smaller than its children's.
        depth: How many nodes stand on the way from the first message to this one, itself included.
        stored: Whether the store has a row of it.
    """

    __slots__ = ("children", "depth", "message", "node_id", "number", "parent", "stored")

    def __init__(self, node_id: str, parent: TreeNode | None, message: UIMessage, number: int, *, stored: bool) -> None:
        self.node_id = node_id
        self.parent = parent or self  # only the root, which is no message, stands below itself
        self.message = message
        self.number = number
        self.depth = 0 if parent is None else parent.depth + 1
        self.stored = stored
        self.children: list[TreeNode] = []


class MessageTree:
    """Every branch of a conversation that is known here, and the one that is active.

    Changes can be undone up to the last save: each one leaves behind how to take it back, so a checkpoint is a number,
    and both it and the way back cost what changes, never the size of the tree.

    Args:
        ids: Names the new nodes.

    Attributes:
        branch: The nodes of the active branch, in order.
        messages: Their messages, in a list of its own because it is read much more often than the tree changes.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._generation = 0
        self._clear()

    def _clear(self) -> None:
        self.branch: list[TreeNode] = []
        self.messages: list[UIMessage] = []
        self._root = TreeNode("", None, {"id": "", "role": "system", "parts": []}, 0, stored=True)
        self._nodes: dict[str, TreeNode] = {}
        self._unsaved: dict[TreeNode, None] = {}
        self._stored_leaf: TreeNode | None = None
        self._made = 0
        self._forget_undoing()

    def load(self, nodes: Sequence[Node], leaf_id: str | None) -> None:
        """Forget everything and hold what the store has.

        Args:
            nodes: In order of creation: parents before their children.
            leaf_id: The end of the active branch.

        Raises:
            UsageError: If a parent or the leaf is not among the nodes.
        """
        self._clear()
        for node in nodes:
            parent = self._root if node.parent_id is None else self._stored_node(node.parent_id)
            self._attach(TreeNode(node.node_id, parent, node.message, self._next_number(), stored=True))
        if leaf_id is not None:
            self._stored_leaf = self._stored_node(leaf_id)
            self._splice(0, self._way_to(self._stored_leaf))
        self._forget_undoing()

    def _stored_node(self, node_id: str) -> TreeNode:
        node = self._nodes.get(node_id)
        if node is None:
            raise UsageError(f"the node {node_id!r} is missing")
        return node

    # --- looking

    def find(self, name: str) -> TreeNode | None:
        """Return the node that a name means, or None.

        It is a message id: of the newest such message of the active branch, else of the one that was made last. Where
        that is not enough to tell two apart it may be a node id.
        """
        for node in reversed(self.branch):
            if node.message["id"] == name:
                return node
        named = [node for node in self._nodes.values() if node.message["id"] == name]
        return max(named, key=_number) if named else self._nodes.get(name)

    def siblings(self, node: TreeNode) -> list[TreeNode]:
        """Return the nodes with the same parent, in order of creation, this one included."""
        return sorted(node.parent.children, key=_number)

    def forks(self) -> dict[str, list[str]]:
        """Return what stands where the active branch has alternatives: message id to names that `find` understands."""
        if len(self._nodes) == len(self.branch):
            return {}
        forked = [node for node in self.branch if len(node.parent.children) > 1]
        asked = {one.message["id"] for node in forked for one in node.parent.children}
        meant: dict[str, TreeNode] = {}
        for node in self._nodes.values():
            message_id = node.message["id"]
            if message_id in asked and (message_id not in meant or meant[message_id].number < node.number):
                meant[message_id] = node
        meant.update((node.message["id"], node) for node in self.branch if node.message["id"] in asked)

        def name(node: TreeNode) -> str:
            message_id = node.message["id"]
            return message_id if meant[message_id] is node else node.node_id

        return {node.message["id"]: [name(one) for one in self.siblings(node)] for node in forked}

    # --- changing

    def rewrite(self, start: int, messages: Sequence[UIMessage]) -> None:
        """Let the active branch go on with these messages from index `start`.

        Where it holds them already nothing happens; where another branch does, that one is followed; only what is left
        becomes new nodes. Nodes that were never saved and that no other branch needs are gone.
        """
        kept = 0
        for node, message in zip(self.branch[start:], messages, strict=False):
            if not _same(node.message, message):
                break
            kept += 1
        start += kept
        left = self.branch[start:]
        parent = self.branch[start - 1] if start else self._root
        line: list[TreeNode] = []
        for message in messages[kept:]:
            parent = self.find_child(parent, message) or self._add(parent, message)
            line.append(parent)
        self._splice(start, line)
        for node in reversed(left):
            if node.stored or node.children:
                break
            self._drop(node)

    def cut(self, length: int) -> None:
        """Let the active branch end earlier. What it loses stays as a branch, saved or not."""
        self._splice(length, [])

    def switch(self, node: TreeNode) -> None:
        """Make the branch active that leads through a node to the newest leaf below it; no node is written for it."""
        newest, below = node, [node]
        while below:
            one = below.pop()
            below.extend(one.children)
            newest = max(newest, one, key=_number)  # whatever is made last has nothing below it
        line = self._way_to(newest)
        self._splice(newest.depth - len(line), line)

    def change(self, index: int, message: UIMessage) -> None:
        """Put a message into the node at a place of the active branch."""
        node, before = self.branch[index], self.branch[index].message
        was_saved = node not in self._unsaved

        def undo() -> None:
            node.message = self.messages[index] = before
            if was_saved:
                del self._unsaved[node]

        node.message = self.messages[index] = message
        self._unsaved[node] = None
        self._undoing.append(undo)

    def find_child(self, parent: TreeNode, message: UIMessage) -> TreeNode | None:
        """Return the node below `parent` that holds an equal message, or None."""
        return next((child for child in parent.children if _same(child.message, message)), None)

    # --- saving and undoing

    def changes(self) -> HistoryChanges:
        """Return what has to be written."""
        leaf = self.branch[-1] if self.branch else None
        return HistoryChanges(
            nodes=[
                Node(node.node_id, None if node.parent is self._root else node.parent.node_id, node.message)
                for node in sorted(self._unsaved, key=_number)
            ],
            leaf_id=None if leaf is None else leaf.node_id,
            leaf_moved=leaf is not self._stored_leaf,
        )

    def mark_saved(self) -> None:
        """Say that the store holds everything as it is now."""
        for node in self._unsaved:
            node.stored = True
        self._unsaved.clear()
        self._stored_leaf = self.branch[-1] if self.branch else None
        self._forget_undoing()

    def checkpoint(self) -> HistoryCheckpoint:
        """Return the present moment for `restore`."""
        return HistoryCheckpoint(self._generation, len(self._undoing))

    def restore(self, checkpoint: HistoryCheckpoint) -> None:
        """Undo everything since `checkpoint`.

        Raises:
            UsageError: If something was saved or loaded since.
        """
        if checkpoint.generation != self._generation or checkpoint.position > len(self._undoing):
            raise UsageError("a history cannot go back behind what was saved")
        while len(self._undoing) > checkpoint.position:
            self._undoing.pop()()

    def _forget_undoing(self) -> None:
        self._generation += 1
        self._undoing: list[Callable[[], None]] = []

    # --- the steps that are undone

    def _add(self, parent: TreeNode, message: UIMessage) -> TreeNode:
        node = TreeNode(self._ids.new("node"), parent, message, self._next_number(), stored=False)
        self._attach(node)
        self._undoing.append(lambda: self._detach(node))
        return node

    def _drop(self, node: TreeNode) -> None:
        self._detach(node)
        self._undoing.append(lambda: self._attach(node))

    def _splice(self, start: int, nodes: Sequence[TreeNode]) -> None:
        left = self.branch[start:]
        if not left and not nodes:
            return

        def put(line: Sequence[TreeNode]) -> None:
            self.branch[start:] = line
            self.messages[start:] = [node.message for node in line]

        put(nodes)
        self._undoing.append(lambda: put(left))

    # --- nodes

    def _next_number(self) -> int:
        self._made += 1
        return self._made

    def _attach(self, node: TreeNode) -> None:
        node.parent.children.append(node)
        self._nodes[node.node_id] = node
        if not node.stored:
            self._unsaved[node] = None

    def _detach(self, node: TreeNode) -> None:
        node.parent.children.remove(node)
        del self._nodes[node.node_id]
        del self._unsaved[node]

    def _way_to(self, node: TreeNode) -> list[TreeNode]:
        """Return the nodes that lead from the active branch, or from the beginning, to a node."""
        line: list[TreeNode] = []
        while node is not self._root and not (node.depth <= len(self.branch) and self.branch[node.depth - 1] is node):
            line.append(node)
            node = node.parent
        return line[::-1]


def _number(node: TreeNode) -> int:
    return node.number


def _same(one: UIMessage, other: UIMessage) -> bool:
    return one is other or one == other
