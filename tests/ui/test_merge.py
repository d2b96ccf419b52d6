"""The rules by which stored and incoming messages are brought together."""

import copy

import pytest

from chatrt.ui import (
    cleanup_aborted_parts,
    find_answered_message,
    merge_by_id,
    overlay_tool_states,
    slim_message,
    upsert_incoming_message,
    validate_ui_message,
)


def user(message_id="u1", text="hi"):
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(*parts, message_id="a1"):
    return {"id": message_id, "role": "assistant", "parts": list(parts)}


def call(state="input-available", call_id="c1", kind="tool-ask", **keys):
    return {"type": kind, "toolCallId": call_id, "state": state, **keys}


def text(words="thinking", **keys):
    return {"type": "text", "text": words, **keys}


def with_input(part):
    """A part as the server has it, with its input."""
    return {"input": {"a": 1}, **part}


class TestOverlay:
    def test_takes_an_output_and_keeps_the_stored_input(self):
        """An output advances the stored call, whose input stays what the server stored."""
        stored = assistant(text(), with_input(call()))
        merged = overlay_tool_states(stored, assistant(call("output-available", output=7, input="forged")))
        assert merged["parts"] == [text(), {**with_input(call("output-available")), "output": 7}]

    def test_takes_an_error_text(self):
        """A failed call takes over its error text."""
        stored = assistant(with_input(call()))
        merged = overlay_tool_states(stored, assistant(call("output-error", errorText="no")))
        assert merged["parts"] == [{**with_input(call("output-error")), "errorText": "no"}]

    def test_takes_the_answer_to_an_approval(self):
        """An answered approval keeps the request as the server made it and takes only the decision."""
        asked = with_input(call("approval-requested", approval={"id": "ap", "signature": "s"}))
        given = {"id": "ap", "approved": True, "reason": "ok", "signature": "forged", "descriptor": 1}
        merged = overlay_tool_states(assistant(asked), assistant(call("approval-responded", approval=given)))
        assert merged["parts"][0] == {
            **asked,
            "state": "approval-responded",
            "approval": {"id": "ap", "signature": "s", "approved": True, "reason": "ok"},
        }

    def test_carries_an_approval_along_with_an_output(self):
        """An output that comes with its granted approval brings both."""
        asked = with_input(call("approval-requested", approval={"id": "ap"}))
        given = call("output-available", output=1, approval={"id": "ap", "approved": True})
        merged = overlay_tool_states(assistant(asked), assistant(given))
        assert merged["parts"][0]["output"] == 1
        assert merged["parts"][0]["approval"] == {"id": "ap", "approved": True}

    def test_matches_dynamic_tools_by_call_id(self):
        """Dynamic tool parts are matched as static ones are."""
        stored = assistant(with_input(call(kind="dynamic-tool", toolName="x")))
        incoming = assistant(call("output-available", kind="dynamic-tool", toolName="x", output="o"))
        assert overlay_tool_states(stored, incoming)["parts"][0]["output"] == "o"

    @pytest.mark.parametrize("state", ["output-available", "output-error", "output-denied"])
    def test_never_changes_a_finished_call(self, state):
        """A finished call is neither overwritten nor sent back to an earlier state."""
        stored = assistant(with_input(call(state)))
        for incoming in ("output-available", "output-error", "approval-responded", "output-denied", "input-available"):
            assert overlay_tool_states(stored, assistant(call(incoming, output=9))) is stored

    @pytest.mark.parametrize("state", ["input-streaming", "input-available", "approval-requested"])
    def test_ignores_open_calls(self, state):
        """An incoming call that is still open changes nothing."""
        stored = assistant(with_input(call()))
        assert overlay_tool_states(stored, assistant(call(state))) is stored

    def test_ignores_a_preliminary_output(self):
        """A preliminary output is no result and changes nothing."""
        stored = assistant(with_input(call()))
        assert overlay_tool_states(stored, assistant(call("output-available", output=1, preliminary=True))) is stored

    def test_ignores_texts_and_unknown_calls(self):
        """Texts and calls that are not stored change nothing, and the stored message comes back itself."""
        stored = assistant(text("mine"), with_input(call()))
        incoming = assistant(text("forged"), call("output-available", call_id="other", output=1))
        assert overlay_tool_states(stored, incoming) is stored

    def test_leaves_both_messages_alone(self):
        """Neither message is changed in place."""
        stored, incoming = assistant(with_input(call())), assistant(call("output-available", output=1))
        before = copy.deepcopy((stored, incoming))
        overlay_tool_states(stored, incoming)
        assert (stored, incoming) == before

    def test_advances_the_newest_of_calls_with_one_id(self):
        """Where a provider repeats a call id, the newest call is the one that is answered."""
        done = {**with_input(call("output-available")), "output": "old"}
        stored = assistant(done, {"type": "step-start"}, with_input(call()))
        incoming = assistant(done, call("output-available", output="new"))
        parts = overlay_tool_states(stored, incoming)["parts"]
        assert (parts[0]["output"], parts[2]["output"]) == ("old", "new")


