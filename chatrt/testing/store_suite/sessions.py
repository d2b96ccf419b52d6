"""The cases of the store suite about sessions: create, find, list, close, delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.errors import SessionNotFoundError
from chatrt.stores.base import SessionKey, SessionStatus, Store
from chatrt.testing.store_suite.setting import (
    CHAT,
    NOW,
    OTHER,
    SAID,
    StoreCase,
    a_commit,
    branch,
    chunks,
    create,
    lease_of,
    message_ids,
    say,
)


async def _chat_ids(
    store: Store,
    tenant: str = "",
    *,
    agent: str | None = None,
    status: SessionStatus | None = None,
    after: str = "",
    limit: int = 0,
) -> list[str]:
    rows = store.iter_sessions(tenant, agent=agent, status=status, after=after, limit=limit)
    return [row.key.chat_id async for row in rows]


class SessionCases(StoreCase):
    async def test_create_returns_what_was_given(self, store: Store) -> None:
        """A new session is open and has the agent, metadata, client data and time it was created with."""
        row, created = await store.create_session(
            CHAT, agent="support", metadata={"plan": "pro"}, client_data=[1, None, "x"], at=NOW
        )

        assert created
        assert row == await store.find_session(CHAT)
        assert (row.key, row.agent, row.status, row.closed_reason) == (CHAT, "support", "open", None)
        assert (row.metadata, row.client_data) == ({"plan": "pro"}, [1, None, "x"])
        assert (row.created_at, row.updated_at) == (NOW, NOW)

    async def test_create_again_changes_nothing(self, store: Store) -> None:
        """Creating a session that is there returns it as it is, and says that it is not new."""
        first, _ = await store.create_session(CHAT, agent="support", metadata={"a": 1}, client_data=1, at=NOW)

        row, created = await store.create_session(CHAT, agent="sales", metadata={"b": 2}, client_data=2, at=NOW + 5)

        assert not created
        assert row == first

    async def test_create_race_has_one_winner(self, store: Store) -> None:
        """Of many that create one session at once, exactly one makes it, and all see the same row."""
        results = await asyncio.gather(
            *(
                store.create_session(CHAT, agent=f"agent-{number}", metadata={}, client_data=None, at=NOW)
                for number in range(20)
            )
        )

        assert sum(created for _, created in results) == 1
        assert {row.agent for row, _ in results} == {(await store.find_session(CHAT) or results[0][0]).agent}

    async def test_find_unknown(self, store: Store) -> None:
        """A session that was never created is None, not an error."""
        assert await store.find_session(CHAT) is None

    async def test_values_are_not_shared(self, store: Store) -> None:
        """What a caller does to its metadata later, given or received, does not reach the store."""
        metadata: dict[str, Any] = {"tags": ["a"]}
        row, _ = await store.create_session(CHAT, agent="support", metadata=metadata, client_data=metadata, at=NOW)

        metadata["tags"].append("b")
        row.metadata["tags"].append("c")
        row.client_data["tags"].append("d")

        found = await store.find_session(CHAT)
        assert found is not None
        assert found.metadata == found.client_data == {"tags": ["a"]}

    async def test_tenants_do_not_meet(self, store: Store) -> None:
        """One chat id in two tenants is two sessions that share nothing."""
        mine, theirs = SessionKey("mine", "chat"), SessionKey("theirs", "chat")
        lease = await lease_of(store, mine)
        await say(store, mine, part_id="p1")
        await store.commit(lease, a_commit(branch(1, 2), in_cursor=1), at=NOW)
        await create(store, theirs)

        assert await store.read_in(theirs, after=0) == []
        assert (await store.read_out(theirs, after=0)).last_seq == 0
        assert await message_ids(store, theirs) == []
        assert (await store.append_in(theirs, SAID, part_id="p1", at=NOW)).repeated is False
        assert await store.find_session(CHAT) is None

    async def test_iteration_is_ordered_by_chat_id(self, store: Store) -> None:
        """Sessions come ordered by chat id, code point by code point, whenever they were created."""
        names = ["b", "a", "Z", "a-1", "ž", "10", "9", "\U0001f9ed", "﹏"]
        for name in names:
            await create(store, SessionKey("", name))

        assert await _chat_ids(store) == sorted(names)

    async def test_iteration_by_agent(self, store: Store) -> None:
        """Asked for an agent, only its sessions come."""
        await create(store, SessionKey("", "a"), agent="support")
        await create(store, SessionKey("", "b"), agent="sales")

        assert await _chat_ids(store, agent="sales") == ["b"]

    async def test_iteration_by_status(self, store: Store) -> None:
        """Asked for a status, only sessions in it come."""
        for name in "abc":
            await create(store, SessionKey("", name))
        await store.close_session(SessionKey("", "b"), reason=None, at=NOW)

        assert await _chat_ids(store, status="closed") == ["b"]
        assert await _chat_ids(store, status="open") == ["a", "c"]

    async def test_iteration_in_pages(self, store: Store) -> None:
        """`after` and `limit` cut the sessions into pages that hold each one once."""
        for name in "abcde":
            await create(store, SessionKey("", name))

        assert await _chat_ids(store, limit=2) == ["a", "b"]
        assert await _chat_ids(store, after="b", limit=2) == ["c", "d"]
        assert await _chat_ids(store, after="d", limit=2) == ["e"]
        assert await _chat_ids(store, after="e", limit=2) == []

    async def test_iteration_without_limit(self, store: Store) -> None:
        """Without a limit every session comes, however many there are."""
        names = [f"{number:04}" for number in range(450)]
        await asyncio.gather(*(create(store, SessionKey("", name)) for name in names))

        assert await _chat_ids(store) == names
        assert await _chat_ids(store, limit=401) == names[:401]

    async def test_iteration_of_one_tenant(self, store: Store) -> None:
        """Only the sessions of the tenant that was named come."""
        await create(store, SessionKey("mine", "a"))
        await create(store, SessionKey("theirs", "b"))

        assert await _chat_ids(store, "mine") == ["a"]

    async def test_close(self, store: Store) -> None:
        """A closed session says so, with the reason and the time."""
        await create(store)

        row = await store.close_session(CHAT, reason="solved", at=NOW + 3)

        assert (row.status, row.closed_reason, row.updated_at, row.created_at) == ("closed", "solved", NOW + 3, NOW)
        assert await store.find_session(CHAT) == row

    async def test_close_again(self, store: Store) -> None:
        """Closing a closed session changes nothing: the first reason and time stay."""
        await create(store)
        first = await store.close_session(CHAT, reason="solved", at=NOW + 3)

        assert await store.close_session(CHAT, reason="spam", at=NOW + 9) == first

    async def test_close_unknown(self, store: Store) -> None:
        """Closing a session that is not there is an error."""
        with pytest.raises(SessionNotFoundError):
            await store.close_session(CHAT, reason=None, at=NOW)

    async def test_closed_session_is_not_made_new(self, store: Store) -> None:
        """Creating a closed session returns it closed: closed is for good."""
        await create(store)
        closed = await store.close_session(CHAT, reason=None, at=NOW)

        assert await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=NOW) == (
            closed,
            False,
        )

    async def test_delete_takes_everything(self, store: Store) -> None:
        """Of a deleted session nothing is left: no row, no records, no messages."""
        lease = await lease_of(store)
        await say(store)
        await store.commit(lease, a_commit(branch(1, 2), in_cursor=1), at=NOW)

        assert await store.delete_session(CHAT) is True

        assert await store.find_session(CHAT) is None
        assert await store.read_in(CHAT, after=0) == []
        assert await _chat_ids(store) == []
        with pytest.raises(SessionNotFoundError):
            await store.read_out(CHAT, after=0)
        with pytest.raises(SessionNotFoundError):
            await store.load_snapshot(CHAT)

    async def test_delete_unknown(self, store: Store) -> None:
        """Deleting what is not there returns False."""
        assert await store.delete_session(CHAT) is False

    async def test_delete_spares_others(self, store: Store) -> None:
        """Deleting one session leaves all others whole, those of the same chat id in other tenants too."""
        namesake = SessionKey("theirs", "chat")
        for key in (CHAT, OTHER, namesake):
            lease = await lease_of(store, key)
            await say(store, key)
            await store.commit(lease, a_commit(branch(1, 1), in_cursor=1), at=NOW)

        await store.delete_session(CHAT)

        for key in (OTHER, namesake):
            assert await message_ids(store, key) == ["m-1"]
            assert len(await store.read_in(key, after=0)) == 1
            assert len((await store.read_out(key, after=0)).records) == 1

    async def test_chat_id_after_delete(self, store: Store) -> None:
        """A chat id that is used again begins empty: sequence numbers from 1, no part id known."""
        lease = await lease_of(store)
        await say(store, part_id="p1")
        await store.append_out(lease, chunks(1, 3), at=NOW)
        await store.delete_session(CHAT)
        lease = await lease_of(store)

        assert await say(store, part_id="p1") == 1
        assert await store.append_out(lease, chunks(1, 1), at=NOW) == 1
        assert await message_ids(store) == []

    async def test_inbox_moves_updated_at(self, store: Store) -> None:
        """`updated_at` follows inbox records and commits; chunks do not move it."""
        lease = await lease_of(store)
        moments: list[float] = []
        for step in (
            store.append_in(CHAT, SAID, part_id=None, at=NOW + 1.25),
            store.append_out(lease, chunks(1, 1), at=NOW + 2),
            store.commit(lease, a_commit(in_cursor=1), at=NOW + 3.5),
        ):
            await step
            row = await store.find_session(CHAT)
            assert row is not None
            moments.append(row.updated_at - NOW)

        assert moments == [1.25, 1.25, 3.5]
