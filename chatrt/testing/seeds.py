"""Seeds: what a chat under test already holds when its first worker starts, as earlier workers would have left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from chatrt.clock import Clock
from chatrt.codec import dumps
from chatrt.errors import UsageError
from chatrt.ids import Ids
from chatrt.runtime.inbox import Inbox
from chatrt.runtime.state import DurableState
from chatrt.stores import Commit, Lease, NewRecord, Node, SessionKey, Store
from chatrt.ui import UIMessage, UIMessageChunk, validate_chunk, validate_ui_messages

OWNER = "seed"
LEASE_SECONDS = 1.0
RELEASE_ANYWAY = 2**62

SeedInput = str | UIMessage | Mapping[str, Any]
"""An input of a seed: a text, a message, or `{"kind": "regenerate" | "action" | "stop", ...}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What is there before the first worker.

    Attributes:
        messages: The stored history; an earlier run is taken to have served it.
        unsettled: Inputs that were acknowledged and not answered.
        unfinished: The chunks a worker that died had written of its answer to the first of `unsettled`; None if it had
            not begun.
    """

    messages: Sequence[UIMessage] = ()
    unsettled: Sequence[SeedInput] = ()
    unfinished: Sequence[UIMessageChunk] | None = None

    def __bool__(self) -> bool:
        return bool(self.messages or self.unsettled) or self.unfinished is not None


async def plant(seed: Seed, store: Store, key: SessionKey, *, clock: Clock, ids: Ids) -> None:
    """Write a seed to a session that is there and empty.

    Raises:
        UsageError: If the session is not empty, or there is an unfinished answer to nothing.
        InvalidMessageError: If something is no message.
        InvalidChunkError: If something is no chunk.
    """
    if (await store.read_cursors(key)).last_in_seq or (await store.load_snapshot(key)).nodes:
        raise UsageError(f"chat {key.chat_id!r} has a past already; only a new one takes messages or unsettled inputs")
    if seed.unfinished is not None and not seed.unsettled:
        raise UsageError("an unfinished answer needs its question: the first of `unsettled`")
    lease = await store.acquire_lease(key, owner=OWNER, ttl=LEASE_SECONDS, at=clock.now())
    if lease is None:
        raise UsageError(f"chat {key.chat_id!r} is being served")
    messages = validate_ui_messages(list(seed.messages)) if seed.messages else []
    state = DurableState(chat_started=True, runs=1, run_id=ids.new("run")) if messages else DurableState()
    await _plant_messages(store, lease, messages, state, clock=clock, ids=ids)
    inbox = Inbox(key, store, clock, ids, lambda _appended: None)
    seqs = [await _plant_input(inbox, value) for value in seed.unsettled]
    if seed.unfinished is not None:
        kind = (await store.read_in(key, after=seqs[0] - 1))[0].kind
        await _plant_answer(store, lease, seqs[0], kind, seed.unfinished, clock=clock, ids=ids)
    await store.release_lease(lease, in_cursor=RELEASE_ANYWAY)


async def _plant_messages(
    store: Store, lease: Lease, messages: Sequence[UIMessage], state: DurableState, *, clock: Clock, ids: Ids
) -> None:
    nodes: list[Node] = []
    for message in messages:
        nodes.append(Node(ids.new("node"), nodes[-1].node_id if nodes else None, message))
    commit = Commit(
        records=[],
        nodes=nodes,
        leaf_id=nodes[-1].node_id if nodes else None,
        in_cursor=0,
        state=state.to_json(),
    )
    await store.commit(lease, commit, at=clock.now())


async def _plant_input(inbox: Inbox, value: SeedInput) -> int:
    match value:
        case str():
            parts: list[Any] = [{"type": "text", "text": value}]
            appended = await inbox.send_message(cast("UIMessage", {"role": "user", "parts": parts}))
        case {"kind": "regenerate"}:
            appended = await inbox.regenerate(value.get("messageId"), client_data=value.get("clientData"))
        case {"kind": "action"}:
            appended = await inbox.act(value.get("action"), client_data=value.get("clientData"))
        case {"kind": "stop"}:
            appended = await inbox.stop(in_seq=value.get("inSeq"), reason=value.get("reason"))
        case {"role": _}:
            appended = await inbox.send_message(cast("UIMessage", value))
        case _:
            raise UsageError(
                f"an unsettled input is a text, a message, a regenerate, an action or a stop, not {value!r}"
            )
    return appended.seq


async def _plant_answer(
    store: Store, lease: Lease, in_seq: int, kind: str, chunks: Sequence[UIMessageChunk], *, clock: Clock, ids: Ids
) -> None:
    written = [cast("dict[str, Any]", validate_chunk(chunk)) for chunk in chunks]
    message_id: str = next(
        (c["messageId"] for c in written if c["type"] == "start" and "messageId" in c), ids.new("msg")
    )
    if written and written[0]["type"] != "start":
        written.insert(0, {"type": "start", "messageId": message_id})
    start = NewRecord("turn-start", dumps({"inSeq": in_seq, "trigger": kind, "messageId": message_id}))
    await store.append_out(lease, [start, *(NewRecord("chunk", dumps(chunk)) for chunk in written)], at=clock.now())
