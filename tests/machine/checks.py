"""What must hold whenever everything rests: the real session is what the reference says, seen from everywhere."""

from __future__ import annotations

from typing import Any

from chatrt.ui import assemble
from tests.machine.history_rules import without_half_calls
from tests.machine.normal_form import Names, body_of, normal_message, normal_prompt
from tests.machine.reference import Reference
from tests.machine.reference_tree import stored_rows
from tests.machine.stage import SECRET
from tests.machine.world import World

SETTLED_KINDS = ("message", "regenerate", "action", "switch")


class Checks:
    """Compares a world with a reference; what was compared once is not looked at again."""

    def __init__(self, world: World, reference: Reference) -> None:
        self.names = Names()
        self._world = world
        self._reference = reference
        self._told = self._prompts = self._cursor = self._controls = 0
        self._start: dict[str, Any] = {}
        self._chunks: list[Any] = []
        self._completed: list[int] = []
        self._complete_seq = 0

    def check(self) -> None:
        self._check_log()
        self._check_calls()
        self._check_holds()
        self._check_view()
        assert self._world.alarm.unplanned == []

    # --- what the agent was asked

    def _check_calls(self) -> None:
        stage, reference = self._world.stage, self._reference
        self.names.check(reference.told[self._told :], stage.told[self._told :], "hooks")
        self._told = len(reference.told)
        prompts = [normal_prompt(rows) for rows in stage.prompts[self._prompts :]]
        self.names.check(reference.prompts[self._prompts :], prompts, "prompts")
        self._prompts = len(reference.prompts)
        assert reference.effects == stage.effects
        assert len(set(stage.effects)) == len(stage.effects), "a call was carried out twice"

    def _check_holds(self) -> None:
        reference = self._reference
        expected = {reference.holding} & {"model", "hook"}
        if reference.holding == "tool":
            expected = {f"tool {call_id}" for call_id, end in reference.tools.items() if end is None}
        assert self._world.stage.held == expected, (reference.holding, self._world.stage.held)

    # --- .out

    def _check_log(self) -> None:
        reference = self._reference
        controls = [record for record in reference.disk.out if record["kind"] != "said"]
        found = 0
        for record in self._world.records(self._cursor):
            assert record.seq == self._cursor + 1, "the log has a hole"
            self._cursor = record.seq
            assert SECRET not in str(record.body), record
            if record.kind == "chunk":
                self._chunks.append(record.body)
                continue
            place = self._controls + found
            assert place < len(controls), f"one record too many: {record}"
            found += 1
            assert controls[place]["kind"] == record.kind, f"{controls[place]} expected, {record} found"
            if record.kind == "turn-start":
                self._check_start(controls[place], record.body)
            else:
                self._check_complete(controls[place], record.body)
                self._complete_seq = record.seq
        assert self._controls + found == len(controls), f"missing: {controls[self._controls + found :]}"
        self._controls = len(controls)

    def _check_start(self, expected: dict[str, Any], start: dict[str, Any]) -> None:
        self._start, self._chunks = start, []
        shown = {"kind": "turn-start", "seq": start["inSeq"], "trigger": start["trigger"], "id": start["messageId"]}
        shown["edited"] = start.get("editSeq", 0)
        base = start.get("message")
        self.names.check(expected, {**shown, "base": base and normal_message(base)}, "turn-start")

    def _check_complete(self, expected: dict[str, Any], complete: dict[str, Any]) -> None:
        shown = {
            "kind": "turn-complete",
            "seq": complete["inSeq"],
            "trigger": complete["trigger"],
            "status": complete["status"],
            "message": complete.get("messageId"),
            "reason": complete.get("finishReason"),
            "code": complete.get("error", {}).get("code", ""),
            "again": complete.get("willRetry", False),
        }
        message = expected["message"]
        self.names.check({**expected, "message": message and message["id"]}, shown, "turn-complete")
        assert complete["inSeq"] > (self._completed or [0])[-1], "inputs are settled once, in their order"
        if "willRetry" not in complete:
            self._completed.append(complete["inSeq"])
        if message is not None and complete["status"] != "injected":
            built = normal_message(assemble(self._chunks, self._start.get("message")))
            if complete["status"] != "completed":
                built["parts"] = without_half_calls(built["parts"])
            self.names.check(message, built, "the message that the chunks build")

    # --- what is loaded

    def _check_view(self) -> None:
        state = self._world.load()
        self.names.check(self._reference.view(), normal_state(state), "state")
        assert state.cursor == self._complete_seq

    def check_from_outside(self, pick: int) -> None:
        """Another process sees the turn that runs as well, and `.out` from any cursor on as everybody else read it."""
        world, reference = self._world, self._reference
        after = pick % (self._cursor + 1)
        state, records = world.look_from_outside(after)
        self.names.check(reference.view_elsewhere(), normal_state(state), "elsewhere")
        self._check_read(after, records)
        if reference.deaf != "late":  # what is stored is shown to readers here when the store has said so
            self._check_read(after, world.read(after))
            stored = [(record.seq, record.kind, record.body) for record in world.records(0)]
            seen = [(record.seq, record.kind, body_of(record)) for record in world.seen]
            assert seen in ([], stored), "the reader saw something else"

    def _check_read(self, after: int, records: list[Any]) -> None:
        stored = self._world.records(0)
        if records and records[0].kind == "gap":
            assert body_of(records[0]) == {"after": after, "firstSeq": records[0].seq + 1}
            kept = stored[records[0].seq :]
            completes = [record for record in kept if record.kind == "turn-complete"]
            assert len(completes) >= 2, "the last two turns are kept"
            records = records[1:]
        else:
            kept = stored[after:]
        assert [(one.seq, one.kind, one.body) for one in kept] == [(one.seq, one.kind, body_of(one)) for one in records]

    # --- the end

    def check_settled(self) -> None:
        """Everything that was acknowledged is settled once, and nothing that was stored is gone (D7, D14)."""
        disk = self._reference.disk
        expected = [one.seq for one in disk.inbox if one.kind in SETTLED_KINDS]
        preloads = {one.seq for one in disk.inbox if one.kind == "preload"}
        assert [seq for seq in self._completed if seq not in preloads] == expected
        assert not self._reference.has_work
        nodes = self._world.do(self._world.worker.load_tree(self._world.session.key))
        rows = [
            {"name": node.node_id, "behind": node.parent_id, "message": normal_message(node.message)} for node in nodes
        ]
        self.names.check(stored_rows(disk.tree), rows, "everything that was ever said")


def normal_state(state: Any) -> dict[str, Any]:
    return {
        "messages": [normal_message(message) for message in state.messages],
        "branches": [(message_id, names) for message_id, names in state.branches.items()],
        "pending": [(one.in_seq, normal_message(one.message)) for one in state.pending],
        "in_cursor": state.in_cursor,
        "last_in_seq": state.last_in_seq,
        "status": state.status,
    }
