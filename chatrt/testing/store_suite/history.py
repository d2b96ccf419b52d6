"""The cases of the store suite about messages: a tree of nodes of which one branch is active (D14)."""

from __future__ import annotations

from typing import cast

import pytest

from chatrt.errors import SessionNotFoundError
from chatrt.stores.base import Node, Snapshot, Store
from chatrt.testing.store_suite.setting import (
    CHAT,
    NOW,
    OTHER,
    StoreCase,
    a_commit,
    branch,
    chunks,
    create,
    lease_of,
    message,
    message_ids,
    node,
    say,
)
from chatrt.ui import UIMessage


class HistoryCases(StoreCase):
    async def test_new_session(self, store: Store) -> None:
        """A new session has no messages, no state, and nothing read or written."""
        await create(store)

        assert await store.load_snapshot(CHAT) == Snapshot(
            nodes=[],
            in_cursor=0,
            settled_seq=0,
            last_in_seq=0,
            out_first_seq=1,
            out_last_seq=0,
            state={},
            branched=False,
        )

    async def test_unknown_session(self, store: Store) -> None:
        """A session that is not there has no snapshot: that is an error, not an empty one."""
        with pytest.raises(SessionNotFoundError):
            await store.load_snapshot(CHAT)

    async def test_cursors_of_an_unknown_session(self, store: Store) -> None:
        """A session that is not there stands nowhere: that is an error too."""
        with pytest.raises(SessionNotFoundError):
            await store.read_cursors(CHAT)

    async def test_cursors_are_those_of_the_snapshot(self, store: Store) -> None:
        """The cursors alone and the cursors of a snapshot agree."""
        lease = await lease_of(store)
        await say(store)
        await store.append_out(lease, chunks(1, 3), at=NOW)
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)
        await say(store)

        cursors, snapshot = await store.read_cursors(CHAT), await store.load_snapshot(CHAT)

        assert cursors._asdict() == {name: getattr(snapshot, name) for name in cursors._fields}
        assert (cursors.last_in_seq, cursors.in_cursor) == (2, 1)

    async def test_branch_in_order(self, store: Store) -> None:
        """The active branch comes from its first message to its leaf, with parents."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 5)), at=NOW)

        assert (await store.load_snapshot(CHAT)).nodes == branch(1, 5)

    async def test_growth(self, store: Store) -> None:
        """A commit names only what is new; what was there before stays."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 2)), at=NOW)
        await store.commit(lease, a_commit(branch(3, 4)), at=NOW)

        assert await message_ids(store) == ["m-1", "m-2", "m-3", "m-4"]

    async def test_change_in_place(self, store: Store) -> None:
        """A known node gets its new message and keeps its place."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 3)), at=NOW)
        changed = node("2", "1", "changed")
        await store.commit(lease, a_commit([changed], leaf="3"), at=NOW)

        assert (await store.load_snapshot(CHAT)).nodes == [*branch(1, 1), changed, *branch(3, 3)]

    async def test_change_of_id_in_place(self, store: Store) -> None:
        """The message of a known node may get another id and role."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 2)), at=NOW)
        changed = Node("n-2", "n-1", {"id": "other", "role": "assistant", "parts": []})
        await store.commit(lease, a_commit([changed]), at=NOW)

        assert (await store.load_snapshot(CHAT)).nodes == [*branch(1, 1), changed]

    async def test_leaf_moves_back(self, store: Store) -> None:
        """Undo moves the leaf; what comes after it is no longer active, and not lost."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 4)), at=NOW)

        await store.commit(lease, a_commit([], leaf="2"), at=NOW)
        assert await message_ids(store) == ["m-1", "m-2"]

        await store.commit(lease, a_commit([], leaf="4"), at=NOW)
        assert await message_ids(store) == ["m-1", "m-2", "m-3", "m-4"]

    async def test_no_leaf(self, store: Store) -> None:
        """Without a leaf the history is empty, and can be filled again with another first message."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 2)), at=NOW)

        await store.commit(lease, a_commit([]), at=NOW)
        assert await message_ids(store) == []

        await store.commit(lease, a_commit([node("a", None)]), at=NOW)
        assert await message_ids(store) == ["m-a"]

    async def test_branches(self, store: Store) -> None:
        """A second child of a node is another branch; both can be active, one at a time."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 3)), at=NOW)
        await store.commit(lease, a_commit([node("b", "1"), node("c", "b")]), at=NOW)
        assert await message_ids(store) == ["m-1", "m-b", "m-c"]

        await store.commit(lease, a_commit([], leaf="3"), at=NOW)
        assert await message_ids(store) == ["m-1", "m-2", "m-3"]

    async def test_branched(self, store: Store) -> None:
        """A snapshot tells whether there are nodes beside the active branch, be it in front of them or elsewhere."""

        async def branched() -> bool:
            return (await store.load_snapshot(CHAT)).branched

        lease = await lease_of(store)
        assert await branched() is False
        await store.commit(lease, a_commit(branch(1, 3)), at=NOW)
        assert await branched() is False
        await store.commit(lease, a_commit([], leaf="2"), at=NOW)
        assert await branched() is True
        await store.commit(lease, a_commit([]), at=NOW)
        assert await branched() is True
        await store.commit(lease, a_commit([], leaf="3"), at=NOW)
        assert await branched() is False
        await store.commit(lease, a_commit([node("b", "1")]), at=NOW)
        assert await branched() is True

    async def test_branches_of_others(self, store: Store) -> None:
        """Nodes of another session make no branches here, and are not in the tree."""
        other = await lease_of(store, OTHER)
        await store.commit(other, a_commit(branch(1, 9), leaf="2"), at=NOW)
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 2)), at=NOW)

        assert (await store.load_snapshot(CHAT)).branched is False
        assert await store.load_tree(CHAT) == branch(1, 2)

    async def test_tree(self, store: Store) -> None:
        """The tree has the nodes of all branches, in the order they were written first, whatever is active."""
        lease = await lease_of(store)
        assert await store.load_tree(CHAT) == []
        await store.commit(lease, a_commit([node("9", None), node("5", "9")]), at=NOW)
        await store.commit(lease, a_commit([node("7", "9"), node("1", "7")]), at=NOW)
        changed = node("5", "9", "changed")
        await store.commit(lease, a_commit([node("3", "5"), changed], leaf="9"), at=NOW)
        await store.commit(lease, a_commit([]), at=NOW)

        assert await store.load_tree(CHAT) == [
            node("9", None),
            changed,
            node("7", "9"),
            node("1", "7"),
            node("3", "5"),
        ]

    async def test_tree_outlives_the_store(self, store: Store) -> None:
        """After the store was closed and opened the tree is the same, in the same order."""
        lease = await lease_of(store)
        nodes = [node(str(number), None) for number in (3, 1, 2)]
        for one in nodes:
            await store.commit(lease, a_commit([one]), at=NOW)
        await store.close()
        await store.open()

        assert await store.load_tree(CHAT) == nodes

    async def test_tree_of_an_unknown_session(self, store: Store) -> None:
        """A session that is not there has no tree: that is an error, not an empty one."""
        with pytest.raises(SessionNotFoundError):
            await store.load_tree(CHAT)

    async def test_change_off_the_branch(self, store: Store) -> None:
        """A node that is not on the active branch can be changed, and shows it when it is active again."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 2)), at=NOW)
        await store.commit(lease, a_commit([node("2", "1", "changed")], leaf="1"), at=NOW)
        assert await message_ids(store) == ["m-1"]

        await store.commit(lease, a_commit([], leaf="2"), at=NOW)
        assert (await store.load_snapshot(CHAT)).nodes[-1] == node("2", "1", "changed")

    async def test_message_on_two_branches(self, store: Store) -> None:
        """One message id may stand in several nodes, each with its own content."""
        lease = await lease_of(store)
        first = Node("x", None, message("m", "first"))
        second = Node("y", None, message("m", "second"))
        await store.commit(lease, a_commit([first]), at=NOW)
        await store.commit(lease, a_commit([second]), at=NOW)
        assert (await store.load_snapshot(CHAT)).nodes == [second]

        await store.commit(lease, a_commit([second, first]), at=NOW)
        assert (await store.load_snapshot(CHAT)).nodes == [first]

    async def test_long_history(self, store: Store) -> None:
        """A history of thousands of messages comes back whole and in order."""
        lease = await lease_of(store)
        nodes = branch(1, 2500)
        await store.commit(lease, a_commit(nodes), at=NOW)

        assert (await store.load_snapshot(CHAT)).nodes == nodes

    async def test_messages_are_not_shared(self, store: Store) -> None:
        """What a caller does to a message or a state later, given or received, does not reach the store."""
        lease = await lease_of(store)
        given, state = message("m", "as given"), {"list": [1]}
        await store.commit(lease, a_commit([Node("n", None, given)], state=state), at=NOW)

        given["parts"].clear()
        state["list"].append(2)
        loaded = await store.load_snapshot(CHAT)
        loaded.nodes[0].message["parts"].clear()
        loaded.state["list"].append(3)

        (await store.load_tree(CHAT))[0].message["parts"].clear()
        again = await store.load_snapshot(CHAT)
        assert again.nodes[0].message == message("m", "as given")
        assert again.state == {"list": [1]}

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "line\u2028and\u2029paragraph, \u0085 and \x7f",
            "🧭 你好 žluťoučký",
            {"": {}, "list": [], "deep": [[[{"x": None}]]]},
            [0, -1, 2**63 - 1, -(2**63) + 1, 1.5, -0.25, 1e300, True, False, None],
        ],
    )
    async def test_values(self, store: Store, value: object) -> None:
        """Whatever is JSON comes back as it was: texts, numbers, empty and nested values."""
        lease = await lease_of(store)
        given = cast(
            "UIMessage",
            {"id": "m", "role": "assistant", "parts": [{"type": "data-x", "data": value}], "metadata": value},
        )
        await store.commit(lease, a_commit([Node("n", None, given)], state={"value": value}), at=NOW)

        snapshot = await store.load_snapshot(CHAT)
        assert snapshot.nodes[0].message == given
        assert snapshot.state == {"value": value}

    async def test_order_of_keys(self, store: Store) -> None:
        """The keys of a message keep their order, so that it is encoded alike before and after."""
        lease = await lease_of(store)
        given = cast("UIMessage", {"role": "user", "parts": [{"text": "b", "type": "text"}], "id": "m"})
        await store.commit(lease, a_commit([Node("n", None, given)]), at=NOW)

        loaded = (await store.load_snapshot(CHAT)).nodes[0].message
        assert list(loaded) == ["role", "parts", "id"]
        assert list(loaded["parts"][0]) == ["text", "type"]