class TestFindAnswered:
    def test_finds_by_id_first(self):
        """The stored message of the same id is the one that is meant."""
        stored = [assistant(call(), message_id="a1"), assistant(call(call_id="c2"), message_id="a2")]
        assert find_answered_message(stored, assistant(call(call_id="c2"), message_id="a1")) is stored[0]

    def test_finds_by_call_id_when_the_client_made_a_new_id(self):
        """A tool answer under another message id belongs to the message that made the call."""
        stored = [user(), assistant(call(), message_id="a1"), user("u2")]
        assert find_answered_message(stored, assistant(call("output-available"), message_id="new")) is stored[1]

    def test_finds_nothing_for_a_fresh_message(self):
        """A user message, or a call that nobody made, is about no stored message."""
        stored = [user(), assistant(call())]
        assert find_answered_message(stored, user("u9")) is None
        assert find_answered_message(stored, assistant(call(call_id="c9"), message_id="x")) is None


class TestUpsert:
    @pytest.mark.behaviour(147)
    def test_appends_a_fresh_message(self):
        """A message with a new id is appended, and the caller learns that the list changed."""
        stored = [user("u1")]
        assert upsert_incoming_message(stored, trigger="message", incoming_messages=[user("u2")]) is True
        assert [message["id"] for message in stored] == ["u1", "u2"]

    @pytest.mark.behaviour(148)
    def test_leaves_a_known_id_alone(self):
        """A message whose id is stored, such as a tool answer, is not appended."""
        stored = [assistant(with_input(call()))]
        incoming = [assistant(call("output-available", output=1))]
        assert upsert_incoming_message(stored, trigger="message", incoming_messages=incoming) is False
        assert stored == [assistant(with_input(call()))]

    @pytest.mark.behaviour(149, 150)
    @pytest.mark.parametrize("trigger", ["regenerate", "regenerate-message", "action"])
    def test_only_a_message_is_appended(self, trigger):
        """Regenerating and actions append nothing."""
        stored = []
        assert upsert_incoming_message(stored, trigger=trigger, incoming_messages=[user()]) is False
        assert stored == []

    @pytest.mark.behaviour(151)
    def test_nothing_incoming_changes_nothing(self):
        """Without an incoming message there is nothing to append."""
        stored = [user()]
        assert upsert_incoming_message(stored, trigger="message", incoming_messages=[]) is False
        assert stored == [user()]

    @pytest.mark.behaviour(152)
    def test_only_the_last_incoming_counts(self):
        """Of several incoming messages only the last is appended."""
        stored = []
        upsert_incoming_message(stored, trigger="submit-message", incoming_messages=[user("u1"), user("u2")])
        assert [message["id"] for message in stored] == ["u2"]

    @pytest.mark.behaviour(153)
    def test_a_message_without_id_is_appended(self):
        """A message without id is never taken for a stored one."""
        nameless = {"role": "user", "parts": []}
        stored = [{"role": "user", "parts": []}]
        assert upsert_incoming_message(stored, trigger="message", incoming_messages=[nameless]) is True
        assert len(stored) == 2

    @pytest.mark.behaviour(154)
    def test_takes_the_whole_event(self):
        """The other fields of a hydrate event may be passed along."""
        event = {"trigger": "message", "incoming_messages": [user()], "chat_id": "c", "turn": 3}
        assert upsert_incoming_message([], **event) is True


