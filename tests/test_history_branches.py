"""The branches of a history: what stands beside a message, and switching to it."""

import pytest

from chatrt.errors import MessageNotFoundError, UsageError
from chatrt.history import History
from chatrt.ids import CountingIds
from chatrt.message_tree import Node


def user(message_id, text="hi"):
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(message_id):
    return {"id": message_id, "role": "assistant", "parts": []}


def ids(messages):
    return [message["id"] for message in messages]


class Stored:
    """A history and the rows of its store."""

    def __init__(self):
        self.ids = CountingIds()
        self.history = History(ids=self.ids)
        self.rows = {}
        self.writes = 0

    def save(self):
        changes = self.history.changes()
        self.writes += len(changes.nodes)
        self.rows |= {node.node_id: node for node in changes.nodes}
        self.leaf_id = changes.leaf_id
        self.history.mark_saved()

    def reload(self):
        self.history = History.from_nodes(list(self.rows.values()), self.leaf_id, ids=self.ids)


@pytest.fixture
def stored():
    """u1 with the answers a1, a2 and a3; a1 went on with u2, b1; a3 is active."""
    stored = Stored()
    for message in (user("u1"), assistant("a1"), user("u2"), assistant("b1")):
        stored.history.append(message)
    stored.save()
    for name in ("a2", "a3"):
        stored.history.rollback_to("u1")
        stored.history.append(assistant(name))
        stored.save()
    return stored


@pytest.fixture(params=["same run", "later run"])
def history(stored, request):
    """The history of `stored`, as the run that made it has it and as a later run finds it."""
    if request.param == "later run":
        stored.reload()
    return stored.history


class TestSiblings:
    def test_siblings_come_in_order_of_creation(self, history):
        """The alternatives at a place come in the order they were made, the message itself included."""
        assert ids(history.siblings("a3")) == ["a1", "a2", "a3"]

    def test_a_message_alone_is_its_only_sibling(self, history):
        """Where there is no alternative the message stands alone."""
        assert history.siblings("u1") == [user("u1")]

    def test_a_message_of_another_branch_has_siblings_too(self, history):
        """Asking needs no switch: a message of any branch will do."""
        assert ids(history.siblings("a1")) == ["a1", "a2", "a3"]
        assert ids(history.siblings("u2")) == ["u2"]

    def test_first_messages_are_siblings(self, history):
        """What begins the conversation has alternatives as well."""
        history.slice(0, 0)
        history.append(user("v1"))
        assert ids(history.siblings("v1")) == ["u1", "v1"]

    def test_what_was_left_in_this_turn_is_a_sibling(self, history):
        """An alternative that is not saved yet is one already."""
        history.rollback_to("u1")
        history.append(assistant("a4"))
        history.rollback_to("u1")
        history.append(assistant("a5"))
        assert ids(history.siblings("a5")) == ["a1", "a2", "a3", "a4", "a5"]

    def test_a_message_that_went_on_is_no_alternative(self, history):
        """What became of a message in place stands where it stood, alone."""
        history.advance({**assistant("a3"), "metadata": "more"})
        assert history.siblings("a2")[2] == {**assistant("a3"), "metadata": "more"}
        assert len(history.siblings("a3")) == 3

    def test_an_equal_message_is_no_alternative(self, history):
        """A message that is said again at the same place, word for word, is the one that stands there."""
        history.slice(0, 0)
        history.append(user("u1"))
        assert history.siblings("u1") == [user("u1")]
        assert history.changes().nodes == []


