"""Messages and chunks are checked where they enter, and a refusal says where the mistake is."""

import copy

import pytest

from chatrt.errors import InvalidChunkError, InvalidMessageError, InvalidToolInputError
from chatrt.ui import (
    message_shapes,
    validate_chunk,
    validate_incoming_message,
    validate_ui_message,
    validate_ui_messages,
)


def user(*parts, **keys):
    return {"id": "u1", "role": "user", "parts": list(parts), **keys}


def assistant(*parts, **keys):
    return {"id": "a1", "role": "assistant", "parts": list(parts), **keys}


def call(state="input-available", **keys):
    return {"type": "tool-f", "toolCallId": "c1", "state": state, **keys}


def text(words="x", **keys):
    return {"type": "text", "text": words, **keys}


def citation(**keys):
    return {"source": {"type": "source", "sourceType": "url", "id": "s", "url": "u"}, **keys}


class TestPaths:
    @pytest.mark.parametrize(
        ("messages", "path"),
        [
            (None, ""),
            ([], ""),
            ([1], "/0"),
            ([user(text()), {"id": 1, "role": "user", "parts": []}], "/1/id"),
            ([user()], "/0/parts"),
            ([user(text(), {"type": "text"})], "/0/parts/1/text"),
            ([user({"type": "nope"})], "/0/parts/0/type"),
            ([user(7)], "/0/parts/0"),
            ([assistant(call("running"))], "/0/parts/0/state"),
            ([assistant(call("input-available", input=1, output=1))], "/0/parts/0/output"),
            ([assistant(call("output-error", errorText=1))], "/0/parts/0/errorText"),
            (
                [assistant(call("approval-requested", input=1, approval={"id": "1", "approved": True}))],
                "/0/parts/0/approval/approved",
            ),
            ([assistant(text(providerMetadata={"p": 1}))], "/0/parts/0/providerMetadata/p"),
            ([assistant(text(citations=[citation(startIndex=-1)]))], "/0/parts/0/citations/0/startIndex"),
            (
                [assistant(text(citations=[{"source": {"type": "source", "sourceType": "url", "id": 1, "url": "u"}}]))],
                "/0/parts/0/citations/0/source/id",
            ),
            (
                [assistant({"type": "steering-message", "id": "s", "parts": [text(), {"type": "file"}]})],
                "/0/parts/0/parts/1/mediaType",
            ),
            ([assistant({"type": "steering-message", "id": "s", "parts": [{}]})], "/0/parts/0/parts/0"),
        ],
    )
    def test_a_refused_message_names_the_place(self, messages, path):
        """The error's path points at the first wrong value."""
        with pytest.raises(InvalidMessageError) as raised:
            validate_ui_messages(messages)
        assert raised.value.path == path

    @pytest.mark.parametrize(
        ("chunk", "path"),
        [
            ([], ""),
            ({}, "/type"),
            ({"type": "nope"}, "/type"),
            ({"type": "text-delta", "id": "t"}, "/delta"),
            ({"type": "file", "url": "u", "mediaType": "m", "providerMetadata": {"p": 1}}, "/providerMetadata/p"),
            (
                {"type": "text-end", "id": "t", "citations": [citation(), citation(endIndex=0.5)]},
                "/citations/1/endIndex",
            ),
            ({"type": "steering-message", "id": "s", "parts": [{"type": "data"}]}, "/parts/0/type"),
            (
                {"type": "tool-input-start", "toolCallId": "c", "toolName": "f", "toolMetadata": {"x": {1}}},
                "/toolMetadata/x",
            ),
        ],
    )
    def test_a_refused_chunk_names_the_place(self, chunk, path):
        """The error's path points at the wrong value."""
        with pytest.raises(InvalidChunkError) as raised:
            validate_chunk(chunk)
        assert raised.value.path == path

    def test_a_refusal_does_not_repeat_the_value(self):
        """What was wrong may be large or private and is not in the text of the error."""
        with pytest.raises(InvalidMessageError) as raised:
            validate_ui_message(user({"type": "text", "text": {"secret": "hunter2"}}))
        assert "hunter2" not in str(raised.value)


