"""The boot of a run: what is stored becomes the context that the run lends to its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from chatrt import failpoints
from chatrt.history import History
from chatrt.ids import Ids
from chatrt.run_control import enter_run
from chatrt.run_values import enter_values
from chatrt.runtime.arrivals import Arrivals
from chatrt.runtime.context import RunContext
from chatrt.runtime.control import Control
from chatrt.runtime.custom import CustomLoop
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.lifecycle import Lifecycle, is_resumable
from chatrt.runtime.outbox_writer import OutboxWriter
from chatrt.runtime.recovery import UnfinishedTurn, find_unfinished_turn
from chatrt.runtime.session import LiveSession
from chatrt.runtime.state import DurableState
from chatrt.serving import ServedSession
from chatrt.stores import Lease, Record, Snapshot
from chatrt.turn import Trigger
from chatrt.ui import UIMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Whom a run's parts call when something happens.

    Attributes:
        arrived: Set when there is something to look at.
        on_received: Told of each message that arrives while work is at hand.
        on_turn_start: Told when a turn's answer begins.
        on_failure: Told when the store refuses what is written.
    """

    arrived: asyncio.Event
    on_received: Callable[[Record], None]
    on_turn_start: Callable[[int, Trigger, str, list[UIMessage]], None]
    on_failure: Callable[[BaseException | None], None]


@dataclass(frozen=True, slots=True)
class Booted:
    """A run that is ready to serve, and the turn that another one left unfinished, if one did."""

    context: RunContext
    lifecycle: Lifecycle
    unfinished: UnfinishedTurn | None


async def boot(
    live: LiveSession, lease: Lease, flusher: Flusher, ids: Ids, *, sessions: Any, signals: Signals
) -> Booted:
    """Load a session; the calling task and those it starts are inside of its run from then on.

    Args:
        live: The session.
        lease: The right to serve it.
        flusher: Stores what the run writes.
        ids: For messages, nodes and errors.
        sessions: The session manager, for application code.
        signals: Whom to call.

    Raises:
        StoreError: If it cannot be read.
    """
    snapshot = await live.store.load_snapshot(live.row.key)
    live.outbox.resume_from(snapshot.out_last_seq)
    live.history = History.from_nodes(await live.load_nodes(snapshot), snapshot.leaf_id, ids=ids)
    state = DurableState.from_json(snapshot.state)
    # Whoever took the run up again and died in mid-turn has not stored that it was there.
    died = snapshot.out_last_seq > snapshot.settled_seq
    resumed = not died and is_resumable(state, flusher.clock.now())
    run_id = state.run_id if resumed else ids.new("run")
    control = Control(live.row, run_id, live.agent, sessions, state=state, on_change=signals.arrived.set)
    enter_run(control)
    enter_values(control.locals)
    context = RunContext(
        chat_id=control.chat_id,
        run_id=run_id,
        previous_run_id=state.run_id,
        control=control,
        agent=live.agent,
        clock=flusher.clock,
        ids=ids,
        history=live.history,
        state=state,
        writer=OutboxWriter(live.outbox, flusher, lease, signals.on_failure),
        default_client_data=live.row.client_data,
        continuation=state.runs > (1 if resumed else 0),
        forget_changes=_reloads_history(live),
        arrivals=Arrivals(
            live,
            state,
            clock=flusher.clock,
            in_cursor=snapshot.in_cursor,
            arrived=signals.arrived,
            on_received=signals.on_received,
            on_end_run=control.end_run,
        ),
        loop=_custom_loop(live, control, flusher),
        on_turn_start=signals.on_turn_start,
        files=live.files,
        turns=state.run_turns if resumed else 0,
        settled_seq=snapshot.settled_seq,
        in_cursor=snapshot.in_cursor,
    )
    context.background.wake = signals.arrived.set
    live.injected = context.injected
    unfinished = await _find_unfinished(live, context, snapshot) if died else None
    return Booted(context, Lifecycle(context, resumed=resumed), unfinished)


async def _find_unfinished(live: LiveSession, context: RunContext, snapshot: Snapshot) -> UnfinishedTurn | None:
    unfinished = await find_unfinished_turn(live.store, live.row.key, snapshot.settled_seq)
    failpoints.reach("recover.read")
    if unfinished is not None and (unfinished.is_kept or unfinished.is_head_start):
        # It is past being changed; and what is meant for it must not act on a later turn, if it is closed here.
        context.arrivals.hold(unfinished.in_seq, edit_seq=unfinished.edit_seq, at_hand=unfinished.is_kept)
    return unfinished


def _reloads_history(live: LiveSession) -> Callable[[], Awaitable[None]]:
    history = live.history

    async def reload_history() -> None:
        snapshot = await live.store.load_snapshot(live.row.key)
        history.load(await live.load_nodes(snapshot), snapshot.leaf_id)

    return reload_history


def _custom_loop(live: LiveSession, control: Control, flusher: Flusher) -> CustomLoop | None:
    serve = live.agent.hooks.serve
    if serve is None:
        return None
    return CustomLoop(serve, lambda: ServedSession(control, live.history), control, flusher.clock)
