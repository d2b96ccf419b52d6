"""The store contract: where sessions, records, messages and leases live.

Rules that hold for every filling, and that `chatrt.testing.store_suite` checks:

* An ack means durable. Whatever a method returned survives the death of the process.
* Everything a worker writes carries its epoch, which is checked in the same transaction. A stale epoch writes nothing.
  Clocks decide when a lease may be taken over, never whether a write is allowed.
* `.in` has many writers and needs no epoch. `.out` has one: the holder of the lease.
* Sequence numbers start at 1, belong to one stream of one session, have no holes, and never go back.
* A call that is cancelled may still take effect: what was handed over is written, in the order it was handed over.
* Not there and could not read are different: `None` means absent, everything unreadable raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from chatrt.errors import StaleEpochError
from chatrt.message_tree import Node

InKind = Literal[
    "message",
    "regenerate",
    "action",
    "stop",
    "close",
    "preload",
    "switch",
    "write",
    "edit",
    "withdraw",
    "head-chunks",
    "handover",
    "handover-skip",
    "data",
    "end-run",
]
BUSY_KINDS: tuple[InKind, ...] = ("message", "regenerate", "action")
"""The kinds of `.in` records that make a session busy as long as they are unsettled."""

SUSPECT_DEATHS = 2
"""From so many holders on that died over the same input a session is a suspect: it is taken up one at a time."""

OutKind = Literal["chunk", "turn-start", "turn-complete", "upgrade", "handover", "resumed"]
SessionStatus = Literal["open", "closed"]


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """What addresses a session: the tenant (empty where an application has none) and the public chat id."""

    tenant: str
    chat_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The session from whose run another one was started, for good.

    Attributes:
        chat_id: Its chat id, in the same tenant.
        root_id: The chat id of the session where the family begins: the one that has no parent.
        tool_call_id: The tool call that started the other one, if one did.
    """

    chat_id: str
    root_id: str
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """What is known of a session without its records.

    Attributes:
        created_at: Seconds since 1970.
        updated_at: When the session last took an inbox record, had a turn or action committed, got other metadata, or
            was closed; in seconds since 1970. Chunks do not move it.
        closed_reason: What `close_session` was given.
        parent: The session that started it; None for one that began by itself.
    """

    key: SessionKey
    agent: str
    status: SessionStatus
    created_at: float
    updated_at: float
    metadata: dict[str, Any]
    client_data: Any
    closed_reason: str | None = None
    parent: Parent | None = None


class Recency(NamedTuple):
    """A place among the sessions of a tenant, the one that was updated last first; of equal times by chat id."""

    updated_at: float
    chat_id: str

    @classmethod
    def of(cls, row: SessionRow) -> Recency:
        """Return the place of a session."""
        return cls(row.updated_at, row.key.chat_id)


class NewRecord(NamedTuple):
    """A record before it has a place: its kind and its body as encoded JSON."""

    kind: str
    body: bytes


class Record:
    """An entry of `.in` or `.out`.

    Attributes:
        seq: Its number in its stream.
        at: When it was appended, in milliseconds since 1970.
        kind: An `InKind` or an `OutKind`.
        body: Encoded JSON; byte for byte what was appended.
        frames: Encodings that wires made of this record, kept so that all readers share them.
    """

    __slots__ = ("at", "body", "frames", "kind", "seq")

    def __init__(self, seq: int, at: int, kind: str, body: bytes) -> None:
        self.seq = seq
        self.at = at
        self.kind = kind
        self.body = body
        self.frames: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Record(seq={self.seq}, at={self.at}, kind={self.kind!r}, body={self.body!r})"


