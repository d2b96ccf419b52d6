"""Every prompt that goes to a model is well paired (D12)."""

import copy
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from chatrt.ui import repair_model_messages


def say(text="hi"):
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def assistant(*parts):
    return {"role": "assistant", "content": list(parts)}


def tool(*parts):
    return {"role": "tool", "content": list(parts)}


def call(call_id="c1", **keys):
    return {"type": "tool-call", "toolCallId": call_id, "toolName": "f", "input": {}, **keys}


def result(call_id="c1", value="ok"):
    return {"type": "tool-result", "toolCallId": call_id, "toolName": "f", "output": {"type": "text", "value": value}}


def request(call_id="c1", approval_id="ap1"):
    return {"type": "tool-approval-request", "approvalId": approval_id, "toolCallId": call_id}


def response(approval_id="ap1", *, approved=True, **keys):
    return {"type": "tool-approval-response", "approvalId": approval_id, "approved": approved, **keys}


def text(words="well"):
    return {"type": "text", "text": words}


def outputs(row):
    return {part["toolCallId"]: part["output"] for part in row["content"] if part["type"] == "tool-result"}


def test_a_sound_prompt_stays_as_it_is():
    """Where nothing is to mend, every row is the same object as before."""
    prompt = [
        {"role": "system", "content": "be nice"},
        say(),
        assistant(text(), call("c1"), call("c2")),
        tool(result("c1"), result("c2")),
        {"role": "assistant", "content": "done"},
        say(),
    ]
    repaired = repair_model_messages(prompt)
    assert [id(row) for row in repaired] == [id(row) for row in prompt]


def test_a_call_without_result_gets_one_that_says_so():
    """The model learns that the result of an interrupted call is unknown."""
    repaired = repair_model_messages([assistant(call()), say()])
    assert [row["role"] for row in repaired] == ["assistant", "tool", "user"]
    output = outputs(repaired[1])["c1"]
    assert output["type"] == "error-text"
    assert "interrupted" in output["value"]


def test_a_missing_result_joins_those_that_are_there():
    """One of two parallel calls without result is answered in the same row."""
    repaired = repair_model_messages([assistant(call("c1"), call("c2")), tool(result("c2"))])
    assert len(repaired) == 2
    assert set(outputs(repaired[1])) == {"c1", "c2"}


def test_a_result_further_on_moves_behind_its_call():
    """A result behind a user message moves to where providers want it."""
    found = result(value="found")
    repaired = repair_model_messages([assistant(call()), say(), tool(found)])
    assert repaired == [assistant(call()), tool(found), say()]


def test_a_result_without_call_is_dropped():
    """A result that belongs to no call before it goes, and so does its row."""
    assert repair_model_messages([tool(result()), say(), assistant(call()), tool(result(), result("c9"))]) == [
        say(),
        assistant(call()),
        tool(result()),
    ]


def test_of_several_results_the_first_counts():
    """A call has one result, the first."""
    repaired = repair_model_messages([assistant(call()), tool(result(value="a"), result(value="b")), tool(result())])
    assert repaired == [assistant(call()), tool(result(value="a"))]


def test_a_call_repeated_in_one_row_is_dropped():
    """Providers refuse two calls of one id in a row; the first stays."""
    assert repair_model_messages([assistant(call(), call()), tool(result())]) == [assistant(call()), tool(result())]


def test_an_id_that_returns_later_is_another_call():
    """Some providers count their calls anew in each step; each has its own result."""
    prompt = [assistant(call()), tool(result(value="a")), assistant(call()), tool(result(value="b"))]
    assert repair_model_messages(prompt) == prompt


def test_empty_assistant_rows_are_dropped():
    """Assistant rows that say nothing go, also those of empty texts."""
    rows = [assistant(), {"role": "assistant", "content": ""}, assistant(text("")), say()]
    assert repair_model_messages(rows) == [say()]


def test_empty_texts_beside_a_call_are_dropped():
    """An empty text goes unless it carries something for the provider."""
    signed = {**text(""), "providerOptions": {"p": {"sig": 1}}}
    repaired = repair_model_messages([assistant(text(""), signed, call()), tool(result())])
    assert repaired[0] == assistant(signed, call())


def test_an_answered_approval_at_the_end_stays_open():
    """A call that was approved in the last row runs next and gets no made-up result."""
    prompt = [say(), assistant(call(), request()), tool(response())]
    assert repair_model_messages(prompt) == prompt


def test_beside_an_answered_approval_an_unanswered_one_is_told():
    """With two requests and one answer, the other call says that nobody has approved it."""
    prompt = [assistant(call("c1"), request("c1", "ap1"), call("c2"), request("c2", "ap2")), tool(response("ap1"))]
    repaired = repair_model_messages(prompt)
    assert repaired[0] is prompt[0]
    assert set(outputs(repaired[1])) == {"c2"}
    assert "nobody has approved it" in outputs(repaired[1])["c2"]["value"]
    assert repaired[-1]["content"][0] == response("ap1")


def test_an_approval_that_was_overtaken_does_not_run():
    """Once something was said after the answer, an approved call without result is interrupted."""
    repaired = repair_model_messages([assistant(call(), request()), tool(response()), say()])
    assert "interrupted" in outputs(repaired[1])["c1"]["value"]


def test_a_denied_call_says_so():
    """A denied call without result is denied, with the reason that was given."""
    prompt = [assistant(call(), request()), tool(response(approved=False, reason="too dear")), say()]
    output = outputs(repair_model_messages(prompt)[1])["c1"]
    assert output == {"type": "execution-denied", "reason": "too dear"}


