"""Cache breakpoints on messages and tools."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chatrt.errors import UsageError
from chatrt.prompt_cache import cache_control, cache_last_message, cache_last_tool
from chatrt.tools import Tool, tool

MARK = cache_control()


def message(role: str, *parts: dict[str, Any], **fields: Any) -> Any:
    return {"role": role, "content": list(parts), **fields}


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


class TestCacheControl:
    def test_plain(self) -> None:
        """The options are what the AI SDK calls `providerOptions`, for Anthropic."""
        assert cache_control() == {"anthropic": {"cacheControl": {"type": "ephemeral"}}}

    def test_how_long(self) -> None:
        """A longer life is asked for by its name."""
        assert cache_control("1h") == {"anthropic": {"cacheControl": {"type": "ephemeral", "ttl": "1h"}}}

    def test_no_such_time(self) -> None:
        """There are two lifetimes and no others."""
        with pytest.raises(UsageError, match="5m or 1h"):
            cache_control("2h")  # pyright: ignore[reportArgumentType]


class TestLastMessage:
    def test_it_is_marked(self) -> None:
        """The last message gets the mark, beside the options it has; the others stay as they are."""
        first, last = message("user", text("a")), message("assistant", text("b"), providerOptions={"x": {"y": 1}})
        assert cache_last_message([first, last]) == [first, {**last, "providerOptions": {"x": {"y": 1}, **MARK}}]

    def test_nothing_is_changed(self) -> None:
        """What was given stays as it was."""
        given = [message("user", text("a", providerOptions=MARK)) for _ in range(4)]
        before = copy.deepcopy(given)
        cache_last_message(given)
        assert given == before

    def test_no_messages(self) -> None:
        """Without messages there is nothing to mark."""
        assert cache_last_message([]) == []

    def test_rows_of_approvals_are_no_messages_of_the_model(self) -> None:
        """The mark stands on what the model reads: a row that only answers approvals is not sent to it."""
        answer = message("tool", {"type": "tool-approval-response", "approvalId": "a", "approved": True})
        marked = cache_last_message([message("user", text("a")), answer])
        assert marked == [message("user", text("a"), providerOptions=MARK), answer]

    def test_it_rolls(self) -> None:
        """Called for every prompt, it leaves the newest mark before the last message and takes off the others."""
        rows: list[Any] = []
        for number in range(6):
            rows = cache_last_message([*rows, message("user", text(str(number)))])
        assert [index for index, row in enumerate(rows) if "providerOptions" in row] == [4, 5]

    def test_marks_on_parts_count(self) -> None:
        """Of a message with several marks the one that reaches furthest stays."""
        older = message("user", text("a", providerOptions=MARK))
        newer = message("user", text("b", providerOptions=MARK), text("c", providerOptions=MARK), text("d"))
        rows = cache_last_message([older, newer, message("user", text("e", providerOptions=MARK))])
        assert rows == [
            message("user", text("a")),
            message("user", text("b"), text("c", providerOptions=MARK), text("d")),
            message("user", text("e"), providerOptions=MARK),
        ]

    def test_a_system_message_keeps_its_mark(self) -> None:
        """The system's mark is not one of the messages'."""
        system = {"role": "system", "content": "s", "providerOptions": MARK}
        rows: Any = [system, message("user", text("a"), providerOptions=MARK), message("user", text("b"))]
        assert [row.get("providerOptions") for row in cache_last_message(rows)] == [MARK, MARK, MARK]

    def test_other_options_of_anthropic_stay(self) -> None:
        """Taking a mark off touches nothing else."""
        signed = {"anthropic": {"signature": "S", "cacheControl": {"type": "ephemeral"}}}
        rows = [
            message("user", text("a", providerOptions=signed)),
            *[message("user", text("b"), providerOptions=MARK)] * 2,
        ]
        assert cache_last_message(rows)[0] == message(
            "user", text("a", providerOptions={"anthropic": {"signature": "S"}})
        )


def test_the_last_tool_is_marked():
    """All tools are cached by a mark on the last; the tool itself stays as it was declared."""

    @tool
    def first() -> int:
        """One."""
        return 1

    @tool(provider_options={"x": {"y": 1}})
    def last() -> int:
        """Two."""
        return 2

    marked: list[Tool] = cache_last_tool([first, last], ttl="1h")

    assert marked[0] is first
    assert marked[1].provider_options == {"x": {"y": 1}, **cache_control("1h")}
    assert marked[1].name == "last"
    assert last.provider_options == {"x": {"y": 1}}
    assert cache_last_tool([]) == []