@dataclass(frozen=True, slots=True)
class Appended:
    """Where an inbox record stands, and whether the same part id had brought it there before.

    Attributes:
        held_by: Who held the session's lease in that moment, as far as the store says: who has a lease is told of the
            record. None where nobody does, or where only one process can serve the store.
    """

    seq: int
    repeated: bool
    held_by: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OutPage:
    """Some consecutive records of `.out` and the ends of what is kept.

    Attributes:
        records: The records after the cursor, oldest first.
        first_seq: The oldest record that is kept; `last_seq + 1` when none is.
        last_seq: The newest record ever appended, 0 when there never was one.
    """

    records: list[Record]
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's right to serve a session. `epoch` grows by one with every new holder.

    Attributes:
        deaths: How many holders have died since an input of the session was settled last, each with something
            unsettled: their leases ran out, or ended with the process, and were not given back.
    """

    key: SessionKey
    owner: str
    epoch: int
    expires_at: float
    deaths: int = 0


class Claim(NamedTuple):
    """A lease that was taken because there is work, and the session it is of."""

    lease: Lease
    row: SessionRow


class Cursors(NamedTuple):
    """Where the streams of a session stand, read in one transaction; the fields are those of `Snapshot`."""

    in_cursor: int
    settled_seq: int
    last_in_seq: int
    out_first_seq: int
    out_last_seq: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session's messages and the cursors they belong to, read in one transaction.

    Attributes:
        nodes: The active branch, from the first message to the leaf.
        in_cursor: The last `.in` record that is settled.
        settled_seq: The `.out` record that settled it: its `turn-complete`; 0 before the first.
        last_in_seq: The newest `.in` record.
        out_first_seq: The oldest `.out` record that is kept.
        out_last_seq: The newest `.out` record.
        state: The runtime's own durable state of the session, JSON-shaped; `{}` at first.
        branched: Whether there are nodes beside those of the active branch; `load_tree` reads them.
    """

    nodes: list[Node]
    in_cursor: int
    settled_seq: int
    last_in_seq: int
    out_first_seq: int
    out_last_seq: int
    state: dict[str, Any]
    branched: bool

    @property
    def leaf_id(self) -> str | None:
        """The node the active branch ends with; None for an empty history."""
        return self.nodes[-1].node_id if self.nodes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What ends a turn or an action, written as one transaction.

    Attributes:
        records: The last `.out` records; the very last one is the `turn-complete`. May be empty when what is settled
            asks for no answer; `settled_seq` then stays where it is.
        nodes: New nodes, parents before their children, and known ones (by `node_id`) whose message changed in place.
            A node keeps its parent for good.
        leaf_id: The node the active branch ends with from now on; None for an empty history.
        in_cursor: The `.in` record that is settled by this; not before the last commit's, not after the last record.
        state: The runtime's durable state, whole.
        trim_to: `.out` records up to this one may be dropped; 0 keeps all. A store drops what it can drop cheaply:
            records after it stay, and some before it may.
    """

    records: Sequence[NewRecord]
    nodes: Sequence[Node]
    leaf_id: str | None
    in_cursor: int
    state: dict[str, Any]
    trim_to: int = 0


NoticeKind = Literal["in", "out", "session", "free", "all"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A hint that another process wrote something. It may come late, twice or never; the log is the truth.

    Attributes:
        kind: What to look at: `in` and `out`, that stream of the session; `session`, whether it was closed or deleted;
            `free`, that there is work and nobody holds its lease; `all`, everything: hints were lost. An append is told
            as `in` when somebody holds the lease, whom alone it concerns, and as `free` otherwise.
        key: The session; None for `all`.
        seq: The newest record of the stream, 0 for the other kinds.
    """

    kind: NoticeKind
    key: SessionKey | None = None
    seq: int = 0


OnNotice = Callable[[Notice], None]


FORGOTTEN = b"{}"
"""The body of an input that was forgotten; see `Store.forget_inputs`."""


def to_millis(at: float) -> int:
    """Return seconds since 1970 as the whole milliseconds that records carry."""
    return round(at * 1000)