class TestNumbers:
    @pytest.mark.parametrize("index", [0, 3, 3.0, 2**53 - 1])
    def test_whole_numbers_are_taken(self, index):
        """JSON knows only numbers: 3.0 is as whole as 3."""
        chunk = {"type": "text-end", "id": "t", "citations": [citation(startIndex=index)]}

        message = validate_ui_message(assistant(text(citations=[citation(startIndex=index)])))

        assert message["parts"][0]["citations"][0]["startIndex"] == index
        assert validate_chunk(chunk) is chunk

    @pytest.mark.parametrize("index", [-1, 0.5, 2**53, True, "1", None, float("nan"), float("inf")])
    def test_others_are_refused(self, index):
        """Negative, broken, too large numbers and other types are no index."""
        with pytest.raises(InvalidMessageError):
            validate_ui_message(assistant(text(citations=[citation(startIndex=index)])))
        with pytest.raises(InvalidChunkError):
            validate_chunk({"type": "text-end", "id": "t", "citations": [citation(startIndex=index)]})

    @pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}, {"x": [float("inf")]}])
    def test_metadata_is_json(self, value):
        """Provider metadata holds only what JSON can say."""
        with pytest.raises(InvalidMessageError):
            validate_ui_message(assistant(text(providerMetadata={"p": {"k": value}})))
        with pytest.raises(InvalidChunkError):
            validate_chunk({"type": "text-start", "id": "t", "providerMetadata": {"p": {"k": value}}})


class TestMessages:
    def test_a_checked_message_is_a_copy(self):
        """The message that came in is not changed, and what is returned can be kept."""
        message = user(text(foo=1), extra=1)
        before = copy.deepcopy(message)
        checked = validate_ui_message(message)
        assert message == before
        assert checked == user(text())
        assert checked["parts"] is not message["parts"]

    @pytest.mark.parametrize("metadata", [{"k": 1}, None, "x"])
    def test_metadata_may_be_anything(self, metadata):
        """Metadata is kept as it is; an absent key stays absent."""
        assert validate_ui_message(user(text(), metadata=metadata))["metadata"] == metadata
        assert "metadata" not in validate_ui_message(user(text()))

    def test_metadata_is_checked_when_asked_for(self):
        """A metadata schema sees every message and says what is kept."""
        checked = validate_ui_messages([user(text(), metadata=1)], metadata_schema=lambda value: {"n": value})
        assert checked[0]["metadata"] == {"n": 1}
        with pytest.raises(InvalidMessageError) as raised:
            validate_ui_messages([user(text())], metadata_schema=lambda value: value["n"])
        assert raised.value.path == "/0/metadata"

    def test_data_parts_are_checked_when_asked_for(self):
        """With data schemas each data part needs one, which says what is kept."""
        part = {"type": "data-temp", "data": "7"}
        checked = validate_ui_message(user(part), data_schemas={"temp": int})
        assert checked["parts"] == [{"type": "data-temp", "data": 7}]
        for schemas in ({}, {"temp": lambda value: int(value, 2)}):
            with pytest.raises(InvalidMessageError) as raised:
                validate_ui_message(user(part), data_schemas=schemas)
            assert raised.value.path == "/parts/0/data"