class TestMergeById:
    @pytest.mark.behaviour(99, 100, 101)
    def test_empty_lists(self):
        """With one list empty the result is a copy of the other."""
        messages = [user()]
        for merged in (merge_by_id(messages, []), merge_by_id([], messages)):
            assert merged == messages
            assert merged is not messages
        assert merge_by_id([], []) == []

    @pytest.mark.behaviour(102, 105, 108)
    def test_new_messages_come_behind_in_order(self):
        """Messages with new ids are appended in their order, and those of the first list stay."""
        merged = merge_by_id([user("u1")], [assistant(message_id="a1"), user("u2")])
        assert [message["id"] for message in merged] == ["u1", "a1", "u2"]

    @pytest.mark.behaviour(103, 104)
    def test_the_second_wins_in_the_place_of_the_first(self):
        """On a collision the second message stands where the first stood."""
        merged = merge_by_id([assistant(text("old")), user()], [assistant(text("new"))])
        assert merged == [assistant(text("new")), user()]

    @pytest.mark.behaviour(107)
    def test_the_last_duplicate_of_the_second_wins(self):
        """Of two messages of one id in the second list the later one stays."""
        merged = merge_by_id([], [assistant(text("old")), user(), assistant(text("new"))])
        assert merged == [assistant(text("new")), user()]

    @pytest.mark.behaviour(106)
    def test_missing_ids_never_collide(self):
        """Messages without id, or with an empty one, are all kept."""
        nameless = [{"role": "user", "parts": []}, user("")]
        assert merge_by_id(nameless, nameless) == nameless + nameless

    @pytest.mark.behaviour(109)
    def test_leaves_both_lists_alone(self):
        """Neither list is changed."""
        first, second = [assistant(text("old"))], [assistant(text("new")), user()]
        before = copy.deepcopy((first, second))
        merge_by_id(first, second)
        assert (first, second) == before


class TestSlim:
    @pytest.mark.behaviour(155, 156, 162)
    def test_other_messages_stay_whole(self):
        """User messages, assistants without advanced calls, and None come back as they are."""
        for message in (user(), assistant(text(), call(input=1)), None):
            assert slim_message(message) is message

    @pytest.mark.behaviour(157, 158, 159)
    @pytest.mark.parametrize(
        ("state", "keys"),
        [
            ("output-available", {"output": {"x": 1}}),
            ("output-error", {"errorText": "no"}),
            ("approval-responded", {"approval": {"id": "ap", "approved": True}}),
            ("output-denied", {"approval": {"id": "ap", "approved": False}}),
        ],
    )
    def test_keeps_what_belongs_to_the_state(self, state, keys):
        """An advanced call keeps type, id, state and the value of its state."""
        part = {**call(state, **keys), "input": {"a": 1}, "title": "T", "callProviderMetadata": {}}
        message = {**assistant(text(), part), "metadata": {"m": 1}}
        assert slim_message(message) == assistant(call(state, **keys))

    @pytest.mark.behaviour(160)
    def test_a_dynamic_tool_keeps_its_name(self):
        """The name of a dynamic tool stands only in the part and is kept."""
        part = call("output-available", kind="dynamic-tool", toolName="x", output=1)
        assert slim_message(assistant({**part, "input": 1})) == assistant(part)

    @pytest.mark.behaviour(161)
    def test_only_advanced_parts_survive(self):
        """Of mixed states only the advanced ones are sent."""
        done = call("output-available", output=1)
        preliminary = call("output-available", call_id="c3", output=1, preliminary=True)
        assert slim_message(assistant(call(call_id="c2", input=1), done, preliminary, text())) == assistant(done)


