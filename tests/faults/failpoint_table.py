"""Which failpoint is tried in which conversation with which fault, and why the rest is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatrt.failpoints import WRITES

Fault = Literal["kill", "again", "stop", "raise", "then-raise"]
Store = Literal["sqlite", "postgres"]

FAULTS: tuple[Fault, ...] = ("kill", "again", "stop", "raise", "then-raise")
STORES: tuple[Store, ...] = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class Place:
    """A point, and the conversation that leads to it.

    Attributes:
        point: Its name.
        talk: The conversation; see `failpoint_talks`.
        again: Where the next process is killed when it takes up what the first one left, if it does not come to the
            same point before; None if nothing is left.
        at: At which pass the fault acts.
        first: What happens to a process before, if something has to.
    """

    point: str
    talk: str
    again: str | None
    at: int = 1
    first: str = ""

    @property
    def name(self) -> str:
        """What tells it from the others."""
        number = "" if self.at == 1 else f"@{self.at}"
        return f"{self.point}{number}.{self.talk}"


READ, SPLICED, DISPATCHED = "recover.read", "recover.spliced", "recover.dispatched"
INTENT = "tool.intent_committed=kill"

PLACES = (
    Place("in.pre_commit", "text", "in.pre_commit"),
    Place("in.pre_commit", "action", "in.pre_commit", at=2),
    Place("in.pre_commit", "stop", READ, at=2),
    Place("in.post_commit_pre_ack", "text", "in.post_commit_pre_ack"),
    Place("in.post_commit_pre_ack", "action", "in.post_commit_pre_ack", at=2),
    Place("in.post_commit_pre_ack", "stop", READ, at=2),
    Place("lease.acquired", "text", "lease.acquired"),
    Place("lease.pre_renew", "long", READ),
    Place("lease.pre_release", "idle", None),
    Place("lease.lost", "lost", None),
    Place("turn.claimed", "text", "turn.claimed"),
    Place("turn.claimed", "queued", "turn.claimed", at=2),
    Place("turn.claimed", "action", "turn.claimed", at=2),
    Place("turn.pre_model", "text", "turn.pre_model"),
    Place("turn.chunk", "text", "turn.chunk"),
    Place("turn.chunk", "text", READ, at=12),
    Place("turn.model_end", "text", SPLICED),
    Place("turn.model_end", "queued", DISPATCHED),
    *(
        Place(point, talk, again)
        for talk in ("pure", "idempotent", "unsafe")
        for point, again in (
            ("tool.intent_committed", READ),
            ("tool.running", SPLICED),
            ("tool.done_pre_record", DISPATCHED),
            ("tool.recorded", READ),
        )
    ),
    Place("tool.running", "approval", DISPATCHED),
    Place("tool.done_pre_record", "approval", READ),
    Place("tool.recorded", "approval", SPLICED),
    Place("appr.requested", "approval", SPLICED),
    Place("appr.recorded", "approval", "appr.recorded"),
    Place("appr.resume", "approval", READ),
    Place("out.pre_commit", "text", "out.pre_commit"),
    Place("out.pre_commit", "long", READ, at=4),
    Place("out.committed_pre_publish", "text", READ),
    Place("out.committed_pre_publish", "long", DISPATCHED, at=4),
    Place("snap.pre_write", "text", SPLICED),
    Place("snap.pre_write", "action", "snap.pre_write", at=2),
    Place("snap.pre_write", "stop", DISPATCHED),
    Place("snap.pre_write", "queued", READ),
    Place("snap.pre_write", "approval", READ),
    Place("snap.written", "text", None),
    Place("snap.written", "action", None, at=2),
    Place("snap.written", "stop", None),
    Place("snap.written", "queued", "turn.claimed"),
    Place("turn.pre_complete", "text", DISPATCHED),
    Place("turn.pre_complete", "action", "turn.pre_complete", at=2),
    Place("turn.pre_complete", "stop", SPLICED),
    Place("turn.pre_complete", "approval", READ),
    Place("turn.completed", "text", None),
    Place("turn.completed", "action", None, at=2),
    Place("turn.completed", "queued", "turn.claimed"),
    Place("turn.claimed", "changed", "turn.claimed", at=2),
    Place("snap.pre_write", "changed", READ),
    Place("snap.written", "changed", "turn.claimed"),
    Place("snap.written", "changed", "turn.claimed", at=2),
    Place("turn.completed", "changed", "turn.claimed", at=2),
    Place("turn.claimed", "anew", "turn.claimed", at=2),
    Place("turn.model_end", "anew", SPLICED, at=2),
    Place("snap.pre_write", "anew", READ, at=2),
    Place("snap.written", "anew", None, at=2),
    Place("tool.recorded", "steered", READ),
    Place("turn.pre_model", "steered", SPLICED, at=2),
    Place("turn.model_end", "steered", DISPATCHED, at=2),
    Place("turn.pre_complete", "steered", READ),
    Place("snap.pre_write", "steered", SPLICED),
    Place("snap.written", "steered", None),
    Place(READ, "steered", READ, first="turn.pre_complete=kill"),
    Place(SPLICED, "steered", SPLICED, first="turn.pre_complete=kill"),
    Place(DISPATCHED, "steered", None, first="turn.pre_complete=kill"),
    Place("trim.pre", "trim", READ),
    Place("trim.done", "trim", SPLICED),
    *(
        Place(point, talk, None if (point, talk) == (DISPATCHED, "unsafe") else point, first=INTENT)
        for point in (READ, SPLICED, DISPATCHED)
        for talk in ("pure", "unsafe")
    ),
    Place("close.pre_commit", "close", "close.pre_commit"),
    Place("close.recorded", "close", "close.recorded"),
    Place("shutdown.drain", "shutdown", READ),
    Place("migrate.step", "start", "migrate.step"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One fault at one place over one store."""

    place: Place
    fault: Fault
    store: Store

    @property
    def name(self) -> str:
        """What the test is called."""
        return f"{self.place.name}-{self.fault}-{self.store}"

    @property
    def chat(self) -> str:
        """The chat that is talked to; no other case has it."""
        return f"chat-{EVERY.index(self)}"

    @property
    def starts(self) -> list[str]:
        """What the processes of the case are told, one after another; those behind them are told nothing."""
        place = self.place
        action = "kill" if self.fault == "again" else self.fault
        faults = [place.first] if place.first else []
        faults.append(f"{place.point}={action}@{place.at}")
        if self.fault == "again":
            # Where the machine was too slow to store anything before the first end, the second one comes as the first.
            faults.append(f"{place.again}=kill;{place.point}=kill@{place.at}")
        return faults


def why_not(case: Case) -> str | None:
    """Say why a case makes no sense; None if it does."""
    place, store = case.place, case.store
    if case.fault == "then-raise" and place.point not in WRITES:
        return "nothing is written there"
    if case.fault == "again" and place.again is None:
        return "what is behind it is settled: no process finds anything to take up"
    if store == "postgres" and place.point.startswith("trim."):
        return "PostgreSQL trims inside of one function of the database, where this process cannot stand"
    if store == "sqlite" and place.point == "lease.lost":
        return "a file has one process, and nobody takes its leases away"
    return None


EVERY = tuple(Case(place, fault, store) for place in PLACES for fault in FAULTS for store in STORES)
CASES = tuple(case for case in EVERY if why_not(case) is None)