class TestTools:
    @staticmethod
    def number(value):
        if not isinstance(value, dict) or not isinstance(value.get("a"), int):
            raise InvalidToolInputError("f", "a is no number")
        return value

    def test_a_call_of_a_known_tool_has_a_good_input(self):
        """An open call with a bad input is refused, with a good one it stays as it is."""
        good = assistant(call(input={"a": 1}))
        assert validate_ui_message(good, tools={"f": self.number}) == good
        with pytest.raises(InvalidMessageError) as raised:
            validate_ui_message(assistant(call(input={"a": "x"})), tools={"f": self.number})
        assert raised.value.path == "/parts/0/input"

    def test_a_streaming_input_is_not_checked(self):
        """An input that is not whole yet may be anything."""
        message = assistant(call("input-streaming", input={}))
        assert validate_ui_message(message, tools={"f": self.number}) == message

    @pytest.mark.parametrize("keys", [{"input": {"a": "x"}}, {"input": None}])
    def test_a_failed_call_may_have_a_bad_input(self, keys):
        """A call that failed stays loadable, as a dynamic part that vouches for nothing."""
        message = assistant(call("output-error", errorText="e", **keys))
        part = validate_ui_message(message, tools={"f": self.number})["parts"][0]
        assert (part["type"], part["toolName"], part["dynamic"]) == ("dynamic-tool", "f", False)

    def test_a_failed_call_without_input_stays_static(self):
        """Without an input there is nothing to check."""
        message = assistant(call("output-error", errorText="e"))
        assert validate_ui_message(message, tools={"f": self.number}) == message

    def test_an_input_follows_from_what_the_schema_got(self):
        """With `inputSchemaInput` that value is checked, and the input must be what comes of it."""

        def doubled(value):
            return {"a": value["a"] * 2}

        def approved(value):
            return assistant(
                call(
                    "approval-responded",
                    input=value,
                    approval={"id": "1", "approved": True, "inputSchemaInput": {"a": 1}},
                )
            )

        assert validate_ui_message(approved({"a": 2}), tools={"f": doubled})
        with pytest.raises(InvalidMessageError):
            validate_ui_message(approved({"a": 3}), tools={"f": doubled})


class TestIncoming:
    def test_a_user_message_is_checked_wholly(self):
        """A user message comes back without unknown keys; a broken one is refused."""
        assert validate_incoming_message(user(text(foo=1))) == user(text())
        with pytest.raises(InvalidMessageError):
            validate_incoming_message(user({"type": "text"}))

    @pytest.mark.parametrize(
        "part",
        [
            call("output-available", output=None),
            call("output-error", errorText="no"),
            call("approval-responded", approval={"id": "1", "approved": False, "reason": "r"}),
            call("input-streaming", rawInput="{"),
            {**call("output-available", output=1), "type": "dynamic-tool", "toolName": "x"},
        ],
    )
    def test_an_answer_needs_only_its_own_keys(self, part):
        """Clients leave out inputs and texts; that is no mistake."""
        message = assistant(part, {"type": "text"}, {"type": "future", "x": 1})
        assert validate_incoming_message(message) == message

    @pytest.mark.parametrize(
        "part",
        [
            call("output-available"),
            call("output-error", errorText=1),
            call("approval-responded", approval={"id": "1"}),
            call("approval-responded", approval={"approved": True}),
            {"type": "tool-f", "toolCallId": 1, "state": "output-available", "output": 1},
            {"type": "dynamic-tool", "toolCallId": "c1", "state": "output-available", "output": 1},
            {"toolCallId": "c1"},
            None,
        ],
    )
    def test_a_broken_answer_is_refused(self, part):
        """An answer without its output, error text, decision or call id is refused at its part."""
        with pytest.raises(InvalidMessageError) as raised:
            validate_incoming_message(assistant(text(), part))
        assert raised.value.path.startswith("/parts/1")


def test_names_from_outside_are_not_remembered():
    """However many unknown types and states come in, nothing of them is kept."""
    shapes = message_shapes._adapter
    validate_ui_message(user({"type": "data-warm", "data": 1}))
    before = shapes.cache_info().currsize
    for index in range(50):
        validate_ui_message(user({"type": f"data-{index}", "data": 1}))
        for part in ({"type": f"kind-{index}"}, {"type": "tool-f", "toolCallId": "c", "state": f"state-{index}"}):
            with pytest.raises(InvalidMessageError):
                validate_ui_message(assistant(part))
    assert shapes.cache_info().currsize == before
