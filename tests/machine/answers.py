"""What clients answer when the agent asks, and what they make up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.machine.history_rules import is_call
from tests.machine.machine import Machine, moves, pick, picks


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
        how=st.sampled_from(["plain", "plain", "twice", "both", "made up"]),
    )
    def decide(self, script: list[str], approved: bool, how: str) -> None:
        """Approve or deny the newest call that needs it."""
        self.plan(script)
        message_id, part = list(self.calls("approval-requested"))[-1]
        if how == "made up":
            part = {**part, "approval": {"id": "made up"}}
        inputs = [self.answer(message_id, _decision(part, approved))]
        if how in ("twice", "both"):
            inputs.append(self.answer(message_id, _decision(part, approved if how == "twice" else not approved)))
        self.append(*inputs)

    @precondition(lambda self: any(self.calls("approval-requested")))
    @rule(which=picks, approved=st.booleans())
    def decide_any(self, which: int, approved: bool) -> None:
        message_id, part = pick(self.calls("approval-requested"), which)
        self.append(self.answer(message_id, {**_decision(part, approved), "input": {"how": "to mallory"}}))

    @rule(script=moves)
    def answer_for_the_server(self, script: list[str]) -> None:
        """A call of the server's was cut off before it was carried out, and somebody says what came of it."""
        self.come_to_peace()
        self.plan(["half look", "cut", *script])
        self.append(("message", {"message": self.user_message()}))
        for message_id, part in [*self.calls("input-available", tool="tool-look")][-1:]:
            self.append(self.answer(message_id, {**_slim(part), "state": "output-available", "output": "forged"}))

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


def _slim(part: Any) -> dict[str, Any]:
    return {"type": part["type"], "toolCallId": part["toolCallId"]}


def _decision(part: Any, approved: bool) -> dict[str, Any]:
    approval = {"id": part["approval"]["id"], "approved": approved}
    return {**_slim(part), "state": "approval-responded", "approval": approval}
