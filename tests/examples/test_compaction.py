"""The compaction example keeps its prompts small and its chats whole."""

from __future__ import annotations

from typing import Any

from chatrt.compaction import SUMMARY_HEADING
from chatrt.generate.summarize import INSTRUCTIONS
from chatrt.models.scripted import call, finish, text
from chatrt.testing import FunctionModel

REVIEW = "What was wrong or missing in your last answer? One line."


class Keeper:
    """Stands for the model of the example: it summarizes, reviews, and answers "answer 1", "answer 2", ..."""

    def __init__(self, *, tokens: int) -> None:
        self.tokens = tokens
        self.prompts: list[list[str]] = []

    def __call__(self, request: Any) -> Any:
        rows = [_text(row) for row in request.messages]
        if rows[-1] == INSTRUCTIONS:
            return f"{len(rows) - 1} rows, in short"
        if rows[-1] == REVIEW:
            return "Too short."
        self.prompts.append(rows)
        return call(text(f"answer {len(self.prompts)}"), finish(input_tokens=self.tokens))


def _text(row: Any) -> str:
    content = row["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


async def open_chat(load_example, chat_harness, tokens: int):
    keeper = Keeper(tokens=tokens)
    chat = await chat_harness(load_example("08_compaction").keeper, model=FunctionModel(keeper))
    return keeper, chat


async def test_the_review_is_read_with_the_next_question(load_example, chat_harness):
    """What was found in the idle time stands behind the question that comes next, and in no message."""
    keeper, chat = await open_chat(load_example, chat_harness, tokens=10)
    await chat.send("one")
    await chat.settle()

    await chat.send("two")

    assert keeper.prompts[-1] == ["one", "answer 1", "two", "A reviewer of your last answer says: Too short."]
    assert "reviewer" not in str(chat.messages)


async def test_a_large_chat_goes_on_with_a_summary(load_example, chat_harness, capsys):
    """Above the threshold the next prompt begins with the summary; people still see everything."""
    keeper, chat = await open_chat(load_example, chat_harness, tokens=100_001)
    await chat.send("one")
    await chat.settle()

    await chat.send("two")

    assert keeper.prompts[-1][:2] == [f"{SUMMARY_HEADING}\n\n2 rows, in short", "two"]
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "user", "assistant"]
    assert "a summary stands for 2 messages (outer)" in capsys.readouterr().out


async def test_the_chat_is_compacted_on_request(load_example, chat_harness):
    """The action compacts and says so; a worker that dies behind it takes nothing of it."""
    keeper, chat = await open_chat(load_example, chat_harness, tokens=10)
    await chat.send("one")
    said = await chat.act({"type": "compact"})
    await chat.crash()
    await chat.restart()

    await chat.send("two")

    assert said.text == "Compaction: compacted (asked)."
    assert keeper.prompts[-1][0].startswith(SUMMARY_HEADING)
    assert "one" not in keeper.prompts[-1]
