"""The history of a session: reading it, changing it, and knowing what changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.errors import MessageNotFoundError, UsageError
from chatrt.history import History, NewToolResult, ToolCallRef


def user(message_id, text="hi"):
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(message_id, *parts):
    return {"id": message_id, "role": "assistant", "parts": list(parts)}


def call(state, call_id="c1", **keys):
    return {"type": "tool-ask", "toolCallId": call_id, "state": state, "input": {}, **keys}


def four():
    return [user("u1"), assistant("a1"), user("u2"), assistant("a2")]


def ids(history):
    return [message["id"] for message in history.all()]


def state(history):
    """What is tracked, with messages told by their ids."""
    changes = history.changes()
    advanced = [index for index, _ in changes.advanced]
    return changes.kept, advanced, [message["id"] for message in changes.added], changes.dropped


class TestReading:
    @pytest.mark.behaviour(32)
    def test_all_is_a_list_of_its_own(self):
        """Changing the list that was read changes nothing in the history."""
        history = History(four())
        history.all().clear()
        assert ids(history) == ["u1", "a1", "u2", "a2"]

    def test_the_list_given_stays_the_givers(self):
        """Changing the list a history was made of changes nothing in the history."""
        messages = four()
        history = History(messages)
        messages.clear()
        assert len(history) == 4

    @pytest.mark.behaviour(27)
    def test_find_message(self):
        """A known id gives the message itself, an unknown one None."""
        messages = four()
        history = History(messages)
        assert history.find_message("u2") is messages[2]
        assert history.find_message("nope") is None

    def test_last(self):
        """The last message is the newest one; an empty history has none."""
        messages = four()
        assert History(messages).last is messages[-1]
        assert History().last is None

    def test_a_message_needs_an_id(self):
        """A message without id has no place in a history."""
        nameless = {"id": "", "role": "user", "parts": []}
        history = History(four())
        for attempt in (
            lambda: History([nameless]),
            lambda: history.append(nameless),
            lambda: history.advance(nameless),
            lambda: history.replace("u1", nameless),
            lambda: history.set([nameless]),
        ):
            with pytest.raises(UsageError):
                attempt()
        assert state(history) == (4, [], [], 0)


class TestToolCalls:
    @pytest.mark.behaviour(23, 31)
    def test_pending_calls_are_those_of_the_newest_assistant_message(self):
        """Calls without answer are pending, also behind a user message; older messages do not count."""
        history = History([assistant("a0", call("input-available", "c0")), assistant("a1", call("input-available"))])
        history.append(user("u2"))
        assert history.get_pending_tool_calls() == [ToolCallRef("c1", "ask", "a1")]

    @pytest.mark.behaviour(24)
    @pytest.mark.parametrize(
        "settled", ["input-streaming", "approval-requested", "approval-responded", "output-available", "output-denied"]
    )
    def test_only_input_available_is_pending(self, settled):
        """Approvals, unfinished inputs and finished calls are not pending."""
        assert History([assistant("a1", call(settled))]).get_pending_tool_calls() == []

    @pytest.mark.behaviour(24)
    def test_nothing_is_pending_without_an_assistant_message(self):
        """A history of user messages has no pending calls."""
        assert History([user("u1")]).get_pending_tool_calls() == []

    @pytest.mark.behaviour(25)
    def test_resolved_calls_are_those_of_the_whole_history(self):
        """Outputs and errors of all messages count, in order; denials and preliminary outputs do not."""
        history = History(
            [
                assistant("a1", call("output-available", "c1"), call("output-denied", "c2")),
                assistant(
                    "a2",
                    call("output-error", "c3"),
                    {**call("output-available", "c1"), "type": "dynamic-tool", "toolName": "x"},
                    call("output-available", "c5", preliminary=True),
                ),
            ]
        )
        assert history.get_resolved_tool_calls() == [
            ToolCallRef("c1", "ask", "a1"),
            ToolCallRef("c3", "ask", "a2"),
            ToolCallRef("c1", "x", "a2"),
        ]

    @pytest.mark.behaviour(26, 30)
    def test_new_results_are_those_the_history_lacks(self):
        """A result whose call is resolved in the history is not new; an error has its text and no output."""
        history = History([assistant("a1", call("output-available", "c1"), call("input-available", "c2"))])
        incoming = assistant(
            "a1",
            call("output-available", "c1", output=1),
            call("output-available", "c2", output={"x": 1}),
            call("output-error", "c3", errorText="no"),
            call("input-available", "c4"),
        )
        assert history.extract_new_tool_results(incoming) == [
            NewToolResult("c2", "ask", {"x": 1}),
            NewToolResult("c3", "ask", None, "no"),
        ]

    @pytest.mark.behaviour(30)
    def test_a_result_given_twice_counts_once(self):
        """Of two results for one call the first is taken."""
        incoming = assistant("a1", call("output-available", output=1), call("output-error", errorText="no"))
        assert History().extract_new_tool_results(incoming) == [NewToolResult("c1", "ask", 1)]

    @pytest.mark.behaviour(29)
    def test_a_merged_result_is_no_longer_new(self):
        """After the answer is in the history the same message brings nothing."""
        history = History([assistant("a1", call("input-available"))])
        answered = assistant("a1", call("output-error", errorText="no"))
        assert len(history.extract_new_tool_results(answered)) == 1
        history.advance(answered)
        assert history.extract_new_tool_results(answered) == []

    def test_only_assistant_messages_have_results(self):
        """Parts of a user message that look like results, or parts without call id, are not results."""
        assert History().extract_new_tool_results({**user("u1"), "parts": [call("output-available", output=1)]}) == []
        assert History().extract_new_tool_results(assistant("a1", call("output-available", None, output=1))) == []


class TestChanging:
    @pytest.mark.parametrize(
        ("start", "end", "left"),
        [
            (0, -2, ["u1", "a1"]),
            (-1, None, ["a2"]),
            (-20, None, ["u1", "a1", "u2", "a2"]),
            (1, 3, ["a1", "u2"]),
            (3, 1, []),
            (9, None, []),
            (0, 0, []),
            (0, 99, ["u1", "a1", "u2", "a2"]),
        ],
    )
    def test_slice_counts_as_lists_do(self, start, end, left):
        """A slice keeps from start to end, exclusive, negative numbers from the end."""
        history = History(four())
        history.slice(start, end)
        assert ids(history) == left

    def test_rollback_keeps_the_message_it_names(self):
        """Rolling back keeps everything up to and including the message."""
        history = History(four())
        history.rollback_to("a1")
        assert ids(history) == ["u1", "a1"]

    def test_replace_puts_another_message_in_the_place(self):
        """The new message stands where the old one stood and may have another id."""
        history = History(four())
        history.replace("u2", user("u9", "edited"))
        assert ids(history) == ["u1", "a1", "u9", "a2"]

    def test_remove_drops_the_message(self):
        """The other messages close up."""
        history = History(four())
        history.remove("a1")
        assert ids(history) == ["u1", "u2", "a2"]

    def test_set_puts_other_messages_in_the_place_of_all(self):
        """After set the history holds exactly these messages."""
        history = History(four())
        history.set([user("x")])
        assert ids(history) == ["x"]

    @pytest.mark.parametrize(
        "attempt",
        [
            lambda history: history.rollback_to("nope"),
            lambda history: history.replace("nope", user("x")),
            lambda history: history.remove("nope"),
            lambda history: history.advance(user("nope")),
        ],
    )
    def test_an_unknown_id_fails_visibly(self, attempt):
        """Naming a message that is not there raises and changes nothing (D4)."""
        history = History(four())
        with pytest.raises(MessageNotFoundError) as raised:
            attempt(history)
        assert raised.value.message_id == "nope"
        assert ids(history) == ["u1", "a1", "u2", "a2"]
        assert state(history) == (4, [], [], 0)

    def test_changes_are_seen_by_the_next_read(self):
        """Several changes compose, each on what the one before left (D1)."""
        history = History(four())
        history.slice(0, -1)
        history.replace("u2", user("u2", "edited"))
        history.append(assistant("a9"))
        assert ids(history) == ["u1", "a1", "u2", "a9"]


class TestTracking:
    def test_a_loaded_history_has_no_changes(self):
        """What the store holds already need not be written."""
        assert state(History(four())) == (4, [], [], 0)

    def test_an_unsaved_history_is_all_new(self):
        """Messages the store does not hold are all to be written."""
        assert state(History(four(), saved=False)) == (0, [], ["u1", "a1", "u2", "a2"], 0)

    def test_an_appended_message_is_added(self):
        """An appended message is written behind the kept ones, once it is saved no more."""
        history = History(four())
        history.append(user("u3"))
        assert state(history) == (4, [], ["u3"], 0)
        history.mark_saved()
        assert state(history) == (5, [], [], 0)

    def test_an_advanced_message_is_no_new_branch(self):
        """A message that went on in place is written in place."""
        history = History(four())
        answered = assistant("a1", call("output-available"))
        history.advance(answered)
        assert history.changes().advanced == [(1, answered)]
        assert state(history) == (4, [1], [], 0)
        history.mark_saved()
        assert state(history) == (4, [], [], 0)

    def test_advancing_an_added_message_is_part_of_adding_it(self):
        """A message that was never saved is written once, as it is now."""
        history = History(four())
        history.append(assistant("a3"))
        grown = assistant("a3", call("input-available"))
        history.advance(grown)
        assert state(history) == (4, [], ["a3"], 0)
        assert history.changes().added == [grown]

    def test_advancing_to_the_same_message_is_no_change(self):
        """The very same message needs no write."""
        messages = four()
        history = History(messages)
        history.advance(messages[3])
        assert state(history) == (4, [], [], 0)

    def test_dropping_the_end_moves_the_leaf_back(self):
        """After an undo nothing is written but where the branch ends now."""
        history = History(four())
        history.slice(0, -2)
        assert state(history) == (2, [], [], 2)

    def test_what_follows_a_rollback_is_a_new_branch(self):
        """Messages after a rollback are added behind what was kept."""
        history = History(four())
        history.rollback_to("u1")
        history.append(assistant("a9"))
        assert state(history) == (1, [], ["a9"], 3)

    def test_an_edit_starts_a_new_branch_at_its_place(self):
        """A replaced message and all behind it are written anew."""
        history = History(four())
        history.replace("u2", user("u2", "edited"))
        assert state(history) == (2, [], ["u2", "a2"], 2)

    def test_replacing_by_an_equal_message_is_no_change(self):
        """An edit that changes nothing starts no branch."""
        history = History(four())
        history.replace("u2", user("u2"))
        assert state(history) == (4, [], [], 0)

    def test_a_removed_message_starts_a_new_branch_at_its_place(self):
        """What stood behind a removed message is written anew."""
        history = History(four())
        history.remove("a1")
        assert state(history) == (1, [], ["u2", "a2"], 3)

    def test_keeping_the_end_is_a_new_branch_from_the_root(self):
        """When the first messages go, all that stay are written anew."""
        history = History(four())
        history.slice(-2)
        assert state(history) == (0, [], ["u2", "a2"], 4)

    def test_set_keeps_the_beginning_that_is_the_same(self):
        """Equal messages at the beginning are kept, the rest is written anew."""
        history = History(four())
        history.set([user("u1"), assistant("a1"), user("u9")])
        assert state(history) == (2, [], ["u9"], 2)

    def test_a_branch_forgets_what_advanced_behind_its_start(self):
        """What advanced in place and then left the branch is not written in place."""
        history = History(four())
        history.advance(assistant("a1", call("output-available")))
        history.advance(assistant("a2", call("output-available")))
        history.rollback_to("u2")
        assert state(history) == (3, [1], [], 1)

    def test_restore_undoes_everything_since_the_checkpoint(self):
        """A failed action leaves messages and tracking as they were before it (D20)."""
        history = History(four())
        history.append(user("u3"))
        history.advance(assistant("a1", call("output-available")))
        before, tracked = history.all(), state(history)
        checkpoint = history.checkpoint()
        history.rollback_to("u1")
        history.append(user("x"))
        history.set([])
        history.restore(checkpoint)
        assert history.all() == before
        assert state(history) == tracked

    def test_a_checkpoint_can_be_restored_more_than_once(self):
        """What happens after a restore does not reach into the checkpoint."""
        history = History(four())
        checkpoint = history.checkpoint()
        for _ in range(2):
            history.append(user("x"))
            history.advance(assistant("a1", call("output-available")))
            history.restore(checkpoint)
            assert state(history) == (4, [], [], 0)


class CountedMessage(dict):
    """A message that counts how often anyone looks into it."""

    reads = 0

    def __getitem__(self, key):
        CountedMessage.reads += 1
        return super().__getitem__(key)

    def get(self, key, default=None):
        CountedMessage.reads += 1
        return super().get(key, default)

    def __eq__(self, other):
        CountedMessage.reads += 1
        return super().__eq__(other)

    __hash__ = None


@pytest.mark.parametrize("length", [10, 10_000])
def test_a_turn_costs_the_same_however_long_the_history_is(length):
    """Appending, advancing, undoing and tracking look at as many messages in a long history as in a short one."""
    history = History([CountedMessage(user(f"m{index}")) for index in range(length)])
    CountedMessage.reads = 0
    history.append(CountedMessage(user("u")))
    history.append(CountedMessage(assistant("a")))
    history.advance(CountedMessage(assistant("a", call("input-available"))))
    history.changes()
    history.mark_saved()
    history.slice(0, -1)
    history.rollback_to("u")
    history.changes()
    assert CountedMessage.reads < 15


MESSAGE_IDS = st.sampled_from(["m0", "m1", "m2", "m3", "m4"])
MESSAGES = st.builds(user, MESSAGE_IDS, st.sampled_from(["a", "b"]))
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), MESSAGES),
        st.tuples(st.just("advance"), MESSAGES),
        st.tuples(st.just("slice"), st.integers(-4, 4), st.one_of(st.none(), st.integers(-4, 4))),
        st.tuples(st.just("rollback_to"), MESSAGE_IDS),
        st.tuples(st.just("replace"), MESSAGE_IDS, MESSAGES),
        st.tuples(st.just("remove"), MESSAGE_IDS),
        st.tuples(st.just("set"), st.lists(MESSAGES, max_size=4)),
        st.tuples(st.just("mark_saved")),
    ),
    max_size=12,
)


@given(st.lists(MESSAGES, max_size=4), COMMANDS)
def test_what_is_written_makes_the_store_hold_the_history(start, commands):
    """The saved messages with the changes applied are always the history."""
    history = History(start)
    saved = list(start)
    for name, *arguments in commands:
        try:
            getattr(history, name)(*arguments)
        except MessageNotFoundError:
            continue
        if name == "mark_saved":
            saved = history.all()
        changes = history.changes()
        written = saved[: changes.kept]
        for index, message in changes.advanced:
            written[index] = message
        assert written + changes.added == history.all()
        assert changes.kept + changes.dropped == len(saved)