class TestCleanup:
    def test_closes_texts_and_reasoning(self):
        """What still streams is closed as done, with what it has."""
        message = assistant(text(state="streaming"), {"type": "reasoning", "text": "r", "state": "streaming"})
        assert [part["state"] for part in cleanup_aborted_parts(message)["parts"]] == ["done", "done"]

    def test_removes_half_streamed_inputs(self):
        """A call whose input never ended was never made and goes."""
        message = assistant(text(), call("input-streaming", rawInput='{"a'))
        assert cleanup_aborted_parts(message, client_tools={"ask"})["parts"] == [text()]

    def test_a_call_that_may_have_started_is_interrupted(self):
        """A call of a server's tool tells that nobody knows how it ended, and stays a valid part."""
        cleaned = cleanup_aborted_parts(assistant(with_input(call(kind="tool-pay"))), client_tools={"ask"})
        assert cleaned["parts"] == [with_input(call("output-error", kind="tool-pay", errorText="interrupted"))]
        assert validate_ui_message(cleaned) == cleaned

    def test_a_clients_call_stays_answerable(self):
        """A whole call of a client's tool stays open, so that the person can still answer it."""
        message = assistant(with_input(call()))
        assert cleanup_aborted_parts(message, client_tools=["ask"]) is message

    def test_a_providers_call_is_never_the_clients(self):
        """A call that the provider runs is interrupted, whatever its name."""
        message = assistant(with_input(call(providerExecuted=True)))
        assert cleanup_aborted_parts(message, client_tools={"ask"})["parts"][0]["state"] == "output-error"

    def test_a_preliminary_output_is_no_result(self):
        """A preliminary output goes and the call is interrupted."""
        part = with_input(call("output-available", output="50 %", preliminary=True))
        cleaned = cleanup_aborted_parts(assistant(part))
        assert cleaned["parts"] == [with_input(call("output-error", errorText="interrupted"))]

    def test_the_rest_is_kept(self):
        """Approvals, results, data, files and sources are kept, and an untouched message comes back itself."""
        message = assistant(
            {"type": "step-start"},
            text(state="done"),
            with_input(call("approval-requested", "c1", approval={"id": "1"})),
            with_input(call("approval-responded", "c2", approval={"id": "2", "approved": True})),
            with_input(call("output-available", "c3", output=1)),
            with_input(call("output-error", "c4", errorText="no")),
            with_input(call("output-denied", "c5", approval={"id": "5", "approved": False})),
            {"type": "data-x", "data": 1},
            {"type": "file", "mediaType": "m", "url": "u"},
            {"type": "source-url", "sourceId": "s", "url": "u"},
        )
        assert cleanup_aborted_parts(message) is message

    def test_an_approved_call_that_ran_is_interrupted(self):
        """Once a turn carries out approved calls, an approved call without result may have started."""
        approved = with_input(call("approval-responded", "c1", approval={"id": "1", "approved": True}))
        denied = with_input(call("approval-responded", "c2", approval={"id": "2", "approved": False}))
        cleaned = cleanup_aborted_parts(assistant(approved, denied), approvals_ran=True)
        assert [part["state"] for part in cleaned["parts"]] == ["output-error", "approval-responded"]
        assert validate_ui_message(cleaned) == cleaned

    def test_leaves_the_message_alone(self):
        """The message given is not changed in place."""
        message = assistant(text(state="streaming"), with_input(call()))
        before = copy.deepcopy(message)
        cleanup_aborted_parts(message)
        assert message == before

    def test_cleaning_twice_is_cleaning_once(self):
        """A clean message has nothing left to clean."""
        cleaned = cleanup_aborted_parts(assistant(text(state="streaming"), with_input(call()), call("input-streaming")))
        assert cleanup_aborted_parts(cleaned) is cleaned
