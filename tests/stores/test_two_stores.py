"""Two stores side by side: whatever is done to both, they answer alike and hold the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from chatrt.errors import ChatrtError
from chatrt.stores import MemoryStore, SQLiteStore
from chatrt.stores.base import Appended, Lease, NewRecord, SessionKey, Store
from chatrt.stores.postgres import PostgresStore, migrate
from chatrt.testing.store_suite.setting import COMPLETE, NOW, a_commit, chunk, node

pytestmark = pytest.mark.timeout(300)

KEYS = [SessionKey("", "a"), SessionKey("", "b"), SessionKey("tenant", "a")]
TABLES = ("sessions", "heads", "work", "inbox", "out_segments", "nodes", "states", "attachments")

keys = st.sampled_from(KEYS)
owners = st.sampled_from(["worker-1", "worker-2"])
kinds = st.sampled_from(["message", "action", "stop"])
parts = st.sampled_from([None, "p1", "p2", "p3"])
cursors = st.integers(0, 6)


class TwoStores(RuleBasedStateMachine):
    """Does the same to both and compares what each says; the time is the machine's own."""

    make: tuple[Callable[[], Store], Callable[[], Store]]
    clean: Callable[[], Any]
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.leases: list[tuple[Lease, Lease]] = []
        self.nodes: dict[SessionKey, int] = {}
        self.stores = (self.make[0](), self.make[1]())

    @initialize()
    def begin(self) -> None:
        self.loop.run_until_complete(self.clean())
        self.both(lambda store: store.open())

    def teardown(self) -> None:
        self.compare_sessions()
        self.compare_contents()
        self.both(lambda store: store.close())

    def both(self, call: Callable[[Store], Any], *, same: bool = True) -> tuple[Any, Any]:
        """Call on both; what they give, which has to be the same."""

        async def attempt(store: Store) -> Any:
            try:
                return await call(store)
            except ChatrtError as error:
                return (type(error), error.code)

        first, second = (self.loop.run_until_complete(attempt(store)) for store in self.stores)
        if same:
            assert first == second
        return first, second

    def each(self, lease: int, call: Callable[[Store, Lease], Any]) -> Any:
        """Call with a lease that was given at some time; each store has its own of them."""
        if not self.leases:
            return None
        held = self.leases[lease % len(self.leases)]
        by_store = dict(zip(map(id, self.stores), held, strict=True))
        return self.both(lambda store: call(store, by_store[id(store)]))[0]

    # --- what is done

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys)
    def create(self, key: SessionKey) -> None:
        self.both(
            lambda store: store.create_session(
                key, agent="support", metadata={"n": 1}, client_data=[None, "é"], at=self.now
            )
        )

    @rule(key=keys, reason=st.sampled_from([None, "done"]))
    def close(self, key: SessionKey, reason: str | None) -> None:
        self.both(lambda store: store.close_session(key, reason=reason, at=self.now))

    @rule(key=keys)
    def delete(self, key: SessionKey) -> None:
        self.both(lambda store: store.delete_session(key))
        self.nodes.pop(key, None)

    @rule(key=keys, kind=kinds, part=parts, only_if_idle=st.booleans())
    def append_in(self, key: SessionKey, kind: str, part: str | None, *, only_if_idle: bool) -> None:
        record = NewRecord(kind, b'{"n":1}')
        self.both(lambda store: store.append_in(key, record, part_id=part, at=self.now, only_if_idle=only_if_idle))

    @rule(key=keys, parts=st.lists(parts, min_size=2, max_size=5))
    def append_in_at_once(self, key: SessionKey, parts: list[str | None]) -> None:
        async def append(store: Store) -> list[Any]:
            calls = [store.append_in(key, NewRecord("message", b"{}"), part_id=part, at=self.now) for part in parts]
            done = await asyncio.gather(*calls, return_exceptions=True)
            return [one if isinstance(one, Appended) else type(one) for one in done]

        self.both(append)

    @rule(key=keys, owner=owners)
    def acquire(self, key: SessionKey, owner: str) -> None:
        first, second = self.both(lambda store: store.acquire_lease(key, owner=owner, ttl=10, at=self.now), same=False)
        assert isinstance(first, Lease) == isinstance(second, Lease)
        if isinstance(first, Lease):
            assert (first.key, first.owner, first.deaths) == (second.key, second.owner, second.deaths)
            self.leases.append((first, second))

    @rule(owner=owners, limit=st.integers(0, 2), suspects=st.integers(0, 2), avoid=st.sets(keys, max_size=1))
    def claim(self, owner: str, limit: int, suspects: int, avoid: set[SessionKey]) -> None:
        first, second = self.both(
            lambda store: store.claim_leases(
                owner=owner, ttl=10, at=self.now, limit=limit, suspects=suspects, avoid=avoid
            ),
            same=False,
        )
        claims = [sorted(claimed, key=lambda claim: claim.row.key) for claimed in (first, second)]
        told = [[(claim.row, claim.lease.owner, claim.lease.deaths) for claim in claimed] for claimed in claims]
        assert told[0] == told[1]
        self.leases += [(one.lease, other.lease) for one, other in zip(*claims, strict=True)]

    @rule()
    def renew(self) -> None:
        async def places(store: Store) -> list[int]:
            held = [pair[self.stores.index(store)] for pair in self.leases]
            lost = await store.renew_leases(held, ttl=10, at=self.now)
            return [place for place, lease in enumerate(held) if lease in lost]

        self.both(places)

    @rule(lease=st.integers(0, 50), cursor=cursors)
    def release(self, lease: int, cursor: int) -> None:
        self.each(lease, lambda store, held: store.release_lease(held, in_cursor=cursor))

    @rule(lease=st.integers(0, 50), count=st.integers(0, 4))
    def append_out(self, lease: int, count: int) -> None:
        records = [chunk(number) for number in range(count)]
        self.each(lease, lambda store, held: store.append_out(held, records, at=self.now))

    @rule(lease=st.integers(0, 50), cursor=cursors, settles=st.booleans(), trim=cursors, fork=st.booleans())
    def commit(self, lease: int, cursor: int, trim: int, *, settles: bool, fork: bool) -> None:
        if not self.leases:
            return
        key = self.leases[lease % len(self.leases)][0].key
        number = self.nodes.get(key, 0)
        parent = None if number == 0 else str(max(1, number - 1)) if fork else str(number)
        new = node(str(number + 1), parent)
        whole = a_commit(
            [new], records=[COMPLETE] if settles else [], in_cursor=cursor, state={"n": number}, trim_to=trim
        )
        done = self.each(lease, lambda store, held: store.commit(held, whole, at=self.now))
        if isinstance(done, int):
            self.nodes[key] = number + 1

    # --- what has to be the same

    @rule()
    def compare_sessions(self) -> None:
        async def listed(store: Store) -> list[Any]:
            return [row for tenant in ("", "tenant") async for row in store.iter_sessions(tenant)]

        self.both(listed)

    @rule()
    def compare_unserved(self) -> None:
        self.both(lambda store: store.find_unserved(at=self.now))
        self.both(lambda store: store.count_unserved(at=self.now))

    @rule()
    def compare_contents(self) -> None:
        async def contents(store: Store) -> Any:
            found = []
            for key in KEYS:
                if await store.find_session(key) is None:
                    continue
                records = [(r.seq, r.at, r.kind, r.body) for r in await store.read_in(key, after=0)]
                snapshot = await store.load_snapshot(key)
                page = await store.read_out(key, after=snapshot.out_first_seq - 1)
                out = [(r.seq, r.at, r.kind, r.body) for r in page.records]
                found.append((await store.read_cursors(key), records, snapshot, out, await store.load_tree(key)))
            return found

        self.both(contents)


def run(make: tuple[Callable[[], Store], Callable[[], Store]], clean: Callable[[], Any], *, examples: int) -> None:
    loop = asyncio.new_event_loop()
    machine = type("Machine", (TwoStores,), {"make": make, "clean": staticmethod(clean), "loop": loop})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=50,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()


async def nothing() -> None:
    """There is nothing to clean."""


def test_sqlite_is_like_memory(tmp_path):
    """A SQLite file and the memory cannot be told apart by anything that is done to them."""
    names = iter(range(10**6))
    run((MemoryStore, lambda: SQLiteStore(tmp_path / f"{next(names)}.db")), nothing, examples=150)


def test_postgres_is_like_memory(postgres):
    """A PostgreSQL database and the memory cannot be told apart by anything that is done to them."""
    url = postgres.create_database("two_stores")
    asyncio.run(migrate(url))

    async def clean() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("; ".join(f"DELETE FROM chatrt.{table}" for table in TABLES))
        await connection.close()

    run((MemoryStore, lambda: PostgresStore(url)), clean, examples=150)
