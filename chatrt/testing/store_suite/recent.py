"""The cases of the store suite about sessions in the order of their last update, and about their metadata."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.errors import SessionNotFoundError, TooLargeError
from chatrt.stores.base import Parent, Recency, SessionKey, SessionStatus, Store
from chatrt.stores.metadata import MAX_METADATA_BYTES
from chatrt.testing.store_suite.setting import CHAT, NOW, StoreCase, a_commit, chunks, create, lease_of, say


async def _recent(
    store: Store,
    tenant: str = "",
    *,
    agent: str | None = None,
    status: SessionStatus | None = None,
    parent: str | None = None,
    after: Recency | None = None,
    limit: int = 0,
) -> list[str]:
    rows = store.iter_recent_sessions(tenant, agent=agent, status=status, parent=parent, after=after, limit=limit)
    return [row.key.chat_id async for row in rows]


async def _create_at(store: Store, name: str, seconds: float, *, agent: str = "support", tenant: str = "") -> None:
    await create(store, SessionKey(tenant, name), agent=agent, at=NOW + seconds)


async def _patched(store: Store, *patches: dict[str, Any]) -> dict[str, Any]:
    for patch in patches:
        await store.update_session(CHAT, metadata=patch, at=NOW)
    row = await store.find_session(CHAT)
    assert row is not None
    return row.metadata


class RecentCases(StoreCase):
    async def test_the_last_updated_comes_first(self, store: Store) -> None:
        """Sessions come by their last update, newest first: input, commit, metadata and close count, chunks do not."""
        for number, name in enumerate(("said", "quiet", "settled", "renamed", "closed", "streaming")):
            await _create_at(store, name, number)
        settling = await lease_of(store, SessionKey("", "settled"))
        streaming = await lease_of(store, SessionKey("", "streaming"))

        await say(store, SessionKey("", "said"), at=NOW + 13)
        await store.commit(settling, a_commit(), at=NOW + 12)
        await store.update_session(SessionKey("", "renamed"), metadata={"title": "x"}, at=NOW + 11)
        await store.close_session(SessionKey("", "closed"), reason=None, at=NOW + 10)
        await store.append_out(streaming, chunks(1, 1), at=NOW + 20)

        assert await _recent(store) == ["said", "settled", "renamed", "closed", "streaming", "quiet"]

    async def test_equal_times_have_an_order(self, store: Store) -> None:
        """Sessions of one moment come by chat id, last one first, code point by code point."""
        for name in ("b", "a", "Z", "\U0001f9ed", "﹏"):
            await _create_at(store, name, 0)

        assert await _recent(store) == sorted(["b", "a", "Z", "\U0001f9ed", "﹏"], reverse=True)

    async def test_pages_of_recent_sessions(self, store: Store) -> None:
        """A page begins behind the place of the last row of the one before, also within one moment."""
        for number, name in enumerate("abcdefg"):
            await _create_at(store, name, number // 3)
        pages: list[list[str]] = []
        place: Recency | None = None
        while rows := [row async for row in store.iter_recent_sessions("", after=place, limit=2)]:
            pages.append([row.key.chat_id for row in rows])
            place = Recency.of(rows[-1])

        assert pages == [["g", "f"], ["e", "d"], ["c", "b"], ["a"]]

    async def test_pages_do_not_repeat_what_is_updated_meanwhile(self, store: Store) -> None:
        """What is updated between two pages moves to the front and does not come again; all else comes once."""
        for number, name in enumerate("abcd"):
            await _create_at(store, name, number)
        first = [row async for row in store.iter_recent_sessions("", limit=2)]
        await say(store, SessionKey("", "d"), at=NOW + 10)
        await say(store, SessionKey("", "a"), at=NOW + 11)

        assert [row.key.chat_id for row in first] == ["d", "c"]
        assert await _recent(store, after=Recency.of(first[-1])) == ["b"]
        assert await _recent(store) == ["a", "d", "c", "b"]

    async def test_a_place_whose_session_is_gone(self, store: Store) -> None:
        """A page begins behind a place although the session that had it was deleted."""
        for number, name in enumerate("abc"):
            await _create_at(store, name, number)
        (last,) = [row async for row in store.iter_recent_sessions("", after=Recency(NOW + 2, "c"), limit=1)]
        await store.delete_session(last.key)

        assert await _recent(store, after=Recency.of(last)) == ["a"]

    async def test_recent_sessions_of_one_kind(self, store: Store) -> None:
        """Asked for a tenant, an agent, a status or a parent, only such sessions come, in the same order."""
        await _create_at(store, "a", 1)
        await _create_at(store, "b", 2, agent="sales")
        await _create_at(store, "c", 3)
        await _create_at(store, "d", 4, agent="sales")
        await _create_at(store, "e", 5, tenant="theirs")
        parent = Parent(chat_id="a", root_id="a")
        for name in "xy":
            key = SessionKey("", name)
            await store.create_session(key, agent="support", metadata={}, client_data=None, at=NOW, parent=parent)
        await store.close_session(SessionKey("", "c"), reason=None, at=NOW + 3)

        assert await _recent(store, agent="sales") == ["d", "b"]
        assert await _recent(store, agent="sales", after=Recency(NOW + 4, "d")) == ["b"]
        assert await _recent(store, status="closed") == ["c"]
        assert await _recent(store, parent="a") == ["y", "x"]
        assert await _recent(store, parent="a", after=Recency(NOW, "y")) == ["x"]
        assert await _recent(store, "theirs") == ["e"]
        assert await _recent(store, agent="nobody") == []

    async def test_all_recent_sessions(self, store: Store) -> None:
        """Without a limit every session comes, however many there are."""
        names = [f"{number:04}" for number in range(450)]
        await asyncio.gather(*(_create_at(store, name, int(name) // 7) for name in names))

        assert await _recent(store) == names[::-1]
        assert await _recent(store, limit=401) == names[::-1][:401]


class MetadataCases(StoreCase):
    async def test_metadata_are_merged(self, store: Store) -> None:
        """A patch is laid over the metadata key by key: objects are merged, all else replaced, null taken away."""
        await store.create_session(CHAT, agent="support", metadata={"a": {"b": 1}, "c": [1]}, client_data=None, at=NOW)

        assert await _patched(store, {"title": "Hello", "a": {"d": {"e": None}}}) == {
            "a": {"b": 1, "d": {}},
            "c": [1],
            "title": "Hello",
        }
        assert await _patched(store, {"a": {"b": None}, "c": [None, {"x": None}], "title": None}) == {
            "a": {"d": {}},
            "c": [None, {"x": None}],
        }
        assert await _patched(store, {"a": 7, "c": {"y": 1}}) == {"a": 7, "c": {"y": 1}}

    async def test_the_row_is_returned(self, store: Store) -> None:
        """An update returns the session as it is now, with the time of the update, and changes nothing else."""
        await create(store)
        before = await store.find_session(CHAT)
        assert before is not None

        row = await store.update_session(CHAT, metadata={"title": "x"}, at=NOW + 4)

        assert row == await store.find_session(CHAT)
        assert (row.metadata, row.updated_at) == ({"title": "x"}, NOW + 4)
        assert (row.agent, row.status, row.created_at) == (before.agent, before.status, before.created_at)

    async def test_patches_at_once(self, store: Store) -> None:
        """Of many patches that come at once none is lost."""
        await create(store)
        await asyncio.gather(
            *(store.update_session(CHAT, metadata={f"k{number}": number}, at=NOW) for number in range(30))
        )

        assert await _patched(store) == {f"k{number}": number for number in range(30)}

    async def test_metadata_of_a_closed_session(self, store: Store) -> None:
        """A closed session can still be renamed, and stays closed."""
        await create(store)
        await store.close_session(CHAT, reason=None, at=NOW)

        assert (await store.update_session(CHAT, metadata={"title": "x"}, at=NOW)).status == "closed"

    async def test_metadata_of_an_unknown_session(self, store: Store) -> None:
        """What is not there cannot be changed."""
        with pytest.raises(SessionNotFoundError):
            await store.update_session(CHAT, metadata={}, at=NOW)

    async def test_metadata_have_a_largest_size(self, store: Store) -> None:
        """Metadata that would become too large stay as they were; so do those of a session that is to be created."""
        half = "x" * (MAX_METADATA_BYTES // 2)
        await create(store)
        await store.update_session(CHAT, metadata={"a": half}, at=NOW)

        with pytest.raises(TooLargeError):
            await store.update_session(CHAT, metadata={"b": half}, at=NOW + 1)
        with pytest.raises(TooLargeError):
            await store.create_session(
                SessionKey("", "new"), agent="support", metadata={"a": half + half}, client_data=None, at=NOW
            )

        row = await store.find_session(CHAT)
        assert row is not None
        assert (row.metadata, row.updated_at) == ({"a": half}, NOW)
        assert await store.find_session(SessionKey("", "new")) is None

    async def test_a_patch_is_not_shared(self, store: Store) -> None:
        """What a caller does to its patch, or to the row it got, does not reach the store."""
        await create(store)
        patch: dict[str, Any] = {"tags": ["a"]}
        row = await store.update_session(CHAT, metadata=patch, at=NOW)
        patch["tags"].append("b")
        row.metadata["tags"].append("c")

        assert await _patched(store) == {"tags": ["a"]}
