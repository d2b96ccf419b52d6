"""The history of a session: reading it, changing it, and knowing what changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.errors import MessageNotFoundError, UsageError
from chatrt.history import History, NewToolResult, ToolCallRef
from chatrt.ids import CountingIds
from chatrt.message_tree import Node


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


def line(messages):
    """The nodes of one branch, each named by `n-` and the id of its message."""
    names = [f"n-{message['id']}" for message in messages]
    return [Node(*one) for one in zip(names, [None, *names], messages, strict=False)]


def saved(messages=None):
    """A history that the store holds."""
    nodes = line(four() if messages is None else messages)
    return History.from_nodes(nodes, nodes[-1].node_id if nodes else None, ids=CountingIds())


def state(history):
    """What is to be written: `parent>id` for a new node and `=id` for one that went on, and the leaf if it moved."""
    changes = history.changes()
    names = {f"n-{name}": name for name in ("u1", "a1", "u2", "a2")} | {None: ""}
    names |= {node.node_id: node.message["id"] for node in changes.nodes}
    writes = [
        ("=" if node.node_id.startswith("n-") else f"{names[node.parent_id]}>") + node.message["id"]
        for node in changes.nodes
    ]
    return writes, names[changes.leaf_id] if changes.leaf_moved else None


NOTHING = ([], None)


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
        history = saved()
        for nameless in ({"id": "", "role": "user", "parts": []}, {"id": ["u1"], "role": "user", "parts": []}):
            for attempt in (
                lambda bad: History([bad]),
                history.append,
                history.advance,
                lambda bad: history.replace("u1", bad),
                lambda bad: history.set([bad]),
            ):
                with pytest.raises(UsageError):
                    attempt(nameless)
        assert state(history) == NOTHING


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
            lambda history: history.switch_to("nope"),
            lambda history: history.siblings("nope"),
        ],
    )
    def test_an_unknown_id_fails_visibly(self, attempt):
        """Naming a message that is not there raises and changes nothing (D4)."""
        history = saved()
        with pytest.raises(MessageNotFoundError) as raised:
            attempt(history)
        assert raised.value.message_id == "nope"
        assert ids(history) == ["u1", "a1", "u2", "a2"]
        assert state(history) == NOTHING

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
        history = saved()
        assert state(history) == NOTHING
        assert not history.changes()

    def test_a_history_of_messages_is_all_new(self):
        """Messages the store does not hold are all to be written, each behind the one before it."""
        assert state(History(four(), ids=CountingIds())) == ([">u1", "u1>a1", "a1>u2", "u2>a2"], "a2")

    def test_an_appended_message_is_added(self):
        """An appended message is written behind the last one, once it is saved no more."""
        history = saved()
        history.append(user("u3"))
        assert state(history) == (["a2>u3"], "u3")
        assert history.changes()
        history.mark_saved()
        assert state(history) == NOTHING

    def test_an_advanced_message_is_no_new_branch(self):
        """A message that went on in place is written in place."""
        history = saved()
        answered = assistant("a1", call("output-available"))
        history.advance(answered)
        assert history.changes().nodes == [Node("n-a1", "n-u1", answered)]
        assert state(history) == (["=a1"], None)
        assert history.changes()
        history.mark_saved()
        assert state(history) == NOTHING

    def test_advancing_an_added_message_is_part_of_adding_it(self):
        """A message that was never saved is written once, as it is now."""
        history = saved()
        history.append(assistant("a3"))
        grown = assistant("a3", call("input-available"))
        history.advance(grown)
        assert state(history) == (["a2>a3"], "a3")
        assert history.changes().nodes[0].message == grown

    def test_advancing_to_the_same_message_is_no_change(self):
        """The very same message needs no write."""
        history = saved()
        history.advance(history.last)
        assert state(history) == NOTHING

    def test_dropping_the_end_moves_the_leaf_back(self):
        """After an undo nothing is written but where the branch ends now."""
        history = saved()
        history.slice(0, -2)
        assert state(history) == ([], "a1")
        history.slice(0, 0)
        assert state(history) == ([], "")

    def test_what_follows_a_rollback_is_a_new_branch(self):
        """Messages after a rollback are added behind what was kept."""
        history = saved()
        history.rollback_to("u1")
        history.append(assistant("a9"))
        assert state(history) == (["u1>a9"], "a9")

    def test_an_edit_starts_a_new_branch_at_its_place(self):
        """A replaced message and all behind it are written anew."""
        history = saved()
        history.replace("u2", user("u2", "edited"))
        assert state(history) == (["a1>u2", "u2>a2"], "a2")

    def test_replacing_by_an_equal_message_is_no_change(self):
        """An edit that changes nothing starts no branch."""
        history = saved()
        history.replace("u2", user("u2"))
        assert state(history) == NOTHING

    def test_replacing_an_unsaved_message_leaves_no_trace(self):
        """A message that is edited before it was ever saved is written once, as it is now."""
        history = saved()
        history.append(user("u3"))
        history.append(assistant("a3"))
        history.replace("u3", user("u3", "edited"))
        assert state(history) == (["a2>u3", "u3>a3"], "a3")
        assert history.siblings("u3") == [user("u3", "edited")]

    def test_editing_every_message_costs_one_branch(self):
        """However many messages are edited in one go, each is written once."""
        history = saved()
        for message in history.all():
            history.replace(message["id"], {**message, "metadata": "seen"})
        assert state(history) == ([">u1", "u1>a1", "a1>u2", "u2>a2"], "a2")

    def test_a_removed_message_starts_a_new_branch_at_its_place(self):
        """What stood behind a removed message is written anew."""
        history = saved()
        history.remove("a1")
        assert state(history) == (["u1>u2", "u2>a2"], "a2")

    def test_removing_an_unsaved_message_leaves_no_trace(self):
        """What is removed before it was ever saved is never written."""
        history = saved()
        history.append(user("u3", "not fit to be stored"))
        history.append(assistant("a3"))
        history.remove("u3")
        assert state(history) == (["a2>a3"], "a3")
        assert history.siblings("a3") == [assistant("a3")]

    def test_keeping_the_end_is_a_new_branch_from_the_root(self):
        """When the first messages go, all that stay are written anew."""
        history = saved()
        history.slice(-2)
        assert state(history) == ([">u2", "u2>a2"], "a2")

    def test_set_keeps_the_beginning_that_is_the_same(self):
        """Equal messages at the beginning are kept, the rest is written anew."""
        history = saved()
        history.set([user("u1"), assistant("a1"), user("u9")])
        assert state(history) == (["a1>u9"], "u9")

    def test_set_again_and_again_writes_only_what_stands_in_the_end(self):
        """What was set and set again before it was ever saved is never written."""
        history = saved()
        for number in range(5):
            history.set([user("u1"), assistant("a9"), user(f"x{number}")])
        assert state(history) == (["u1>a9", "a9>x4"], "x4")

    def test_set_to_a_known_branch_follows_it(self):
        """Messages that another branch holds at the same place are not written again."""
        history = saved()
        others = [user("u1"), assistant("b1"), user("b2")]
        history.set(others)
        history.mark_saved()
        history.set(four())
        assert state(history) == ([], "a2")
        history.mark_saved()
        history.set([*others, assistant("b3")])
        assert [node.message["id"] for node in history.changes().nodes] == ["b3"]

    def test_what_advanced_is_written_also_on_a_branch_that_was_left(self):
        """A message that went on in place and then left the active branch stays what it became."""
        history = saved()
        history.advance(assistant("a2", call("output-available")))
        history.rollback_to("u2")
        assert state(history) == (["=a2"], "u2")

    def test_restore_undoes_everything_since_the_checkpoint(self):
        """A failed action leaves messages and tracking as they were before it (D20)."""
        history = saved()
        history.append(user("u3"))
        history.advance(assistant("a1", call("output-available")))
        before, tracked = history.all(), state(history)
        checkpoint = history.checkpoint()
        history.advance(assistant("a1", call("output-error")))
        history.replace("u3", user("u3", "edited"))
        history.rollback_to("u1")
        history.append(user("x"))
        history.set([])
        history.restore(checkpoint)
        assert history.all() == before
        assert state(history) == tracked

    def test_a_checkpoint_can_be_restored_more_than_once(self):
        """What happens after a restore does not reach into the checkpoint."""
        history = saved()
        checkpoint = history.checkpoint()
        for _ in range(2):
            history.append(user("x"))
            history.advance(assistant("a1", call("output-available")))
            history.restore(checkpoint)
            assert state(history) == NOTHING

    def test_nothing_goes_back_behind_a_save(self):
        """A checkpoint from before a save, or from after the one restored to, is refused."""
        history = saved()
        early = history.checkpoint()
        history.append(user("x"))
        late = history.checkpoint()
        history.restore(early)
        with pytest.raises(UsageError):
            history.restore(late)
        history.append(user("y"))
        history.mark_saved()
        with pytest.raises(UsageError):
            history.restore(early)
        assert ids(history)[-1] == "y"


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
    nodes = line([CountedMessage(user(f"m{index}")) for index in range(length)])
    history = History.from_nodes(nodes, nodes[-1].node_id)
    CountedMessage.reads = 0
    history.append(CountedMessage(user("u")))
    history.append(CountedMessage(assistant("a")))
    history.advance(CountedMessage(assistant("a", call("input-available"))))
    history.changes()
    history.mark_saved()
    history.slice(0, -1)
    history.rollback_to("u")
    checkpoint = history.checkpoint()
    history.append(CountedMessage(assistant("b")))
    history.restore(checkpoint)
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
        st.tuples(st.just("switch_to"), MESSAGE_IDS),
        st.tuples(st.just("mark_saved")),
        st.tuples(st.just("restore")),
    ),
    max_size=14,
)


class Rows:
    """A store's nodes and leaf, which takes only what the store contract allows."""

    def __init__(self):
        self.nodes = {}
        self.leaf = None

    def write(self, changes):
        for node in changes.nodes:
            assert node.parent_id is None or node.parent_id in self.nodes
            assert node.node_id not in self.nodes or self.nodes[node.node_id].parent_id == node.parent_id
            self.nodes[node.node_id] = node
        assert changes.leaf_id is None or changes.leaf_id in self.nodes
        assert changes.leaf_moved is (changes.leaf_id != self.leaf)
        self.leaf = changes.leaf_id

    def copy(self):
        copy = Rows()
        copy.nodes, copy.leaf = dict(self.nodes), self.leaf
        return copy

    def reloaded(self):
        return History.from_nodes(list(self.nodes.values()), self.leaf)


def all_siblings(history):
    """What stands at every place of the active branch, and how each is named."""
    return [history.siblings(message["id"]) for message in history.all()], history.branches()


@given(COMMANDS)
def test_what_is_written_makes_the_store_hold_the_history(commands):
    """The store with the changes applied always holds the history and its branches, whatever was done and undone."""
    history, rows = History(), Rows()
    checkpoint, before = history.checkpoint(), all_siblings(history)
    for name, *arguments in commands:
        try:
            if name == "restore":
                history.restore(checkpoint)
                assert all_siblings(history) == before
            elif name == "mark_saved":
                rows.write(history.changes())
                history.mark_saved()
                assert not history.changes()
                checkpoint, before = history.checkpoint(), all_siblings(history)
            else:
                getattr(history, name)(*arguments)
        except MessageNotFoundError:
            continue
        written = rows.copy()
        written.write(history.changes())
        reloaded = written.reloaded()
        assert reloaded.all() == history.all()
        assert all_siblings(reloaded) == all_siblings(history)
