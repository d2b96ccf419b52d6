"""The state machine: what people, the model, tools, hooks, the store, time and bad luck may do, in any order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from chatrt.errors import ChatrtError, ForbiddenChangeError, InvalidMessageError
from chatrt.stores import MemoryStore, SQLiteStore, Store
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
HOOKS = (
    "boot", "resume", "preload", "suspend", "validate", "chat_start", "turn_start", "prepare", "run", "before_complete",
    "complete", "action", "recovery_boot",
)  # fmt: skip
LOOKS_FROM_OUTSIDE = 4
"""After how many steps another process looks at the session."""

_TEXT = [{"type": "text", "text": "x"}]
REFUSED: dict[str, Any] = {
    "system": {"id": "s", "role": "system", "parts": _TEXT},
    "tool part": {"role": "user", "parts": [{"type": "tool-look", "toolCallId": "c", "state": "input-available"}]},
    "no id": {"role": "assistant", "parts": _TEXT},
    "script": {"role": "user", "parts": [{"type": "file", "mediaType": "text/html", "url": "javascript:1"}]},
}
"""What is not a person's to say: it is refused at the door."""

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

    # --- what there is

    @property
    def history(self) -> list[Message]:
        return [] if self.world is None else self.reference.view()["messages"]

    def user_message(self, message_id: str | None = None) -> Message:
        number = next(self.numbers)
        parts = [{"type": "text", "text": f"words {number}"}]
        return {"id": message_id or f"user {number}", "role": "user", "parts": parts}

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


class People(Machine):
    """What people do."""

    @rule(script=moves)
    def ask(self, script: list[str]) -> None:
        """Say something, and let the model know what to answer."""
        self.plan(script)
        self.append(("message", {"message": self.user_message()}))

    @rule(steer=st.booleans())
    def send(self, steer: bool) -> None:
        self.append(("message", {"message": self.user_message(), **({"steer": True} if steer else {})}))

    @rule(other=st.sampled_from(["message", "stop", "stop it", "withdraw", "edit", "action", "regenerate", "switch", "preload"]))
    def send_two(self, other: str) -> None:
        """Two things at the same moment."""
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
        self.append(("message", {"message": self.user_message()}), (other.removesuffix(" it"), second[other]))

    @rule(which=picks, reason=st.sampled_from([None, "enough"]))
    def stop(self, which: int, reason: str | None) -> None:
        inputs = len(self.reference.disk.inbox)
        targets = [None, None, None, *range(inputs, max(0, inputs - 6), -1), inputs + 2]
        target = targets[which % len(targets)]
        body = {"inSeq": target, "reason": reason}
        self.append(("stop", {key: value for key, value in body.items() if value is not None}))

    @rule(which=picks)
    def regenerate(self, which: int) -> None:
        target = pick([None, None, *(message["id"] for message in self.history[-6:]), "nobody"], which)
        self.append(("regenerate", {} if target is None else {"messageId": target}))

    @rule(which=picks)
    def switch(self, which: int) -> None:
        """Go back to another branch; there may be none."""
        names = [name for _, names in self.reference.view()["branches"] for name in names]
        self.append(("switch", {"messageId": pick(names or [message["id"] for message in self.history] or ["x"], which)}))

    @rule(which=picks, how=st.sampled_from(["own id", "named", "same text", "known anywhere"]), script=moves)
    def edit(self, which: int, how: str, script: list[str]) -> None:
        """Say something else in the place of an earlier message, or the same once more."""
        self.plan(script)
        known = [message for message in self.history if message["role"] == "user" or how == "known anywhere"]
        waiting = [message for _, message in self.reference.view()["pending"] if how == "known anywhere"]
        old = pick([*known, *waiting] or [self.user_message()], which)
        message = self.user_message(None if how == "named" else old["id"])
        if how == "same text":
            message["parts"] = old["parts"]
        self.append(("message", {"message": message, **({"messageId": old["id"]} if how == "named" else {})}))

    @rule(which=picks, kind=st.sampled_from(["edit", "withdraw"]))
    def change_waiting(self, which: int, kind: str) -> None:
        """Edit or withdraw an input: mostly a message that waits, sometimes one that is past it or no message."""
        waiting = [one.seq for one in (self.reference.run.queue if self.reference.run else ())]
        inputs = len(self.reference.disk.inbox)
        target = pick([*waiting[:3], *waiting[:3], *range(inputs, max(0, inputs - 4), -1), 0], which)
        body = {"inSeq": target} | ({"message": self.user_message()} if kind == "edit" else {})
        self.append((kind, body))

    @rule(which=picks, do=st.sampled_from(["slice", "rollback", "replace", "raise", "say"]))
    def act(self, which: int, do: str) -> None:
        number = next(self.numbers)
        target = pick([*(message["id"] for message in self.history[-5:]), "nobody"], which)
        action = {"do": do, "id": target, "count": 1 + which % 3, "text": f"noted {number}"}
        self.append(("action", {"action": action}))

    @rule(what=st.sampled_from(["preload", "resend", "system", "tool part", "no id", "script", "close"]), which=picks)
    def do_what_is_rare(self, what: str, which: int) -> None:
        if what == "preload":
            self.append(("preload", {}))
        elif what == "resend" and self.sent:
            self.deliver(self.sent[-1 - which % len(self.sent[-6:])])
        elif what == "close" and which > 8:
            self.reference.close()
            self.world.do(self.world.sessions.close_session(self.world.session.chat_id))
            self.rest()
        elif what in REFUSED:
            refused = False
            try:
                self.world.do(self.world.session.inbox.send_message(REFUSED[what]))
            except (ForbiddenChangeError, InvalidMessageError):
                refused = True
            assert refused
            self.rest()


