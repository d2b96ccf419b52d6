"""What the model, the tools, the application's hooks, the store, time and bad luck do."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from chatrt.runtime.quarantine import QUARANTINE_DEATHS
from tests.machine.machine import MOVES, SECOND_THINGS, Machine, moves, pick, picks
from tests.machine.reference_recovery import PLANS
from tests.machine.reference_state import IDLE_TIMEOUT, TURN_TIMEOUT

HOOKS = (
    "boot", "resume", "preload", "suspend", "validate", "chat_start", "turn_start", "prepare", "run", "before_complete",
    "complete", "action", "recovery_boot",
)  # fmt: skip


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

    def has_begun(self) -> bool:
        """Let everything go on until the model is asked, if need be because somebody says something; false if it is not."""
        for _ in range(10):
            if self.asks_model or self.is_done:
                break
            self.let_everything_go()
        if not self.asks_model:
            self.reference.moves.clear()
            self.world.stage.moves.clear()
            self.append(("message", {"message": self.user_message()}))
        return self.asks_model

    @rule(
        count=st.integers(1, 2),
        call=st.sampled_from(["look ok", "look raise", "look hang"]),
        then=st.none() | st.just(["slow end"]) | moves,
    )
    def steer(self, count: int, call: str, then: list[str] | None) -> None:
        """People say something, and another step follows."""
        if not self.has_begun():
            return
        self.append(*(("message", {"message": self.user_message(), "steer": True}) for _ in range(count)))
        slow = then == ["slow end"]
        if self.asks_model:
            self._feed([call, *([] if slow else then or [])])
        if slow and self.asks_model and not self.reference.stalled:
            self.trouble_the_store(False)
            self._feed(["end"])

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

    @rule(
        hook=st.sampled_from(
            ["boot", "resume", "validate", "turn_start", "run", "before_complete", "complete", "action"]
        ),
        then=st.sampled_from(["edit", "withdraw", "stop", "message", "crash"]),
    )
    def meet_a_slow_hook(self, hook: str, then: str) -> None:
        """Something comes up while a hook takes its time over what came before."""
        self.come_to_peace()
        self.reference.faults[hook] = self.world.stage.faults[hook] = "hold"
        seq = len(self.reference.disk.inbox) + 1
        if hook == "action":
            self.append(("action", {"action": {"do": "slice", "count": 1}}))
        else:
            self.append(("message", {"message": self.user_message()}))
        match then:
            case "edit" | "withdraw":
                self.append(self.change_of(then, seq))
            case "stop":
                self.append(("stop", {"inSeq": seq}))
            case "message":
                self.append(("message", {"message": self.user_message()}))
            case _:
                self.crash()

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

    @precondition(lambda self: self.world is not None and not self.reference.stalled and not self.reference.deaf)
    @rule(deaf=st.booleans(), meanwhile=st.sampled_from(SECOND_THINGS))
    def come_to_a_slow_end(self, deaf: bool, meanwhile: str) -> None:
        """The answer is whole, and while the store takes its time people go on."""
        if not self.has_begun():
            return
        self.trouble_the_store(deaf)
        self._feed(["end"])
        self.append(*self.two_things(meanwhile))

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

    @rule(
        change=st.none() | st.sampled_from(["edit", "withdraw"]),
        meanwhile=st.none() | st.sampled_from(SECOND_THINGS),
        plan=st.none() | st.sampled_from(PLANS),
    )
    def crash_in_mid_answer(self, change: str | None, meanwhile: str | None, plan: str | None) -> None:
        """The worker dies when something has been said; the application may plan what becomes of that."""
        if not self.has_begun():
            return
        self._feed(["say"])
        if change is not None:
            self.append(self.change_of(change, self.reference.live.at_hand_seq))
        if meanwhile is not None:
            self.append(*self.two_things(meanwhile))
        if plan is not None:
            self.reference.faults["recovery_boot"] = self.world.stage.faults["recovery_boot"] = plan
        self.crash()

    @rule()
    def crash(self) -> None:
        """The worker dies; not a third time over one input, which has tests of its own."""
        if self.reference.disk.deaths == QUARANTINE_DEATHS - 1 and self.reference.has_work:
            return
        self.reference.crash()
        self.world.kill()
        self.rest()
