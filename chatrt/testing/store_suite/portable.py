"""The cases of the store suite about sessions that are taken out of a store whole and put into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import pytest

from chatrt.errors import ConflictError, InvalidInputError, SessionNotFoundError
from chatrt.stores.base import NewRecord, Node, Parent, Record, SessionKey, SessionRow, Store
from chatrt.stores.portable import Exported, ExportedHead, ExportedInput, SessionDump, as_portable
from chatrt.testing.store_suite.setting import (
    BODIES,
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
    node,
    say,
)


async def _dump(store: Store, key: SessionKey = CHAT) -> SessionDump:
    found: list[Exported] = []
    async with aclosing(cast("AsyncGenerator[Sequence[Exported]]", as_portable(store).export_session(key))) as pages:
        async for page in pages:
            found += page
    (head,) = [one for one in found if isinstance(one, ExportedHead)]
    assert found[0] is head
    return SessionDump(
        head=head,
        nodes=[one for one in found if isinstance(one, Node)],
        inputs=[one for one in found if isinstance(one, ExportedInput)],
        records=[one for one in found if isinstance(one, Record)],
    )


def _moved(dump: SessionDump, key: SessionKey = OTHER) -> SessionDump:
    return replace(dump, head=replace(dump.head, row=replace(dump.head.row, key=key)))


def _said(records: Sequence[Record]) -> list[tuple[int, int, str, bytes]]:
    return [(record.seq, record.at, record.kind, record.body) for record in records]


def _inputs(dump: SessionDump) -> list[tuple[tuple[int, int, str, bytes], str | None]]:
    return [(_said([one.record])[0], one.part_id) for one in dump.inputs]


async def _fill(store: Store) -> None:
    """Two settled inputs, two branches, a trimmed log and an unsettled rest."""
    await store.create_session(CHAT, agent="support", metadata={"a": 1}, client_data=[2], at=NOW)
    lease = await store.acquire_lease(CHAT, owner="worker", ttl=10, at=NOW)
    assert lease is not None
    await say(store, part_id="p1", at=NOW + 1)
    await store.append_out(lease, chunks(1, 3), at=NOW + 1)
    await store.commit(lease, a_commit(branch(1, 3), in_cursor=1, state={"runs": 1}), at=NOW + 2)
    await say(store, at=NOW + 3)
    await store.append_out(lease, [NewRecord("chunk", body) for body in BODIES if body[:1] == b"{"], at=NOW + 3.25)
    commit = a_commit([node("x", "1")], in_cursor=2, state={"runs": 2}, trim_to=4)
    await store.commit(lease, commit, at=NOW + 4.5)
    await say(store, part_id="p3", at=NOW + 5)
    await store.append_out(lease, chunks(1, 2), at=NOW + 6)


class PortableCases(StoreCase):
    async def test_what_is_settled_is_taken_out(self, store: Store) -> None:
        """A session is taken out with its row, state, cursors, all branches, settled inputs and kept records."""
        await _fill(store)

        dump = await _dump(store)

        assert dump.head.row == await store.find_session(CHAT)
        assert (dump.head.in_cursor, dump.head.leaf_id, dump.head.state) == (2, "n-x", {"runs": 2})
        assert dump.nodes == await store.load_tree(CHAT)
        assert _inputs(dump) == [
            ((1, 1_700_000_001_000, "message", SAID.body), "p1"),
            ((2, 1_700_000_003_000, "message", SAID.body), None),
        ]
        page = await store.read_out(CHAT, after=0)
        assert _said(dump.records) == _said(page.records)[:-2]
        assert dump.records[-1].seq == dump.head.settled_seq
        assert dump.records[-1].kind == "turn-complete"

    async def test_what_is_put_in_is_as_it_was(self, store: Store) -> None:
        """Taken out again, a session that was put in is the same."""
        await _fill(store)
        dump = _moved(await _dump(store))

        row = await as_portable(store).import_session(dump)

        assert row == dump.head.row == await store.find_session(OTHER)
        again = await _dump(store, OTHER)
        assert (again.head, again.nodes, _inputs(again)) == (dump.head, dump.nodes, _inputs(dump))
        assert _said(again.records) == _said(dump.records)

    async def test_a_session_that_was_put_in_goes_on(self, store: Store) -> None:
        """Nobody holds it, nothing waits, numbers go on, and a repeated append is still known."""
        await _fill(store)
        dump = _moved(await _dump(store))
        await as_portable(store).import_session(dump)

        assert OTHER not in await store.find_unserved(at=NOW + 100)
        assert (await store.append_in(OTHER, SAID, part_id="p1", at=NOW)).seq == 1
        assert await say(store, OTHER) == 3
        assert OTHER in await store.find_unserved(at=NOW + 100)
        lease = await store.acquire_lease(OTHER, owner="worker", ttl=10, at=NOW)
        assert lease is not None
        last = dump.head.settled_seq
        assert await store.append_out(lease, chunks(1, 1), at=NOW) == last + 1
        await store.commit(lease, a_commit([node("y", "x")], in_cursor=3), at=NOW)
        assert await message_ids(store, OTHER) == ["m-1", "m-x", "m-y"]
        assert (await store.read_out(OTHER, after=last)).records[-1].seq == last + 2

    async def test_nothing_but_a_row(self, store: Store) -> None:
        """A session that nothing was said in comes and goes as well, with where it comes from and how it was closed."""
        parent = Parent(chat_id="p", root_id="r", tool_call_id="call")
        await store.create_session(CHAT, agent="support", metadata={}, client_data=None, at=NOW, parent=parent)
        await store.close_session(CHAT, reason="solved", at=NOW + 1)
        dump = _moved(await _dump(store))

        await as_portable(store).import_session(dump)

        row = await store.find_session(OTHER)
        assert row is not None
        assert (row.status, row.closed_reason, row.parent, row.updated_at) == ("closed", "solved", parent, NOW + 1)
        assert [row.key.chat_id async for row in store.iter_sessions("", parent="p")] == ["chat", "other"]
        assert [row.key.chat_id async for row in store.iter_recent_sessions("", agent="support")] == ["other", "chat"]
        assert (await store.load_snapshot(OTHER)).nodes == []

    async def test_no_record_is_kept(self, store: Store) -> None:
        """When no record is kept the numbers of the next ones still go on."""
        await _fill(store)
        dump = replace(_moved(await _dump(store)), records=[])
        await as_portable(store).import_session(dump)

        cursors = await store.read_cursors(OTHER)
        last = dump.head.settled_seq
        assert (cursors.out_first_seq, cursors.out_last_seq, cursors.settled_seq) == (last + 1, last, last)

    async def test_the_export_is_of_one_moment(self, store: Store) -> None:
        """What is written while a session is taken out is not in it, and writers do not wait for it."""
        await _fill(store)
        lease = await store.acquire_lease(CHAT, owner="worker", ttl=10, at=NOW)
        assert lease is not None
        pages = cast("AsyncGenerator[Sequence[Exported]]", as_portable(store).export_session(CHAT))
        found = list(await anext(pages))
        changed = Node("n-3", "n-2", {"id": "m-3", "role": "user", "parts": []})
        await store.commit(lease, a_commit([changed, node("z", "x")], in_cursor=3, trim_to=8), at=NOW + 9)
        async for page in pages:
            found += page

        nodes = [one for one in found if isinstance(one, Node)]
        assert [one.node_id for one in nodes] == ["n-1", "n-2", "n-3", "n-x"]
        assert nodes[2].message["parts"]
        assert len([one for one in found if isinstance(one, ExportedInput)]) == 2

    async def test_an_export_that_is_left(self, store: Store) -> None:
        """Who stops early closes it, and the store goes on."""
        await _fill(store)
        pages = cast("AsyncGenerator[Sequence[Exported]]", as_portable(store).export_session(CHAT))
        await anext(pages)
        await pages.aclose()

        assert await say(store) == 4

    async def test_a_large_session_comes_in_pages(self, store: Store) -> None:
        """Of a session with many messages and records only some are handed out at once, in their order."""
        lease = await lease_of(store)
        text = "x" * 1000
        nodes = [node(str(n), str(n - 1) if n > 1 else None, text) for n in range(1, 1501)]
        await store.append_out(lease, chunks(1, 700), at=NOW)
        await store.commit(lease, a_commit(nodes), at=NOW)
        sizes: list[int] = []
        names: list[str] = []
        async for page in as_portable(store).export_session(CHAT):
            sizes.append(len(page))
            names += [one.node_id for one in page if isinstance(one, Node)]

        assert names == [one.node_id for one in nodes]
        assert max(sizes) < 1000

    async def test_an_unknown_session_is_not_taken_out(self, store: Store) -> None:
        """There is nothing to take out."""
        with pytest.raises(SessionNotFoundError):
            await _dump(store)

    async def test_no_session_is_overwritten(self, store: Store) -> None:
        """A session that is there stays as it is, also when several are put in at once."""
        await _fill(store)
        dump = await _dump(store)
        with pytest.raises(ConflictError):
            await as_portable(store).import_session(dump)
        assert await store.read_in(CHAT, after=2) != []

        results = await asyncio.gather(
            *(as_portable(store).import_session(_moved(dump)) for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(result, SessionRow) for result in results) == 1

    async def test_a_session_that_was_deleted_may_come_back(self, store: Store) -> None:
        """Its next epoch is above every one it ever had."""
        lease = await lease_of(store)
        dump = await _dump(store)
        await store.delete_session(CHAT)
        await as_portable(store).import_session(dump)

        again = await store.acquire_lease(CHAT, owner="worker", ttl=10, at=NOW)
        assert again is not None
        assert again.epoch > lease.epoch

    @pytest.mark.parametrize("fault", ["parent", "twice", "leaf", "input", "record", "name"])
    async def test_a_dump_that_contradicts_itself(self, store: Store, fault: str) -> None:
        """What does not hold together is refused, and nothing of it is written."""
        await _fill(store)
        dump = _moved(await _dump(store))
        first = dump.inputs[0]
        broken = {
            "parent": replace(dump, nodes=dump.nodes[1:]),
            "twice": replace(dump, nodes=[*dump.nodes, dump.nodes[-1]]),
            "leaf": replace(dump, head=replace(dump.head, leaf_id="nobody")),
            "input": replace(dump, inputs=dump.inputs[1:]),
            "record": replace(dump, records=dump.records[:-1]),
            "name": replace(dump, inputs=[first, ExportedInput(dump.inputs[1].record, first.part_id)]),
        }[fault]

        with pytest.raises(InvalidInputError):
            await as_portable(store).import_session(broken)

        assert await store.find_session(OTHER) is None
        await create(store, OTHER)
        assert await message_ids(store, OTHER) == []
