"""The machine itself: what is done is done to the real runtime and to the reference, and both are compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from chatrt.errors import ChatrtError
from chatrt.stores import MemoryStore, Store
from tests.machine.checks import Checks
from tests.machine.history_rules import Message, is_call
from tests.machine.reference import Reference
from tests.machine.reference_state import IDLE_TIMEOUT, TURN_TIMEOUT, Refused
from tests.machine.world import World

MOVES = (
    "say", "say", "end", "end", "half look", "half mail", "look ok", "look ok", "look raise", "look hang", "ask", "mail ok",
    "mail hang", "mail raise", "look ok+ask", "look ok+mail ok", "ask+mail ok", "mail ok+mail hang", "ask+ask",
    "look hang+look hang", "cut", "error", "raise",
)  # fmt: skip
SECOND_THINGS = ("message", "stop", "stop it", "withdraw", "edit", "action", "regenerate", "switch", "preload")
LOOKS_FROM_OUTSIDE = 4
"""After how many steps another process looks at the session."""


picks = st.integers(0, 11)
moves = st.lists(st.sampled_from(MOVES), min_size=1, max_size=3)


class Machine(RuleBasedStateMachine):
    """Does the same to the real runtime and to the reference, brings both to rest, and compares.

    Attributes:
        when_busy: The busy policy of the agent.
    """

    when_busy = "queue"

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.numbers = itertools.count(1)
        self.sent: list[tuple[str, dict[str, Any], str]] = []
        self.steps = 0
        self.whole = True

    def make_store(self) -> Store:
        return MemoryStore()

    @initialize(max_turns=st.sampled_from([100, 2, 3]), watched=st.booleans())
    def begin(self, max_turns: int, watched: bool) -> None:
        when_busy: Any = self.when_busy
        times = {"idle_timeout": IDLE_TIMEOUT, "turn_timeout": TURN_TIMEOUT}
        self.world = World(self.make_store(), watched=watched, when_busy=when_busy, max_turns=max_turns, **times)
        self.reference = Reference(when_busy=when_busy, max_turns=max_turns)
        self.checks = Checks(self.world, self.reference)

    # --- both at once

    def rest(self) -> None:
        """Bring the reference to rest, as the world is, and compare."""
        self.whole = False
        self.reference.settle()
        self.checks.check()
        self.steps += 1
        if self.steps % LOOKS_FROM_OUTSIDE == 0:
            self.checks.check_from_outside(self.steps * 7)
        self.whole = True

    def append(self, *inputs: tuple[str, dict[str, Any]]) -> None:
        """Send inputs, one right behind the other, and let happen what comes of them."""
        self.deliver(*((kind, body, f"part {next(self.numbers)}") for kind, body in inputs))

    def deliver(self, *inputs: tuple[str, dict[str, Any], str]) -> None:
        expected: list[Any] = []
        for kind, body, part_id in inputs:
            try:
                expected.append(self.reference.append(kind, body, part_id))
            except Refused as refused:
                expected.append(refused.code)
        assert self.world.do(self._send(inputs)) == expected
        self.sent += inputs
        self.rest()

    async def _send(self, inputs: tuple[tuple[str, dict[str, Any], str], ...]) -> list[Any]:
        answers: list[Any] = []
        for kind, body, part_id in inputs:
            try:
                appended = await self._send_one(kind, self._with_real_ids(body), part_id)
                answers.append((appended.seq, appended.repeated))
            except ChatrtError as error:
                answers.append(error.code)
        return answers

    async def _send_one(self, kind: str, body: Any, part_id: str) -> Any:
        inbox = self.world.session.inbox
        match kind:
            case "message":
                steer, replaces = body.get("steer", False), body.get("messageId")
                return await inbox.send_message(body["message"], message_id=replaces, steer=steer, part_id=part_id)
            case "regenerate":
                return await inbox.regenerate(body.get("messageId"), part_id=part_id)
            case "action":
                return await inbox.act(body["action"], part_id=part_id)
            case "switch":
                return await inbox.switch_branch(body["messageId"], part_id=part_id)
            case "stop":
                return await inbox.stop(in_seq=body.get("inSeq"), reason=body.get("reason"), part_id=part_id)
            case "edit":
                return await inbox.edit_pending(body["inSeq"], body["message"], part_id=part_id)
            case "withdraw":
                return await inbox.withdraw(body["inSeq"], part_id=part_id)
            case _:
                return await inbox.preload(part_id=part_id)

    def _with_real_ids(self, value: Any) -> Any:
        match value:
            case dict():
                return {key: self._with_real_ids(one) for key, one in value.items()}
            case list():
                return [self._with_real_ids(one) for one in value]
            case str():
                return self.checks.names.real(value)
            case _:
                return value

    def both(self, change_reference: Callable[[], Any], change_world: Callable[[], Any]) -> None:
        change_reference()
        self.world.touch(change_world)
        self.rest()

    def plan(self, script: list[str]) -> None:
        """Let the model know what to do when it is asked next; nothing, if it is being asked."""
        if not self.asks_model:
            made = self.make_moves(script)
            self.reference.moves.extend(made)
            self.world.stage.moves.extend(made)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reference.has_work and self.reference.holding in ("", "idle")

    def let_everything_go(self, *made: tuple[Any, ...]) -> None:
        """End what holds anything up: hooks, tools, the store, and the model if moves are given."""
        reference, store, stage = self.reference, self.world.store, self.world.stage
        reference.stalled, reference.deaf, reference.held_hook = False, "", ""
        reference.tools.update(dict.fromkeys(reference.tools, "ok"))
        reference.moves.extend(made)

        def release() -> None:
            store.flow()
            store.deaf = False
            store.hear()
            stage.feed(list(made))
            for place in stage.held - {"model"}:
                stage.release(place, "ok")

        self.world.touch(release)
        self.rest()

    def come_to_peace(self) -> None:
        """Let everything come to its end."""
        for _ in range(10):
            if self.is_done:
                break
            self.let_everything_go(*([] if self.reference.moves else [("end",)]))

    # --- what there is

    @property
    def history(self) -> list[Message]:
        return [] if self.world is None else self.reference.view()["messages"]

    def user_message(self, message_id: str | None = None) -> Message:
        number = next(self.numbers)
        parts = [{"type": "text", "text": f"words {number}"}]
        return {"id": message_id or f"user {number}", "role": "user", "parts": parts}

    def two_things(self, other: str) -> list[tuple[str, dict[str, Any]]]:
        """A message, and what comes right behind it."""
        seq = len(self.reference.disk.inbox) + 1
        second: dict[str, Any] = {
            "message": {"message": self.user_message()},
            "stop": {},
            "stop it": {"inSeq": seq, "reason": "enough"},
            "withdraw": {"inSeq": seq},
            "edit": {"inSeq": seq, "message": self.user_message()},
            "action": {"action": {"do": "slice", "count": 1}},
            "regenerate": {},
            "switch": {"messageId": pick([one.id for one in self.reference.disk.tree.said] or ["nobody"], seq)},
            "preload": {},
        }
        return [("message", {"message": self.user_message()}), (other.removesuffix(" it"), second[other])]

    def change_of(self, kind: str, in_seq: int) -> tuple[str, dict[str, Any]]:
        """An edit or a withdrawal."""
        return kind, {"inSeq": in_seq} | ({"message": self.user_message()} if kind == "edit" else {})

    def make_moves(self, names: list[str]) -> list[tuple[Any, ...]]:
        return [self._make_move(name) for name in names]

    def _make_move(self, name: str) -> tuple[Any, ...]:
        number = next(self.numbers)
        match name.split():
            case ["say"]:
                return ("say", f"word{number} ")
            case ["half", tool]:
                return ("half", f"call {number}", tool, "ok")
            case [("end" | "cut" | "error" | "raise") as kind]:
                return (kind,)
        calls = [(*call.split(), "why")[:2] for call in name.split("+")]
        return ("calls", [(f"call {number}.{place}", tool, how) for place, (tool, how) in enumerate(calls)])

    def calls(self, *states: str, tool: str | None = None) -> Iterator[tuple[str, Any]]:
        """The calls of the history in some states: the message's id and the part."""
        for message in self.history:
            for part in message["parts"]:
                if is_call(part) and part["state"] in states and tool in (None, part["type"]):
                    yield message["id"], part

    @property
    def asks_model(self) -> bool:
        return self.world is not None and self.reference.holding == "model"

    def answer(self, message_id: str, *parts: Any) -> tuple[str, dict[str, Any]]:
        return ("message", {"message": {"id": message_id, "role": "assistant", "parts": list(parts)}})


def pick(values: Any, number: int) -> Any:
    listed = list(values)
    return listed[number % len(listed)]
