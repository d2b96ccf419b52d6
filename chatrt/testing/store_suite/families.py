"""The cases of the store suite about sessions that were started by other sessions."""

from __future__ import annotations

from chatrt.stores.base import Parent, SessionKey, Store
from chatrt.testing.store_suite.setting import CHAT, NOW, StoreCase, create

_PARENT = Parent(chat_id="chat", root_id="top", tool_call_id="call-1")


async def _create_child(store: Store, name: str, parent: Parent, tenant: str = "") -> None:
    key = SessionKey(tenant, name)
    await store.create_session(key, agent="support", metadata={}, client_data=None, at=NOW, parent=parent)


async def _children(store: Store, parent: str, tenant: str = "", *, after: str = "", limit: int = 0) -> list[str]:
    rows = store.iter_sessions(tenant, parent=parent, after=after, limit=limit)
    return [row.key.chat_id async for row in rows]


class FamilyCases(StoreCase):
    async def test_parent_is_kept(self, store: Store) -> None:
        """A session says who started it, wherever its row is read."""
        row, _ = await store.create_session(
            CHAT, agent="support", metadata={}, client_data=None, at=NOW, parent=_PARENT
        )

        assert row.parent == _PARENT
        assert await store.find_session(CHAT) == row
        assert [row.parent async for row in store.iter_sessions("")] == [_PARENT]

    async def test_parent_without_a_tool_call(self, store: Store) -> None:
        """A session may have been started by no tool call."""
        parent = Parent(chat_id="chat", root_id="chat")
        await _create_child(store, "a", parent)

        row = await store.find_session(SessionKey("", "a"))
        assert row is not None
        assert row.parent == parent

    async def test_no_parent(self, store: Store) -> None:
        """A session that began by itself has no parent, also when it is asked for with one later."""
        await create(store)
        await _create_child(store, CHAT.chat_id, _PARENT)

        row = await store.find_session(CHAT)
        assert row is not None
        assert row.parent is None
        assert await _children(store, "chat") == []

    async def test_iteration_by_parent(self, store: Store) -> None:
        """Asked for a parent, only the sessions it started come: not its grandchildren, not those of other tenants."""
        await create(store)
        await _create_child(store, "b", _PARENT)
        await _create_child(store, "a", _PARENT)
        await _create_child(store, "c", Parent(chat_id="a", root_id="top"))
        await _create_child(store, "d", _PARENT, tenant="theirs")

        assert await _children(store, "chat") == ["a", "b"]
        assert await _children(store, "chat", "theirs") == ["d"]
        assert await _children(store, "nobody") == []

    async def test_pages_of_children(self, store: Store) -> None:
        """`after` and `limit` cut the children of one parent into pages."""
        for name in "abc":
            await _create_child(store, name, _PARENT)

        assert await _children(store, "chat", limit=2) == ["a", "b"]
        assert await _children(store, "chat", after="b") == ["c"]

    async def test_deleted_child(self, store: Store) -> None:
        """A deleted session is nobody's child, and its chat id may begin anew without a parent."""
        await _create_child(store, CHAT.chat_id, _PARENT)
        await store.delete_session(CHAT)

        assert await _children(store, "chat") == []
        await create(store)
        assert await _children(store, "chat") == []
