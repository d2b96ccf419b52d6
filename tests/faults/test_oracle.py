"""The oracle is judged first: it finds nothing in a good history, and each forgery by the number of its invariant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.dumps import Output
from tests.faults.forged import Story, deny
from tests.faults.histories import History, read_histories
from tests.faults.oracle import judge

Forge = Callable[[Story], None]
FORGERIES: list[tuple[int, Forge]] = []


def forges(inv: int) -> Callable[[Forge], Forge]:
    """Say which invariant a forgery breaks."""

    def add(forge: Forge) -> Forge:
        FORGERIES.append((inv, forge))
        return forge

    return add


@forges(1)
def acked_and_not_stored(story: Story) -> None:
    story.now.inputs[0] = replace(story.now.inputs[0], part="other")


@forges(1)
def acked_and_stored_otherwise(story: Story) -> None:
    story.find("append", part="p2")["text"] = "something else"


@forges(2)
def two_seqs_for_one_part(story: Story) -> None:
    story.line("client", "acked", part="p1", seq=2, repeated=True)


@forges(2)
def one_part_twice_in_the_inbox(story: Story) -> None:
    story.now.inputs.append(replace(story.now.inputs[4], seq=6))


@forges(3)
def an_input_of_nobody(story: Story) -> None:
    story.now.inputs.append(replace(story.now.inputs[4], seq=6, part="nobody"))


@forges(4)
def said_later_and_numbered_earlier(story: Story) -> None:
    story.line("client", "append", part="p9", kind="stop", text="")
    story.line("client", "acked", part="p9", seq=3, repeated=False)


@forges(4)
def a_seq_that_goes_back(story: Story) -> None:
    story.earlier.out_last = 1000


@forges(4)
def a_hole_in_the_inbox(story: Story) -> None:
    story.now.inputs[4] = replace(story.now.inputs[4], seq=7)


@forges(4)
def a_hole_in_what_is_kept(story: Story) -> None:
    del story.now.outputs[3]


@forges(5)
def settled_twice(story: Story) -> None:
    seq = story.seq_of("turn-complete", inSeq=2)
    story.rewrite(seq, {**story.body_of(seq), "inSeq": 1})


@forges(5)
def served_again_when_it_was_settled(story: Story) -> None:
    seq = story.seq_of("turn-start", inSeq=2)
    story.rewrite(seq, {**story.body_of(seq), "inSeq": 1})


@forges(5)
def acked_and_without_an_end(story: Story) -> None:
    story.line("client", "append", part="p6", kind="message", text="", message="u6")
    story.line("client", "acked", part="p6", seq=6, repeated=False)
    story.now.in_cursor = 6


@forges(5)
def answered_and_not_in_the_history(story: Story) -> None:
    story.now.messages[0].message["id"] = "other"


@forges(6)
def the_cursor_passes_what_nothing_settled(story: Story) -> None:
    story.earlier.in_cursor = 2
    story.earlier.inputs = story.now.inputs[:2]


@forges(6)
def settled_behind_the_cursor(story: Story) -> None:
    story.earlier.in_cursor = 0


@forges(7)
def settled_out_of_order(story: Story) -> None:
    first, second = story.seq_of("turn-complete", inSeq=1), story.seq_of("turn-complete", inSeq=2)
    one, other = story.body_of(first), story.body_of(second)
    story.rewrite(first, other)
    story.rewrite(second, one)


@forges(7)
def stopped_by_nobody(story: Story) -> None:
    story.now.inputs[4] = replace(story.now.inputs[4], body={"inSeq": 2})


@forges(8)
def a_reader_misses_a_record(story: Story) -> None:
    story.lines.remove(story.reads("turn-start", inSeq=2))


@forges(8)
def a_reader_gets_a_record_twice(story: Story) -> None:
    seen = story.reads("turn-start", inSeq=2)
    story.lines.insert(story.lines.index(seen), seen)


@forges(8)
def a_reader_asks_elsewhere_than_it_was(story: Story) -> None:
    story.line("client", "opened", reader="r", after=2)


@forges(9)
def seen_and_gone(story: Story) -> None:
    story.now.out_last -= 1
    story.now.outputs.pop()


@forges(9)
def seen_and_the_cursor_is_ahead(story: Story) -> None:
    story.line("client", "not-opened", reader="r", after=20, status=404, code="cursor-ahead")


@forges(9)
def seen_otherwise_than_stored(story: Story) -> None:
    story.now.outputs[2] = Output(3, "chunk", b'{"type":"text-delta","delta":"x"}')


@forges(10)
def two_readers_see_two_things(story: Story) -> None:
    story.line("client", "opened", reader="s", after=0)
    story.line("client", "read", reader="s", seq=1, kind="chunk", digest="other", body={"type": "start"})


@forges(11)
def a_gap_where_all_is_kept(story: Story) -> None:
    story.line("client", "opened", reader="s", after=0)
    story.line("client", "read", reader="s", seq=4, kind="gap", digest="", body={"after": 0, "firstSeq": 5})


@forges(11)
def a_gap_that_is_told_wrongly(story: Story) -> None:
    story.line("client", "opened", reader="s", after=2)
    story.line("client", "read", reader="s", seq=4, kind="gap", digest="", body={"after": 0, "firstSeq": 5})


@forges(12)
def said_behind_the_end(story: Story) -> None:
    story.rewrite(story.seq_of("turn-start", inSeq=2), {"type": "custom"}, kind="chunk")


@forges(12)
def the_end_of_another_input(story: Story) -> None:
    seq = story.seq_of("turn-complete", inSeq=2)
    story.rewrite(seq, {**story.body_of(seq), "inSeq": 5})


@forges(12)
def a_turn_within_a_turn(story: Story) -> None:
    seq = story.seq_of("chunk", type="tool-input-available", toolCallId="t2")
    story.rewrite(seq, {"inSeq": 4, "trigger": "message", "messageId": "m9"}, kind="turn-start")


@forges(13)
def a_page_that_ends_within_a_turn(story: Story) -> None:
    story.find("loaded")["cursor"] -= 1


@forges(13)
def a_page_that_is_older_than_its_cursor(story: Story) -> None:
    story.find("loaded")["in_cursor"] = 0


@forges(13)
def a_page_that_is_newer_than_its_cursor(story: Story) -> None:
    story.find("loaded")["in_cursor"] = 2


@forges(13)
def a_page_with_what_is_still_to_come(story: Story) -> None:
    story.find("loaded")["messages"].append("m2")


@forges(15)
def what_was_shown_is_not_kept(story: Story) -> None:
    story.now.messages[1].message["parts"] = [{"type": "text", "text": "a.0 "}]


@forges(15)
def what_was_said_is_dropped(story: Story) -> None:
    seq = story.seq_of("chunk", type="tool-output-available", toolCallId="t1")
    story.rewrite(seq, {"inSeq": 2, "trigger": "message", "messageId": "m2"}, kind="turn-start")


@forges(15)
def a_completed_answer_is_short(story: Story) -> None:
    story.find("ended", call="a")["words"] = 5


@forges(15)
def the_model_knows_more(story: Story) -> None:
    story.find("called", call="b")["prompt"][1] = ["assistant", [["text", "a.0 a.1 a.2 "]]]


@forges(16)
def two_writers_in_one_answer(story: Story) -> None:
    seq = next(line["seq"] for line in story.lines if line.get("delta") == "a.1 ")
    story.rewrite(seq, {"type": "text-delta", "id": "t", "delta": "z.3 "})


@forges(16)
def an_epoch_that_goes_back(story: Story) -> None:
    story.earlier.epoch = 4


@forges(16)
def two_holders_of_one_epoch(story: Story) -> None:
    story.earlier.owner, story.now.owner = "a", "b"


@forges(20)
def a_recorded_call_runs_again(story: Story) -> None:
    story.line("tool", "started", call="t1", key="k", attempt=3, effect="idempotent", name="x", args={}, intent=True)


@forges(20)
def a_result_that_no_tool_gave(story: Story) -> None:
    story.now.messages[3].message["parts"][0]["output"] = "made up"


@forges(21)
def a_tool_that_starts_unannounced(story: Story) -> None:
    story.find("started", call="t1")["intent"] = False


@forges(21)
def a_tool_on_no_record(story: Story) -> None:
    story.tool("t9", "pure", 1)


@forges(22)
def another_key_at_the_second_time(story: Story) -> None:
    story.find("started", call="t1", attempt=2)["key"] = "other"


@forges(22)
def two_in_one_attempt(story: Story) -> None:
    story.find("started", call="t1", attempt=2)["attempt"] = 1


@forges(23)
def an_unsafe_call_twice(story: Story) -> None:
    for line in story.lines:
        if line["what"] == "started":
            line["effect"] = "unsafe"


@forges(24)
def a_call_that_nobody_allowed(story: Story) -> None:
    story.now.inputs[3] = replace(story.now.inputs[3], body={"message": {"id": "m3", "role": "assistant", "parts": []}})


@forges(25)
def a_call_that_was_refused(story: Story) -> None:
    deny(story)


@forges(28)
def a_call_without_a_result(story: Story) -> None:
    story.find("called", call="d")["prompt"].pop()


@forges(28)
def a_result_without_a_call(story: Story) -> None:
    del story.find("called", call="d")["prompt"][-2]


@forges(28)
def a_result_behind_somebody_else(story: Story) -> None:
    story.find("called", call="d")["prompt"].insert(-1, ["user", [["text", "two"]]])


@forges(28)
def an_empty_message(story: Story) -> None:
    story.find("called", call="a")["prompt"].append(["user", []])


@forges(33)
def acked_and_not_settled(story: Story) -> None:
    story.line("client", "append", part="p6", kind="message", text="", message="u6")
    story.line("client", "acked", part="p6", seq=6, repeated=False)


@forges(33)
def a_turn_that_stays_open(story: Story) -> None:
    story.out("turn-start", {"inSeq": 6, "trigger": "message", "messageId": "m6"})


def test_a_good_history_is_good():
    """In the history of a run that kept its promises nothing is found, and everything in it is counted."""
    story = Story()
    violations, figures = judge(story.lines, story.dumps)
    assert violations == []
    assert (figures.acked, figures.settled, figures.acked_under_fire, figures.settled_under_fire) == (4, 4, 4, 4)
    assert (figures.model_calls, figures.tool_calls, figures.repeated_calls) == (3, 2, 1)
    assert figures.reads == figures.holes + story.now.out_last
    assert figures.statuses == {"completed": 3, "stopped": 1}
    assert figures.faults == {"kill": 1}
    assert not figures.missed
    assert figures.share_under_fire == 1.0


@pytest.mark.parametrize(("inv", "forge"), FORGERIES, ids=[f"{inv}-{forge.__name__}" for inv, forge in FORGERIES])
def test_each_forgery_is_found(inv, forge):
    """A history in which one promise is broken is found out under the number of that promise."""
    story = Story()
    forge(story)
    violations, _ = judge(story.lines, story.dumps)
    assert inv in {violation.inv for violation in violations}, [str(violation) for violation in violations]


def test_a_quarantined_input_is_settled():
    """An input that was given up after it had killed its workers counts as settled, and apart from other failures."""
    story = Story()
    seq = story.seq_of("turn-complete", inSeq=1)
    story.rewrite(seq, {**story.body_of(seq), "status": "failed", "error": {"code": "input-quarantined"}})
    violations, figures = judge(story.lines, [story.dumps[-1]])
    assert violations == []
    assert figures.statuses == {"completed": 2, "stopped": 1, "quarantined": 1}


def test_what_nobody_saw_is_not_judged():
    """Records that were trimmed unread are counted as holes, and nothing is said of what they held."""
    story = Story()
    first = story.seq_of("turn-start", inSeq=2)
    story.now.outputs, story.now.out_first = story.now.outputs[first - 1 :], first
    story.lines = [line for line in story.lines if line["what"] not in ("read", "opened")]
    violations, figures = judge(story.lines, [story.dumps[-1]])
    assert violations == []
    assert figures.holes == first - 1


def test_a_planned_fault_that_did_not_fire_is_missed():
    """What was planned and did not happen is counted, so that no run passes because nothing went wrong."""
    story = Story()
    story.line("fault", "planned", name="freeze")
    assert judge(story.lines, story.dumps)[1].missed == {"freeze": 1}


WRITES = """
import os, signal, sys
from pathlib import Path
from tests.faults.histories import History
history = History(Path(sys.argv[1]), "child")
for number in range(100):
    history.write("fault", "fired", name=str(number), target=0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_history_survives_its_process(tmp_path):
    """Every line that was written before a SIGKILL is read, a cut last one is left out, and all are in one order."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", WRITES, str(tmp_path)], check=False, cwd=root, env={**os.environ})
    mine = History(tmp_path, "parent")
    mine.write("fault", "calmed")
    mine.close()
    with mine.path.open("ab") as file:
        file.write(json.dumps({"mono": 0})[:-1].encode())
    lines = list(read_histories(tmp_path))
    assert [line.get("name") for line in lines] == [*map(str, range(100)), None]


def test_the_oracle_shares_nothing_with_what_it_judges():
    """The oracle, the histories and the dumps load without any module of chatrt."""
    code = "import sys, tests.faults.oracle, tests.faults.dumps; sys.exit(any(m.startswith('chatrt') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
