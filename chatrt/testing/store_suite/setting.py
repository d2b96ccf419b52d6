"""What the cases of the store suite start from: the fixtures, and short ways to make sessions, leases and commits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio

from chatrt.errors import UsageError
from chatrt.stores.base import Commit, Lease, NewRecord, Node, SessionKey, Store
from chatrt.ui import UIMessage

NOW = 1_700_000_000.0
CHAT = SessionKey("", "chat")
OTHER = SessionKey("", "other")
SAID = NewRecord("message", b'{"message":{"id":"m1"}}')
COMPLETE = NewRecord("turn-complete", b'{"inSeq":1}')

BODIES = [
    b"{}",
    b'{"delta":""}',
    b'{"delta":"a b\\nc"}',
    '{"delta":"žluťoučký \U0001f9ed 你好"}'.encode(),
    '{"delta":"line\u2028and\u2029paragraph"}'.encode(),
    b'{ "spaced" : [ 1.0 , 1e2 ] , "b" : null }',
    b'"\\u0041\\ud83d\\ude00"',
]


class StoreCase:
    """The fixtures that every group of cases shares."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        """Return a function that makes the store under test; override this."""
        raise UsageError("a class of store cases overrides the fixture make_store")

    @pytest_asyncio.fixture
    async def store(self, make_store: Callable[[], Store]) -> AsyncIterator[Store]:
        store = make_store()
        await store.open()
        yield store
        await store.close()


async def create(store: Store, key: SessionKey = CHAT, *, agent: str = "support", at: float = NOW) -> SessionKey:
    """Create a session and return its key."""
    await store.create_session(key, agent=agent, metadata={}, client_data=None, at=at)
    return key


async def lease_of(
    store: Store, key: SessionKey = CHAT, *, owner: str = "worker-1", ttl: float = 10.0, at: float = NOW
) -> Lease:
    """Create the session if it is not there, and take its lease."""
    await create(store, key)
    lease = await store.acquire_lease(key, owner=owner, ttl=ttl, at=at)
    assert lease is not None
    return lease


async def lost_lease_of(store: Store, key: SessionKey = CHAT) -> Lease:
    """Take a session's lease, let it run out, and let another worker take it."""
    lease = await lease_of(store, key, owner="worker-1", ttl=10, at=NOW)
    taken = await store.acquire_lease(key, owner="worker-2", ttl=10, at=NOW + 11)
    assert taken is not None
    return lease


async def say(store: Store, key: SessionKey = CHAT, *, part_id: str | None = None, at: float = NOW) -> int:
    """Append a message to the inbox and return its seq."""
    return (await store.append_in(key, SAID, part_id=part_id, at=at)).seq


def chunk(number: int) -> NewRecord:
    return NewRecord("chunk", b'{"type":"text-delta","id":"t","delta":"%d"}' % number)


def chunks(first: int, last: int) -> list[NewRecord]:
    """Return chunks that say their numbers, both ends included."""
    return [chunk(number) for number in range(first, last + 1)]


def message(message_id: str, text: str = "hello") -> UIMessage:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def node(name: str, parent: str | None, text: str = "hello") -> Node:
    """Return node `n-<name>` with message `m-<name>`, standing after node `n-<parent>`."""
    return Node(f"n-{name}", f"n-{parent}" if parent else None, message(f"m-{name}", text))


def branch(first: int, last: int) -> list[Node]:
    """Return nodes that stand one after the other, named by their numbers from 1."""
    return [node(str(number), str(number - 1) if number > 1 else None) for number in range(first, last + 1)]


def a_commit(
    nodes: Sequence[Node] = (),
    leaf: str | None = None,
    *,
    records: Sequence[NewRecord] = (COMPLETE,),
    in_cursor: int = 0,
    state: dict[str, Any] | None = None,
    trim_to: int = 0,
) -> Commit:
    """Return a commit whose leaf is `n-<leaf>`; without one, the last of its nodes."""
    leaf_id = f"n-{leaf}" if leaf else nodes[-1].node_id if nodes else None
    return Commit(
        records=records, nodes=nodes, leaf_id=leaf_id, in_cursor=in_cursor, state=state or {}, trim_to=trim_to
    )


async def message_ids(store: Store, key: SessionKey = CHAT) -> list[str]:
    """Return the message ids of the active branch."""
    return [node.message["id"] for node in (await store.load_snapshot(key)).nodes]