class Answers(Machine):
    """What clients answer, and what they make up."""

    @precondition(lambda self: any(self.calls("input-available", tool="tool-ask")))
    @rule(script=moves, failed=st.booleans(), how=st.sampled_from(["plain", "plain", "twice", "renamed"]))
    def answer_tool(self, script: list[str], failed: bool, how: str) -> None:
        """Answer the newest question."""
        self.plan(script)
        message_id, part = list(self.calls("input-available", tool="tool-ask"))[-1]
        self._answer_tool(message_id, part, failed, how)

    @precondition(lambda self: any(self.calls("input-available", tool="tool-ask")))
    @rule(which=picks, how=st.sampled_from(["plain", "twice"]))
    def answer_any_tool(self, which: int, how: str) -> None:
        self._answer_tool(*pick(self.calls("input-available", tool="tool-ask"), which), False, how)

    def _answer_tool(self, message_id: str, part: Any, failed: bool, how: str) -> None:
        output = {"state": "output-available", "output": "because"}
        said = {"state": "output-error", "errorText": "no idea"} if failed else output
        answer = self.answer("renamed" if how == "renamed" else message_id, {**_slim(part), **said})
        self.append(*([answer, answer] if how == "twice" else [answer]))

    @precondition(lambda self: any(self.calls("approval-requested")))
    @rule(
        script=moves,
        approved=st.sampled_from([True, True, False]),
        how=st.sampled_from(["plain", "plain", "twice", "both"]),
    )
    def decide(self, script: list[str], approved: bool, how: str) -> None:
        """Approve or deny the newest call that needs it."""
        self.plan(script)
        message_id, part = list(self.calls("approval-requested"))[-1]
        inputs = [self.answer(message_id, _decision(part, approved))]
        if how in ("twice", "both"):
            inputs.append(self.answer(message_id, _decision(part, approved if how == "twice" else not approved)))
        self.append(*inputs)

    @precondition(lambda self: any(self.calls("approval-requested")))
    @rule(which=picks, approved=st.booleans())
    def decide_any(self, which: int, approved: bool) -> None:
        message_id, part = pick(self.calls("approval-requested"), which)
        self.append(self.answer(message_id, {**_decision(part, approved), "input": {"how": "to mallory"}}))

    @precondition(lambda self: any(message["role"] == "assistant" for message in self.history))
    @rule(
        which=picks,
        how=st.sampled_from(["unknown call", "wrong approval", "server tool", "text", "of a user", "again"]),
    )
    def forge(self, which: int, how: str) -> None:
        """Answer what was not asked, what is not the client's, or what is settled; change what is the server's."""
        message = pick([one for one in self.history if one["role"] == "assistant"][-4:], which)
        calls = [part for part in message["parts"] if is_call(part) and part["state"] != "input-streaming"]
        part = pick(calls or [{"type": "tool-ask", "toolCallId": "none"}], which)
        output = {**_slim(part), "state": "output-available", "output": "forged"}
        match how:
            case "unknown call":
                output["toolCallId"] = "made up"
            case "wrong approval":
                output = {**_slim(part), "state": "approval-responded", "approval": {"id": "made up", "approved": True}}
            case "again" if "approval" in part:
                output = _decision(part, approved=True)
            case "server tool":
                output["type"] = "tool-look"
        parts = [{"type": "text", "text": "forged"}] if how == "text" else [output]
        users = [one["id"] for one in self.history if one["role"] == "user"]
        self.append(self.answer(pick(users or ["nobody"], which) if how == "of a user" else message["id"], *parts))