class TestSwitching:
    def test_a_switch_goes_down_to_the_newest_leaf(self, history):
        """The branch that holds the message becomes active, with what was said last on it."""
        history.switch_to("a1")
        assert ids(history.all()) == ["u1", "a1", "u2", "b1"]

    def test_of_several_leaves_the_one_made_last_is_taken(self, history):
        """Below a message with branches of its own the newest of them is followed, wherever one was before."""
        history.switch_to("u2")
        history.rollback_to("u2")
        history.append(assistant("b2"))
        history.switch_to("b1")
        history.switch_to("a3")
        history.switch_to("a1")
        assert ids(history.all()) == ["u1", "a1", "u2", "b2"]

    def test_what_was_undone_can_be_found_again(self, history):
        """A message that an undo took back is a switch away."""
        history.slice(0, 0)
        history.switch_to("u2")
        assert ids(history.all()) == ["u1", "a1", "u2", "b1"]

    def test_a_switch_moves_nothing_but_the_leaf(self, stored, history):
        """Going back and forth any number of times, saved or not, writes no node."""
        writes = stored.writes
        for _ in range(3):
            for name in ("a1", "a2", "a3", "u2"):
                history.switch_to(name)
                assert history.changes().nodes == []
            stored.history = history
            stored.save()
        assert stored.writes == writes
        assert stored.leaf_id == next(node_id for node_id, node in stored.rows.items() if node.message["id"] == "b1")

    def test_a_switch_to_where_one_is_changes_nothing(self, history):
        """Switching to the end of the active branch needs no commit."""
        history.switch_to("a3")
        assert not history.changes()

    def test_what_was_not_saved_stays(self, history):
        """A switch leaves unsaved messages on their branch; they are written with the next commit."""
        history.append(user("u9"))
        history.switch_to("a1")
        assert [node.message["id"] for node in history.changes().nodes] == ["u9"]
        history.switch_to("u9")
        assert ids(history.all()) == ["u1", "a3", "u9"]

    def test_an_unknown_message_changes_nothing(self, history):
        """A message that no branch holds cannot be switched to."""
        with pytest.raises(MessageNotFoundError) as raised:
            history.switch_to("a9")
        assert raised.value.message_id == "a9"
        assert ids(history.all()) == ["u1", "a3"]

    def test_a_restore_takes_switches_and_branches_back(self, history):
        """After an action that failed the active branch and all siblings are as they were (D20)."""
        checkpoint = history.checkpoint()
        history.switch_to("a1")
        history.rollback_to("a1")
        history.append(user("u3"))
        history.switch_to("a2")
        history.restore(checkpoint)
        assert ids(history.all()) == ["u1", "a3"]
        assert ids(history.siblings("u2")) == ["u2"]
        assert not history.changes()
        with pytest.raises(MessageNotFoundError):
            history.switch_to("u3")

    def test_the_conversation_goes_on_where_one_switched_to(self, history):
        """What is appended after a switch stands behind its leaf."""
        history.switch_to("a1")
        history.append(user("u3"))
        assert ids(history.all()) == ["u1", "a1", "u2", "b1", "u3"]
        assert ids(history.siblings("u3")) == ["u3"]


class TestNames:
    def test_places_with_alternatives_are_told(self, history):
        """`branches` names the siblings of each message of the active branch that has any."""
        assert history.branches() == {"a3": ["a1", "a2", "a3"]}
        history.switch_to("b1")
        assert history.branches() == {"a1": ["a1", "a2", "a3"]}

    def test_a_history_of_one_branch_has_none(self):
        """Without alternatives there is nothing to tell."""
        assert History([user("u1"), assistant("a1")]).branches() == {}

    def test_messages_of_one_id_are_told_apart(self, history):
        """An edit keeps its id: the version that is active goes by it, the others by their nodes."""
        history.replace("u1", user("u1", "edited"))
        [first, second] = history.branches()["u1"]
        assert second == "u1"
        assert history.siblings("u1") == history.siblings(first) == [user("u1"), user("u1", "edited")]

        history.switch_to(first)

        assert history.all()[0] == user("u1")
        [third, fourth] = history.branches()["u1"]
        assert third == "u1"
        history.switch_to(fourth)
        assert history.all()[0] == user("u1", "edited")

    def test_every_name_leads_to_its_message(self, history):
        """Each name that is given is understood, also where another branch holds copies of a message."""
        history.remove("a3")
        history.append(assistant("a1"))
        history.switch_to("u2")
        history.replace("u1", user("u1", "edited"))
        for message_id, names in history.branches().items():
            for name, sibling in zip(names, history.siblings(message_id), strict=True):
                checkpoint = history.checkpoint()
                history.switch_to(name)
                assert sibling in history.all()
                history.restore(checkpoint)


def test_nodes_that_do_not_belong_together_are_refused():
    """A parent or a leaf that is not among the nodes is a mistake of the caller, not an empty history."""
    first = Node("n1", None, user("u1"))
    for nodes, leaf_id in (([Node("n2", "n1", user("u2")), first], "n2"), ([first], "n9")):
        with pytest.raises(UsageError):
            History.from_nodes(nodes, leaf_id)


class CountedMessage(dict):
    """A message that counts how often anyone looks into it."""

    reads = 0

    def __getitem__(self, key):
        CountedMessage.reads += 1
        return super().__getitem__(key)

    def __eq__(self, other):
        CountedMessage.reads += 1
        return super().__eq__(other)

    __hash__ = None


@pytest.mark.parametrize("length", [10, 2_000])
def test_going_to_a_near_branch_is_cheap_in_a_long_history(length):
    """To switch at the end of a history looks at no message but those whose id is asked for."""
    messages = [CountedMessage(user(f"m{index}")) for index in range(length)]
    nodes = [Node(f"n{index}", f"n{index - 1}" if index else None, one) for index, one in enumerate(messages)]
    history = History.from_nodes(nodes, nodes[-1].node_id)
    history.rollback_to(f"m{length - 2}")
    history.append(CountedMessage(assistant("a")))
    history.mark_saved()
    history.switch_to(f"m{length - 1}")
    CountedMessage.reads = 0
    history.switch_to(f"m{length - 1}")
    history.siblings(f"m{length - 1}")
    history.changes()
    assert CountedMessage.reads < 5
