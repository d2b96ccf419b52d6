"""Chunks of litellm, odd ones too, as model parts."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from chatrt.ids import CountingIds
from chatrt.models.litellm_chunks import ChunkAssembler, read_usage
from chatrt.models.text_mender import TextMender
from tests.models.provider.calls import calls_of, of, text_of


def delta(**fields: Any) -> Any:
    return SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(**fields), finish_reason=None)])


def piece(
    arguments: Any = None, *, index: Any = 0, call_id: str | None = None, name: str | None = None, **fields: Any
) -> Any:
    function = SimpleNamespace(name=name, arguments=arguments)
    return delta(tool_calls=[SimpleNamespace(index=index, id=call_id, function=function, **fields)])


def assemble(*chunks: Any, raw: str | None = "stop", **options: Any) -> list[Any]:
    assembler = ChunkAssembler(ids=CountingIds(), **options)
    parts = [part for chunk in chunks for part in assembler.feed(chunk)]
    return [part for part in parts + assembler.finish(raw=raw, usage=None) if part["type"] != "response-metadata"]


class TestToolCalls:
    def test_no_ids_at_all(self) -> None:
        """Calls without ids get some, and a second whole call of the same index is one of its own."""
        parts = assemble(piece('{"a":1}', name="f"), piece('{"a":2}', name="f"), piece("{}", name="g"))
        assert calls_of(parts) == [("call_1", "f", '{"a":1}'), ("call_2", "f", '{"a":2}'), ("call_3", "g", "{}")]

    def test_id_after_the_call_began(self) -> None:
        """An id that comes late belongs to the call of its index, which keeps the id it got first."""
        parts = assemble(piece("", name="f"), piece('{"a"', call_id="c1"), piece(":1}", call_id="c1"))
        assert calls_of(parts) == [("call_1", "f", '{"a":1}')]

    def test_id_and_name_on_every_delta(self) -> None:
        """A call whose every delta repeats id and name is one call."""
        parts = assemble(*[piece(text, call_id="c1", name="f") for text in ('{"a"', ":", "1}", "")])
        assert calls_of(parts) == [("c1", "f", '{"a":1}')]

    def test_two_calls_with_one_id(self) -> None:
        """A second call that repeats the id of the first gets another."""
        parts = assemble(piece('{"a":1}', call_id="c1", name="f"), piece('{"a":2}', index=1, call_id="c1", name="f"))
        assert calls_of(parts) == [("c1", "f", '{"a":1}'), ("call_1", "f", '{"a":2}')]

    def test_id_of_an_older_turn(self) -> None:
        """A call that repeats the id of one in the prompt gets another."""
        parts = assemble(piece("{}", call_id="c1", name="f"), taken_ids={"c1"})
        assert calls_of(parts) == [("call_1", "f", "{}")]

    def test_no_index(self) -> None:
        """Deltas without index and id continue the last call."""
        parts = assemble(piece('{"a"', index=None, call_id="c1", name="f"), piece(":1}", index=None))
        assert calls_of(parts) == [("c1", "f", '{"a":1}')]

    def test_delta_of_nobody(self) -> None:
        """Arguments that no call precedes make a call without a name, which the tool loop will refuse."""
        assert calls_of(assemble(piece('{"a":1}'))) == [("call_1", "", '{"a":1}')]

    def test_name_after_the_arguments(self) -> None:
        """Nothing of a call goes out before its name is known."""
        parts = assemble(piece('{"a"', call_id="c1"), piece(":1}", name="f"))
        assert [part["type"] for part in parts[:3]] == ["tool-input-start", "tool-input-delta", "tool-input-delta"]

    def test_arguments_that_are_an_object(self) -> None:
        """Arguments that a provider sends as an object are written as JSON."""
        assert calls_of(assemble(piece({"a": 1}, call_id="c1", name="f"))) == [("c1", "f", '{"a": 1}')]

    def test_complete_call_goes_out_when_the_next_opens(self) -> None:
        """A finished call need not wait for the others, and calls keep their order."""
        parts = assemble(piece("{}", call_id="c1", name="f"), piece("", index=1, call_id="c2", name="g"))
        kinds = [part["type"] for part in parts]
        assert kinds.index("tool-call") < kinds.index("tool-input-start", 1)

    def test_deep_arguments_do_not_crash(self) -> None:
        """Arguments nested beyond what a parser takes go through raw."""
        deep = '{"a":' * 100_000 + "1" + "}" * 100_000
        parts = assemble(piece(deep, call_id="c1", name="f"), piece("{}", index=1, call_id="c2", name="g"))
        assert calls_of(parts)[0] == ("c1", "f", deep)

    def test_tools_that_the_provider_runs_are_left_out(self) -> None:
        """Calls of Anthropic's own tools are nobody's to answer."""
        parts = assemble(piece("{}", call_id="srvtoolu_1", name="web_search"), delta(content="x"))
        assert (calls_of(parts), parts[-1]["finishReason"]["unified"]) == ([], "stop")

    def test_signature_of_gemini(self) -> None:
        """A signature on a call, or hung on its id by litellm, is kept beside the call and the id stays short."""
        on_call = piece("{}", call_id="c1", name="f", provider_specific_fields={"thought_signature": "S1"})
        on_id = piece("{}", index=1, call_id="c2__thought__S2", name="f")
        calls = of(assemble(on_call, on_id), "tool-call")
        assert [(part["toolCallId"], part["providerMetadata"]) for part in calls] == [
            ("c1", {"google": {"thoughtSignature": "S1"}}),
            ("c2", {"google": {"thoughtSignature": "S2"}}),
        ]

    @pytest.mark.parametrize("seed", range(20))
    def test_any_interleaving_by_index(self, seed: int) -> None:
        """However the deltas of calls are cut and mixed, each call comes out whole and in order."""
        rng = random.Random(seed)
        inputs = [json.dumps({"n": n, "text": "x" * rng.randrange(20)}) for n in range(rng.randrange(1, 5))]
        begun = [piece("", index=n, call_id=f"c{n}", name="f") for n in range(len(inputs))]
        queues = [list(text) for text in inputs]
        mixed: list[Any] = []
        while any(queues):
            n = rng.choice([n for n, queue in enumerate(queues) if queue])
            mixed.append(piece(queues[n].pop(0), index=n))
        assert [text for _, _, text in calls_of(assemble(*begun, *mixed))] == inputs


class TestBlocks:
    def test_kinds_alternate(self) -> None:
        """Each change between reasoning, text and calls ends a block, and no id is used twice."""
        parts = assemble(
            delta(reasoning_content="r"), delta(content="t"), piece("{}", call_id="c", name="f"), delta(content="u")
        )
        started = [(part["type"], part["id"]) for part in parts if part["type"].endswith("start")]
        assert started == [
            ("reasoning-start", "reasoning-0"),
            ("text-start", "text-1"),
            ("tool-input-start", "c"),
            ("text-start", "text-2"),
        ]
        assert len(of(parts, "text-end")) == 2

    def test_thinking_is_not_taken_twice(self) -> None:
        """Where a delta has the same thought in several fields it is told once."""
        block = {"type": "thinking", "thinking": "hm"}
        fields = {"thinking_blocks": [block]}
        parts = assemble(delta(reasoning_content="hm", provider_specific_fields=fields, **fields), family="anthropic")
        assert text_of(parts, "reasoning") == "hm"

    def test_signature_in_the_same_delta_as_the_text(self) -> None:
        """A whole block in one delta keeps its signature."""
        block = {"type": "thinking", "thinking": "hm", "signature": "S"}
        parts = assemble(delta(thinking_blocks=[block]), family="anthropic")
        assert parts[2] == {
            "type": "reasoning-end",
            "id": "reasoning-0",
            "providerMetadata": {"anthropic": {"signature": "S"}},
        }

    def test_picture(self) -> None:
        """An image that a model made is a file part."""
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        (part,) = of(assemble(delta(images=[image])), "file")
        assert part == {"type": "file", "mediaType": "image/png", "data": "AAAA"}

    def test_no_reason_known(self) -> None:
        """Without a reason the raw one is absent."""
        assert assemble(delta(content="x"), raw=None)[-1]["finishReason"] == {"unified": "other"}


class TestUsage:
    def test_unknown_usage_is_absent(self) -> None:
        """No usage makes no numbers."""
        assert read_usage(None) == {"inputTokens": {}, "outputTokens": {}}

    def test_impossible_numbers_are_absent(self) -> None:
        """A negative count is no count."""
        assert read_usage(SimpleNamespace(prompt_tokens=-1, completion_tokens=2)) == {
            "inputTokens": {},
            "outputTokens": {"total": 2},
        }


class TestMender:
    def test_plain_text_passes(self) -> None:
        """Text without trouble comes out as the same object."""
        value = "grüße 👋"
        assert TextMender().mend(value) is value

    def test_pair_in_one_text_is_joined(self) -> None:
        """Two halves side by side are one letter."""
        assert TextMender().mend("a\ud83d\ude00") == "a😀"

    def test_lonely_halves_are_replaced(self) -> None:
        """Halves without the other half, and NUL, become replacement characters."""
        mender = TextMender()
        assert mender.mend("\ude00x\x00\ud83d") + mender.mend("y") + mender.rest() == "\ufffdx\ufffd\ufffdy"

    def test_half_at_the_very_end(self) -> None:
        """What was held back for a half that never came is given at the end."""
        mender = TextMender()
        assert (mender.mend("x\ud83d"), mender.rest(), mender.rest()) == ("x", "\ufffd", "")

    def test_half_at_the_end_of_a_block(self) -> None:
        """A block closes with everything that was held."""
        assert text_of(assemble(delta(content="x\ud83d"))) == "x\ufffd"