class Store(Protocol):
    """The contract. Every method may raise `StoreUnavailableError`; then the caller knows nothing was acked.

    Attributes:
        is_shared: Whether several processes may serve it at once: then nobody knows of all who read a session.
        append_interval: Seconds that a process lets pass between the beginnings of two groups of appended chunks, so
            that groups grow instead of their number; 0 where a group more costs little. The first one after a quiet
            time waits for nothing, nor does a commit.
    """

    append_interval: float

    @property
    def is_shared(self) -> bool: ...

    async def open(self) -> None:
        """Make ready; creates what is missing. On an open store it does nothing; a closed one may be opened again.

        A store that one process serves at a time ends all leases here, so that a restart need not wait for them:
        whoever held one is gone. Where the session has something unsettled that counts as a death (`Lease.deaths`).

        Raises:
            StoreLockedError: If another process, or another store of this process, serves the same file.
            UnreadableRecordError: If what is stored is damaged, or a newer version wrote it.
            StoreUnavailableError: If it cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted and let go. Calls after it raise `StoreUnavailableError`."""
        ...

    def subscribe(self, on_notice: OnNotice) -> Callable[[], None]:
        """Call `on_notice` in the event loop when another process wrote something, until the result is called.

        A store that one process at a time can open never has anything to tell. Whoever subscribes hears of what comes
        while the store is open, and of `all` within a second whenever hints may have been lost.
        """
        ...

    # --- sessions

    async def create_session(
        self,
        key: SessionKey,
        *,
        agent: str,
        metadata: dict[str, Any],
        client_data: Any,
        at: float,
        parent: Parent | None = None,
    ) -> tuple[SessionRow, bool]:
        """Create a session, or return the one that is there unchanged; the flag says whether it is new.

        Raises:
            TooLargeError: If the metadata are larger than `chatrt.stores.metadata` allows.
        """
        ...

    async def find_session(self, key: SessionKey) -> SessionRow | None:
        """Return the session's row, or None."""
        ...

    def iter_sessions(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        status: SessionStatus | None = None,
        parent: str | None = None,
        after: str = "",
        limit: int = 0,
    ) -> AsyncIterator[SessionRow]:
        """Yield sessions ordered by chat id, those after `after`, at most `limit` (0: all).

        With `parent` only those that this chat started, at a cost that does not depend on how many others there are.
        """
        ...

    def iter_recent_sessions(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        status: SessionStatus | None = None,
        parent: str | None = None,
        after: Recency | None = None,
        limit: int = 0,
    ) -> AsyncIterator[SessionRow]:
        """Yield sessions by `Recency`, last updated first, those behind the place `after`, at most `limit` (0: all).

        The first ones cost the same however many there are, of the tenant or, with `agent`, of the agent. A session
        that does not change comes exactly once in a series of pages; one that is updated meanwhile moves to the front,
        which such a series has behind it.
        """
        ...

    async def update_session(self, key: SessionKey, *, metadata: Mapping[str, Any], at: float) -> SessionRow:
        """Lay a merge patch (RFC 7396) over the metadata of a session, open or closed, in one transaction.

        Patches that come at once are laid one over the other: none is lost.

        Raises:
            SessionNotFoundError: If there is no such session.
            TooLargeError: If the metadata would be larger than `chatrt.stores.metadata` allows; nothing was changed.
        """
        ...

    async def close_session(self, key: SessionKey, *, reason: str | None, at: float) -> SessionRow:
        """Mark a session as closed for good; closing again changes nothing.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def delete_session(self, key: SessionKey) -> bool:
        """Remove a session with all its records and messages; False if there was none.

        The chat id may be used again: sequence numbers start over, epochs go on above those of the removed session.
        """
        ...

    async def find_expired(
        self, *, closed_before: float | None, idle_before: float | None, at: float, limit: int = 50, skip: int = 0
    ) -> list[SessionRow]:
        """Return sessions of all tenants that moved last before a time, the oldest first, `skip` of them left out.

        Only those with nothing unsettled, that nobody holds at `at`, and that no other session started; one whose
        parent is gone counts as its own.

        Args:
            closed_before: The time for closed sessions; None for never.
            idle_before: The time for all sessions; None for never.
            at: Now.
            limit: At most so many.
            skip: How many of the oldest are known already.
        """
        ...

    async def delete_expired(self, key: SessionKey, *, before: float, at: float) -> bool:
        """Remove a session as `delete_session` does, if it moved last before a time, has nothing unsettled and nobody
        holds it; all of that is one transaction. False if it stays or is gone.
        """
        ...

    async def forget_inputs(self, *, before: float, limit: int = 1000) -> int:
        """Empty the bodies of settled `.in` records of all tenants that were appended before a time.

        At most `limit` of them; returns how many. That they were there stays, with their numbers, kinds and part ids: a
        repeat is still answered with the first one's number.
        """
        ...

    # --- .in

    async def append_in(
        self, key: SessionKey, record: NewRecord, *, part_id: str | None, at: float, only_if_idle: bool = False
    ) -> Appended:
        """Append to the inbox, once for each part id; a repeat returns the first seq, whatever its body.

        With `only_if_idle` nothing is appended while records of `BUSY_KINDS` stand after the committed cursor; that is
        looked at in the same transaction.

        Raises:
            SessionNotFoundError: If there is no such session.
            SessionClosedError: If it is closed (a repeat of an older part id still gets its seq).
            SessionBusyError: If it was to be idle and is not (a repeat of an older part id still gets its seq).
        """
        ...

    async def read_in(self, key: SessionKey, *, after: int, limit: int = 100) -> list[Record]:
        """Return inbox records with `seq > after`, oldest first; empty for an unknown session."""
        ...

    # --- leases

    async def acquire_lease(
        self, key: SessionKey, *, owner: str, ttl: float, at: float, suspects: bool = True
    ) -> Lease | None:
        """Take the lease if it is free, expired, or already this owner's; a new epoch each time. None if held.

        Taking an expired lease of somebody else counts as a death (`Lease.deaths`), if something is unsettled. Without
        `suspects` the lease of another owner, or of nobody, is not taken, and None returned, if that makes
        `SUSPECT_DEATHS` or more.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def renew_leases(self, leases: Sequence[Lease], *, ttl: float, at: float) -> list[Lease]:
        """Push the expiry of leases to `at + ttl`; returns those that are lost.

        A lease that ran out and that nobody took is still held, and is renewed.
        """
        ...

    async def release_lease(self, lease: Lease, *, in_cursor: int) -> bool:
        """Give the lease back, unless `.in` holds records after `in_cursor`: then it stays held and False returns.

        Raises:
            StaleEpochError: If it is somebody else's or nobody's by now.
        """
        ...

    async def claim_leases(
        self,
        *,
        owner: str,
        ttl: float,
        at: float,
        limit: int = 100,
        suspects: int = 1,
        agents: Sequence[str] | None = None,
        avoid: Collection[SessionKey] = (),
    ) -> list[Claim]:
        """Take leases of what `find_unserved` would return, in one transaction; others that claim at once get others.

        Deaths are counted as by `acquire_lease`.

        Args:
            owner: Who takes them.
            ttl: As for `acquire_lease`.
            at: Now.
            limit: At most so many sessions that are no suspects.
            suspects: At most so many sessions with `SUSPECT_DEATHS` or more.
            agents: Only sessions of these; None for all.
            avoid: Sessions that are left to others.
        """
        ...

    async def find_unserved(
        self, *, at: float, limit: int = 100, agents: Sequence[str] | None = None
    ) -> list[SessionKey]:
        """Return sessions with unsettled `.in` records, or an unfinished turn on `.out`, that nobody holds.

        Oldest sessions first, of all tenants, closed ones too. With `agents` only sessions of these, so that
        sessions nobody here can serve do not stand in the way of others.
        """
        ...

    # --- .out and the commit

    async def append_out(self, lease: Lease, records: Sequence[NewRecord], *, at: float) -> int:
        """Append records in one piece and return the seq of the first; without records, of the next one.

        Raises:
            StaleEpochError: If the lease is over; nothing was written.
        """
        ...

    async def append_out_groups(
        self, groups: Sequence[tuple[Lease, Sequence[NewRecord]]], *, at: float
    ) -> list[int | StaleEpochError]:
        """Append to many sessions in one transaction; returns the seq of each group's first record.

        A group whose lease is over has the error in its place and writes nothing; the others are not touched by it.
        """
        ...

    async def read_out(self, key: SessionKey, *, after: int, limit: int = 1000) -> OutPage:
        """Return the records with `seq > after`, as many as there are up to `limit`.

        A page may start later than `after + 1` when older ones were trimmed.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def commit(self, lease: Lease, commit: Commit, *, at: float) -> int:
        """Write the end of a turn or an action whole and return the seq of the first of its records.

        One that moves the `.in` cursor ends the count of deaths.

        Raises:
            StaleEpochError: If the lease is over; nothing was written.
            UsageError: If a node's parent or the leaf is unknown, a node gets another parent, or the cursor leaves
                its range; nothing was written.
        """
        ...

    async def read_cursors(self, key: SessionKey) -> Cursors:
        """Read where a session stands, at a cost that does not depend on its messages.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def load_snapshot(self, key: SessionKey) -> Snapshot:
        """Read the active branch and its cursors in one transaction.

        Raises:
            SessionNotFoundError: If there is no such session.
            UnreadableRecordError: If something stored cannot be read.
        """
        ...

    async def load_tree(self, key: SessionKey) -> list[Node]:
        """Read the nodes of all branches in order of creation: as commits brought them, so parents before children.

        Raises:
            SessionNotFoundError: If there is no such session.
            UnreadableRecordError: If something stored cannot be read.
        """
        ...

    # --- for operators

    async def count_unserved(self, *, at: float) -> int:
        """Return how many sessions `find_unserved` would find of all agents without a limit.

        The cost depends on how many sessions have unsettled records, served or not, never on how many there are.
        """
        ...
