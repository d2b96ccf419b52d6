"""What people do: they say, edit, take back, stop, go back, act, and close."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from chatrt.errors import ForbiddenChangeError, InvalidMessageError, URLNotAllowedError
from tests.machine.machine import SECOND_THINGS, Machine, moves, pick, picks

_TEXT = [{"type": "text", "text": "x"}]
REFUSED: dict[str, Any] = {
    "system": {"id": "s", "role": "system", "parts": _TEXT},
    "tool part": {"role": "user", "parts": [{"type": "tool-look", "toolCallId": "c", "state": "input-available"}]},
    "no id": {"role": "assistant", "parts": _TEXT},
    "script": {"role": "user", "parts": [{"type": "file", "mediaType": "text/html", "url": "javascript:1"}]},
}
"""What is not a person's to say: it is refused at the door."""


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

    @rule(other=st.sampled_from(SECOND_THINGS))
    def send_two(self, other: str) -> None:
        """Two things at the same moment."""
        self.append(*self.two_things(other))

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
        self.append(
            ("switch", {"messageId": pick(names or [message["id"] for message in self.history] or ["x"], which)})
        )

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
        self.append(self.change_of(kind, target))

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
            except (ForbiddenChangeError, InvalidMessageError, URLNotAllowedError):
                refused = True
            assert refused
            self.rest()
