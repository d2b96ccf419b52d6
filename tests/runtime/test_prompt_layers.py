"""Prompt layers: what stands in prompts beside the messages, where, and for how long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatrt.compaction import CompactionLayer
from chatrt.errors import UsageError
from chatrt.runtime.prompt_layers import (
    INJECTED_BYTES,
    INJECTED_LIMIT,
    KEPT_COMPACTIONS,
    InjectedRows,
    Place,
    PromptLayers,
    checked_rows,
)
from chatrt.ui import ModelRows


def row(text: str, role: str = "user") -> Any:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def message(message_id: str, *texts: str) -> Any:
    role = "user" if message_id.startswith("u") else "assistant"
    return {"id": message_id, "role": role, "parts": [{"type": "text", "text": text} for text in texts]}


def layer(message_id: str, part_index: int, summary: str = "sum") -> CompactionLayer:
    return CompactionLayer(summary=summary, messages=[row(summary)], message_id=message_id, part_index=part_index)


def shown(layers: PromptLayers, messages: list[Any]) -> list[str]:
    """The texts of a prompt in order; those of layers in brackets."""
    found = []
    for segment in layers.segments(messages):
        if isinstance(segment, ModelRows):
            found += [f"[{part['text']}]" for rows in segment.messages for part in rows["content"]]
        else:
            found += [part["text"] for part in segment["parts"]]
    return found


HISTORY = [message("u1", "q1"), message("a1", "r1", "r2"), message("u2", "q2"), message("a2", "r3")]


def test_without_layers_the_messages_stay():
    """A session without layers is shown as it is."""
    assert PromptLayers().segments(HISTORY) == HISTORY


def test_a_summary_stands_for_all_up_to_its_place():
    """What comes before the place gives way to the summary, inside of a message too."""
    assert shown(PromptLayers().with_compaction(layer("a1", 1)), HISTORY) == ["[sum]", "r2", "q2", "r3"]


def test_a_place_behind_a_message_leaves_nothing_of_it():
    """A summary up to the end of a message covers it wholly."""
    assert shown(PromptLayers().with_compaction(layer("a1", 2)), HISTORY) == ["[sum]", "q2", "r3"]


def test_the_newest_that_applies_holds():
    """Of several summaries the last one made is shown, alone."""
    layers = PromptLayers().with_compaction(layer("a1", 2, "old")).with_compaction(layer("a2", 1, "new"))
    assert shown(layers, HISTORY) == ["[new]"]


def test_a_branch_without_the_place_is_without_the_layer():
    """Where the message of the newest summary is gone the one before holds, and without any the messages stand."""
    layers = PromptLayers().with_compaction(layer("a1", 2, "old")).with_compaction(layer("a2", 1, "new"))
    assert shown(layers, HISTORY[:3]) == ["[old]", "q2"]
    assert shown(layers, HISTORY[:1]) == ["q1"]


def test_a_place_that_a_message_no_longer_has_does_not_apply():
    """A summary of more parts than a message has is not of this message."""
    assert shown(PromptLayers().with_compaction(layer("a1", 3)), HISTORY) == ["q1", "r1", "r2", "q2", "r3"]


def test_background_messages_stand_at_their_place():
    """Rows stand behind the parts they came behind, in the order of their places."""
    layers = PromptLayers(
        injected=(
            InjectedRows(Place("a1", 2), [row("third")]),
            InjectedRows(Place("a1", 1), [row("second")]),
            InjectedRows(Place.behind(HISTORY[0]), [row("first")]),
        )
    )
    assert shown(layers, HISTORY) == ["q1", "[first]", "r1", "[second]", "r2", "[third]", "q2", "r3"]


def test_summaries_cover_background_messages():
    """What stands before the place of a summary is part of it; what stands at it came after."""
    layers = PromptLayers(
        injected=(InjectedRows(Place.behind(HISTORY[0]), [row("old")]), InjectedRows(Place("a1", 1), [row("new")]))
    ).with_compaction(layer("a1", 1))
    assert shown(layers, HISTORY) == ["[sum]", "[new]", "r2", "q2", "r3"]


def test_an_edited_question_is_another_place():
    """A user message whose text was changed under its id has lost what stood behind the old one (D22)."""
    layers = PromptLayers(injected=(InjectedRows(Place.behind(HISTORY[0]), [row("old")]),))
    assert shown(layers, [message("u1", "q1, edited")]) == ["q1, edited"]


def test_waiting_messages_get_one_place():
    """What waits is placed together, and waits no more."""
    layers = PromptLayers().with_waiting([row("a")]).with_waiting([row("b")])
    placed = layers.with_waiting_placed(Place.behind(HISTORY[0]))
    assert shown(layers, HISTORY[:1]) == ["q1"]
    assert shown(placed, HISTORY[:1]) == ["q1", "[a]", "[b]"]
    assert placed.waiting == ()


def test_what_left_the_branch_or_is_covered_is_pruned():
    """Background messages go when no prompt of this history shows them; summaries are kept for the way back."""
    layers = PromptLayers(
        injected=(
            InjectedRows(Place("gone", 1), [row("lost")]),
            InjectedRows(Place.behind(HISTORY[0]), [row("covered")]),
            InjectedRows(Place.behind(HISTORY[2]), [row("kept")]),
        )
    ).with_compaction(layer("a1", 2))

    pruned = layers.pruned(HISTORY)

    assert [item.messages for item in pruned.injected] == [[row("kept")]]
    assert pruned.compactions == layers.compactions
    assert pruned.pruned(HISTORY) is pruned


def test_compactions_are_bounded():
    """Only the last few summaries are remembered."""
    layers = PromptLayers()
    for number in range(KEPT_COMPACTIONS + 3):
        layers = layers.with_compaction(layer("a1", 1, str(number)))
    assert [made.summary for made in layers.compactions] == [str(number) for number in range(3, KEPT_COMPACTIONS + 3)]


def test_background_messages_are_bounded_in_number():
    """The oldest go first, those that were shown before those that wait."""
    layers = PromptLayers().with_waiting([row("first")]).with_waiting_placed(Place.behind(HISTORY[0]))
    layers = layers.with_waiting([row(str(number)) for number in range(INJECTED_LIMIT + 1)])
    assert layers.injected == ()
    assert layers.waiting[0] == row("1")
    assert len(layers.waiting) == INJECTED_LIMIT


def test_background_messages_are_bounded_in_size():
    """All together they stay within what a commit can carry each time."""
    third = "x" * (INJECTED_BYTES // 3)
    layers = PromptLayers()
    for _ in range(5):
        layers = layers.with_waiting([row(third)])
    assert len(layers.waiting) == 2


def test_rows_in_a_prompt_are_copies():
    """What a hook does to a prompt never comes back in the next one."""
    layers = PromptLayers().with_compaction(layer("a1", 1))
    segment = layers.segments(HISTORY)[0]
    segment.messages[0]["content"][0]["text"] = "spoilt"
    assert shown(layers, HISTORY)[0] == "[sum]"


def test_layers_survive_being_stored():
    """What is read back shows the same prompts."""
    layers = (
        PromptLayers()
        .with_waiting([row("a")])
        .with_waiting_placed(Place.behind(HISTORY[2]))
        .with_waiting([row("b")])
        .with_compaction(layer("a1", 1))
    )
    assert PromptLayers.from_json(json.loads(json.dumps(layers.to_json()))) == layers
    assert PromptLayers.from_json({}) == PromptLayers()
    assert PromptLayers().to_json() == {}


@pytest.mark.parametrize(
    "given",
    [
        "a text",
        {"role": "user", "content": "not a list"},
        [{"id": "u1", "role": "user", "parts": []}],
        [{"role": "user"}],
        [{"role": "robot", "content": "x"}],
        [{"role": "system", "content": [{"type": "text", "text": "x"}]}],
        [{"role": "tool", "content": "x"}],
        [{"role": "user", "content": ["x"]}],
        [{"role": "user", "content": [{"type": "text", "text": object()}]}],
        [{"role": "user", "content": "x" * INJECTED_BYTES}],
        None,
    ],
)
def test_only_model_messages_are_taken(given: Any):
    """UI messages, other shapes, what is not JSON and what is too large are refused."""
    with pytest.raises(UsageError):
        checked_rows(given)


def test_rows_are_taken_as_they_are_now():
    """What the application does to its messages later changes nothing."""
    given = [row("a"), {"role": "system", "content": "b"}, {"role": "assistant", "content": "c"}]
    taken = checked_rows(given)
    assert taken == given
    given[0]["content"][0]["text"] = "changed"
    assert taken[0] == row("a")


def test_half_characters_are_mended():
    """A text with half a surrogate pair can be stored."""
    assert checked_rows([row("a\ud83d")]) == [row("a\ufffd")]