def test_an_approval_answer_further_on_moves_behind_its_call():
    """The answer to an approval stands with its call, before the result, however late it came."""
    prompt = [assistant(call(), request()), say(), tool(response(approved=False)), say()]
    repaired = repair_model_messages(prompt)
    assert [row["role"] for row in repaired] == ["assistant", "tool", "user", "user"]
    assert repaired[1]["content"][0] == response(approved=False)
    assert outputs(repaired[1])["c1"] == {"type": "execution-denied"}


def test_approval_parts_without_their_call_are_dropped():
    """Requests without call and answers without request go."""
    prompt = [assistant(text(), request()), tool(response()), say()]
    assert repair_model_messages(prompt) == [assistant(text()), say()]


def test_a_providers_result_may_stand_beside_its_call():
    """What the provider ran has its result in an assistant row, of the same or a later step."""
    prompt = [assistant(call(providerExecuted=True), result()), say()]
    assert repair_model_messages(prompt) == prompt
    later = [assistant(call(providerExecuted=True)), assistant(result(), text())]
    assert repair_model_messages(later) == later


def test_a_providers_call_without_result_is_told_in_its_row():
    """A provider's call that was interrupted has its result beside it."""
    repaired = repair_model_messages([assistant(call(providerExecuted=True), text()), say()])
    assert [row["role"] for row in repaired] == ["assistant", "user"]
    assert "interrupted" in outputs(repaired[0])["c1"]["value"]


IDS = st.sampled_from(["c1", "c2", "c3"])
APPROVALS = st.sampled_from(["ap1", "ap2"])
SAID = st.one_of(
    st.builds(text, st.sampled_from(["", "x"])),
    st.builds(call, IDS),
    st.builds(lambda call_id: call(call_id, providerExecuted=True), IDS),
    st.builds(result, IDS, st.sampled_from(["a", "b"])),
    st.builds(request, IDS, APPROVALS),
    st.builds(response, APPROVALS),
)
ANSWERED = st.one_of(
    st.builds(result, IDS, st.sampled_from(["a", "b"])),
    st.builds(lambda approval, approved: response(approval, approved=approved), APPROVALS, st.booleans()),
    st.builds(call, IDS),
    st.builds(request, IDS, APPROVALS),
)
ROWS = st.one_of(
    st.just(say()),
    st.lists(SAID, max_size=4).map(lambda parts: assistant(*parts)),
    st.lists(ANSWERED, max_size=4).map(lambda parts: tool(*parts)),
    st.just({"role": "assistant", "content": "plain"}),
)
PROMPTS = st.lists(ROWS, max_size=8)


def steps(prompt):
    """Each assistant row with the tool rows behind it; asserts that no tool row stands anywhere else."""
    found = []
    for index, row in enumerate(prompt):
        if row["role"] == "assistant":
            found.append((row, []))
        elif row["role"] == "tool":
            assert index > 0
            assert prompt[index - 1]["role"] in {"assistant", "tool"}
            assert row["content"]
            found[-1][1].append(row)
    return found


def kinds(row, kind):
    return [part for part in row["content"] if isinstance(part, dict) and part["type"] == kind]


@settings(max_examples=400, deadline=None)
@given(PROMPTS)
def test_any_rows_come_out_well_paired(prompt):
    """Each call has one result behind it, no result stands alone, and only calls that run next are open."""
    before = copy.deepcopy(prompt)
    repaired = repair_model_messages(prompt)
    assert prompt == before
    provided = Counter()
    for row, answers in steps(repaired):
        assert row["content"]
        calls = kinds(row, "tool-call")
        own = [part["toolCallId"] for part in calls if not part.get("providerExecuted")]
        assert len({part["toolCallId"] for part in calls}) == len(calls)
        provided.update(part["toolCallId"] for part in calls if part.get("providerExecuted"))
        provided.subtract(part["toolCallId"] for part in kinds(row, "tool-result"))
        results = Counter(part["toolCallId"] for answer in answers for part in kinds(answer, "tool-result"))
        runs_next = set()
        if answers and answers[-1] is repaired[-1]:
            answered = {part["approvalId"] for part in kinds(answers[-1], "tool-approval-response")}
            runs_next = {
                part["toolCallId"] for part in kinds(row, "tool-approval-request") if part["approvalId"] in answered
            }
        for call_id in own:
            assert results[call_id] == 1 or (results[call_id] == 0 and call_id in runs_next)
        for call_id in results.keys() - set(own):
            provided[call_id] -= results[call_id]
        assert min(provided.values(), default=0) >= 0
    open_calls = [call_id for call_id, count in provided.items() if count]
    last_requests = {
        part["toolCallId"]
        for row in repaired[-3:]
        if row["role"] == "assistant"
        for part in kinds(row, "tool-approval-request")
    }
    assert set(open_calls) <= last_requests


@settings(max_examples=400, deadline=None)
@given(PROMPTS)
def test_repairing_twice_is_repairing_once(prompt):
    """A repaired prompt has nothing to mend: every row stays the same object."""
    once = repair_model_messages(prompt)
    assert [id(row) for row in repair_model_messages(once)] == [id(row) for row in once]


@settings(max_examples=200, deadline=None)
@given(PROMPTS)
def test_what_people_said_is_never_touched(prompt):
    """User rows come through as they are and in order."""
    people = [row for row in prompt if row["role"] == "user"]
    assert [id(row) for row in repair_model_messages(prompt) if row["role"] == "user"] == [id(row) for row in people]