class Fate(Machine):
    """What the model, the tools, the application's hooks, the store, time and bad luck do."""

    @precondition(lambda self: self.asks_model)
    @rule(script=moves)
    def speak(self, script: list[str]) -> None:
        self._feed(script)

    @precondition(lambda self: self.asks_model)
    @rule()
    def say(self) -> None:
        self._feed(["say"])

    @precondition(lambda self: self.asks_model)
    @rule()
    def come_to_an_end(self) -> None:
        self._feed(["say", "end"])

    @precondition(lambda self: self.asks_model)
    @rule(call=st.sampled_from([move for move in MOVES if move.split()[-1] in ("ok", "hang", "ask")]))
    def call(self, call: str) -> None:
        self._feed([call])

    def _feed(self, script: list[str]) -> None:
        made = self.make_moves(script)
        self.both(lambda: self.reference.moves.extend(made), lambda: self.world.stage.feed(made))

    @precondition(lambda self: self.asks_model)
    @rule(count=st.integers(1, 2), call=st.sampled_from(["look ok", "look raise", "look hang"]), then=st.none() | moves)
    def steer(self, count: int, call: str, then: list[str] | None) -> None:
        """People say something, and another step follows."""
        self.append(*(("message", {"message": self.user_message(), "steer": True}) for _ in range(count)))
        if self.asks_model:
            self._feed([call, *(then or [])])

    @precondition(lambda self: self.world is not None and self.reference.holding == "tool")
    @rule(which=picks, how=st.sampled_from(["ok", "ok", "raise"]))
    def end_tool(self, which: int, how: str) -> None:
        call_id = pick([one for one, end in self.reference.tools.items() if end is None], which)
        self.both(
            lambda: self.reference.tools.update({call_id: how}),
            lambda: self.world.stage.release(f"tool {call_id}", how),
        )

    @rule(hook=st.sampled_from(HOOKS), fault=st.sampled_from(["raise", "hold"]))
    def plan_fault(self, hook: str, fault: str) -> None:
        self.reference.faults[hook] = self.world.stage.faults[hook] = fault

    @precondition(lambda self: self.world is not None and (self.reference.held_hook or self.reference.deaf == "late"))
    @rule()
    def let_go(self) -> None:
        """End what holds everything up."""
        if self.reference.held_hook:
            self.both(lambda: setattr(self.reference, "held_hook", ""), lambda: self.world.stage.release("hook"))
        else:
            self.both(lambda: setattr(self.reference, "deaf", ""), self.world.store.hear)

    @precondition(lambda self: self.world is not None and self.reference.stalled)
    @rule()
    def flow(self) -> None:
        """Let the store take writes again."""
        self.both(lambda: setattr(self.reference, "stalled", False), self.world.store.flow)

    @precondition(lambda self: self.world is not None and not self.reference.stalled and not self.reference.deaf)
    @rule(deaf=st.booleans())
    def trouble_the_store(self, deaf: bool) -> None:
        """Let the store take no writes, or be late with its next word about a commit."""
        if deaf:
            self.reference.deaf = "armed"
            self.world.store.deaf = True
        else:
            self.reference.stalled = True
            self.world.store.stall()

    @precondition(lambda self: self.world is not None and self.reference.run and self.reference.run.injected)
    @rule(kind=st.sampled_from(["withdraw", "edit", "message"]), dies=st.booleans())
    def change_what_was_injected(self, kind: str, dies: bool) -> None:
        """Somebody takes back, edits or repeats what the model has been shown already; perhaps the worker dies then."""
        injected = self.reference.live.injected[-1]
        message = self.user_message(injected.body["message"]["id"])
        body = {"inSeq": injected.seq} | ({} if kind == "withdraw" else {"message": message})
        self.append((kind, {"message": message} if kind == "message" else body))
        if dies:
            self.crash()

    @rule(seconds=st.sampled_from([1, IDLE_TIMEOUT + 1, IDLE_TIMEOUT + 1, TURN_TIMEOUT + 1]))
    def wait(self, seconds: int) -> None:
        self.reference.now += seconds
        self.world.advance(seconds)
        self.rest()

    @rule()
    def crash(self) -> None:
        self.reference.crash()
        self.world.kill()
        self.rest()


class Conversation(People, Answers, Fate):
    """Everything, and at the end all that was promised."""

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if self.whole:
                self._bring_to_an_end()
        finally:
            self.world.end()

    def _bring_to_an_end(self) -> None:
        reference, stage = self.reference, self.world.stage
        reference.faults.clear()
        stage.faults.clear()
        for _ in range(300):
            if not reference.has_work and reference.holding in ("", "idle"):
                break
            reference.stalled, reference.deaf, reference.held_hook = False, "", ""
            reference.tools.update(dict.fromkeys(reference.tools, "ok"))
            ends = [] if reference.moves else [("end",)]
            reference.moves.extend(ends)
            self.world.touch(lambda: self._release_all(ends))
            reference.settle()
        self.checks.check()
        self.checks.check_from_outside(0)
        self.checks.check_settled()

    def _release_all(self, ends: list[Any]) -> None:
        store, stage = self.world.store, self.world.stage
        store.flow()
        store.deaf = False
        store.hear()
        stage.feed(ends)
        for place in stage.held:
            stage.release(place, "ok")


class SlowConversation(Conversation):
    """The same with a store in a file. Nothing happens at the same moment: its threads would decide what comes first."""

    def make_store(self) -> Store:
        self.folder = TemporaryDirectory()
        return SQLiteStore(Path(self.folder.name, "chat.db"))

    def deliver(self, *inputs: tuple[str, dict[str, Any], str]) -> None:
        for one in inputs:
            super().deliver(one)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


def _slim(part: Any) -> dict[str, Any]:
    return {"type": part["type"], "toolCallId": part["toolCallId"]}


def _decision(part: Any, approved: bool) -> dict[str, Any]:
    approval = {"id": part["approval"]["id"], "approved": approved}
    return {**_slim(part), "state": "approval-responded", "approval": approval}
