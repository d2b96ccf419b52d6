"""Model messages as chat-completions rows."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from chatrt.models.base import ToolSpec
from chatrt.models.litellm_messages import provider_family, to_litellm, tool_definitions

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors" / "convert_to_model_messages.jsonl"
EPHEMERAL = {"type": "ephemeral"}
CACHED = {"anthropic": {"cacheControl": EPHEMERAL}}


def user(*parts: Any) -> Any:
    return to_litellm([{"role": "user", "content": list(parts)}])


def assistant(*parts: Any, provider: str | None = None) -> Any:
    return to_litellm([{"role": "assistant", "content": list(parts)}], provider=provider)


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def file(media_type: str, data: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "file", "mediaType": media_type, "data": data, **fields}


def url(value: str) -> dict[str, Any]:
    return {"type": "url", "url": value}


def call(value: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": value, **fields}


def result(output: Any, **fields: Any) -> Any:
    part = {"type": "tool-result", "toolCallId": "c1", "toolName": "f", "output": output, **fields}
    return to_litellm([{"role": "tool", "content": [part]}])


def reasoning(value: str, **options: Any) -> dict[str, Any]:
    return {"type": "reasoning", "text": value, "providerOptions": options}


class TestSystemAndUser:
    def test_system(self) -> None:
        """A system message is its text."""
        assert to_litellm([{"role": "system", "content": "be nice"}]) == [{"role": "system", "content": "be nice"}]

    def test_plain_user_text(self) -> None:
        """One text is sent as a text, not as a list."""
        assert user(text("hi")) == [{"role": "user", "content": "hi"}]

    def test_user_content_may_be_a_text(self) -> None:
        """Content that is a string already stays one."""
        assert to_litellm([{"role": "user", "content": "hi"}]) == [{"role": "user", "content": "hi"}]

    def test_empty_user_message_is_left_out(self) -> None:
        """A message in which nothing is left to read makes no row, which providers would refuse."""
        assert user() == []

    @pytest.mark.parametrize("where", ["data:image/png;base64,AAAA", "https://e.com/a.png"])
    def test_image(self, where: str) -> None:
        """Images go as urls, data urls included."""
        (row,) = user(text("see"), file("image/png", url(where)))
        assert row["content"] == [text("see"), {"type": "image_url", "image_url": {"url": where}}]

    def test_image_detail_of_openai(self) -> None:
        """OpenAI's detail of an image is passed on."""
        options = {"openai": {"imageDetail": "low"}}
        (row,) = user(file("image/png", url("https://e.com/a.png"), providerOptions=options))
        assert row["content"][0]["image_url"] == {"url": "https://e.com/a.png", "detail": "low"}

    def test_pdf(self) -> None:
        """Other files go as data with their name and type."""
        data = "data:application/pdf;base64,AAAA"
        (row,) = user(file("application/pdf", url(data), filename="a.pdf"))
        expected = {"file_data": data, "filename": "a.pdf", "format": "application/pdf"}
        assert row["content"] == [{"type": "file", "file": expected}]

    @pytest.mark.parametrize("data", ["AAAA", b"\x00\x00\x00"])
    def test_bare_data_become_a_data_url(self, data: Any) -> None:
        """Base64 text and bytes get the data url that litellm reads."""
        (row,) = user(file("application/pdf", data))
        assert row["content"][0]["file"]["file_data"] == "data:application/pdf;base64,AAAA"

    def test_file_of_a_provider(self) -> None:
        """A reference goes as the id that the called provider knows."""
        data = {"type": "reference", "reference": {"openai": "o-1", "anthropic": "a-1"}}
        message: Any = {"role": "user", "content": [file("application/pdf", data)]}
        (row,) = to_litellm([message], provider="anthropic")
        assert row["content"][0]["file"]["file_id"] == "a-1"

    def test_audio(self) -> None:
        """Spoken input goes as audio."""
        (row,) = user(file("audio/wav", url("data:audio/wav;base64,AAAA")))
        assert row["content"] == [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]


class TestAssistant:
    def test_texts_are_joined(self) -> None:
        """The texts of an assistant message are one content."""
        assert assistant(text("a"), text("b")) == [{"role": "assistant", "content": "ab"}]

    def test_calls(self) -> None:
        """Calls carry their input as JSON, with no content where there is no text."""
        function = {"name": "f", "arguments": '{"a":"ü"}'}
        assert assistant(call({"a": "ü"})) == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": function}],
            }
        ]

    @pytest.mark.parametrize(
        ("value", "arguments"),
        [
            (None, {}),
            ("", {}),
            ('{"a": 1}', {"a": 1}),
            ('{"a": oops', {"rawInput": '{"a": oops'}),
            ([1], {"rawInput": [1]}),
        ],
    )
    def test_arguments_are_always_an_object(self, value: Any, arguments: Any) -> None:
        """What the model wrote in place of an object is shown to it inside of one: providers take nothing else."""
        (row,) = assistant(call(value))
        assert json.loads(row["tool_calls"][0]["function"]["arguments"]) == arguments

    def test_approval_parts_are_dropped(self) -> None:
        """Approvals are no model's business."""
        request = {"type": "tool-approval-request", "approvalId": "ap", "toolCallId": "c1"}
        response = {"type": "tool-approval-response", "approvalId": "ap", "approved": True}
        rows = to_litellm(
            [{"role": "assistant", "content": [text("x"), request]}, {"role": "tool", "content": [response]}]
        )
        assert rows == [{"role": "assistant", "content": "x"}]

    def test_calls_of_the_providers_own_tools_are_dropped(self) -> None:
        """Chat completions have no place for tools that the provider ran."""
        assert assistant(text("x"), call({}, providerExecuted=True)) == [{"role": "assistant", "content": "x"}]

    def test_signed_reasoning_goes_back_to_its_provider(self) -> None:
        """Signed and redacted blocks return as they came, in order."""
        (row,) = assistant(
            reasoning("hm", anthropic={"signature": "S"}),
            reasoning("", anthropic={"redactedData": "R"}),
            text("x"),
            provider="anthropic",
        )
        assert row == {
            "role": "assistant",
            "content": "x",
            "thinking_blocks": [
                {"type": "thinking", "thinking": "hm", "signature": "S"},
                {"type": "redacted_thinking", "data": "R"},
            ],
        }

    def test_signed_reasoning_goes_to_no_other_provider(self) -> None:
        """A signature means nothing elsewhere: the block is left out."""
        rows = assistant(reasoning("hm", anthropic={"signature": "S"}), text("x"), provider="openai")
        assert rows == [{"role": "assistant", "content": "x"}]

    def test_unsigned_reasoning_is_left_out(self) -> None:
        """Plain reasoning is not sent back, and a message of nothing else makes no row."""
        assert assistant({"type": "reasoning", "text": "hm"}, provider="openai") == []

    def test_plain_reasoning_goes_back_to_those_who_want_it(self) -> None:
        """DeepSeek refuses a tool loop without the reasoning it came with."""
        (row,) = assistant({"type": "reasoning", "text": "hm"}, call({}), provider="deepseek")
        assert row["reasoning_content"] == "hm"

    def test_signature_of_a_gemini_call(self) -> None:
        """The signature on a call of Gemini's returns on that call."""
        (row,) = assistant(call({}, providerOptions={"google": {"thoughtSignature": "S"}}), provider="google")
        assert row["tool_calls"][0]["provider_specific_fields"] == {"thought_signature": "S"}


class TestToolResults:
    @pytest.mark.parametrize(
        ("output", "content"),
        [
            ({"type": "text", "value": "r"}, "r"),
            ({"type": "json", "value": {"a": "ü"}}, '{"a":"ü"}'),
            ({"type": "json", "value": None}, "null"),
            ({"type": "error-text", "value": "boom"}, "boom"),
            ({"type": "error-json", "value": {"code": 1}}, '{"code":1}'),
            ({"type": "execution-denied", "reason": "no way"}, "no way"),
            ({"type": "execution-denied"}, "Tool call execution denied."),
            ({"type": "content", "value": [text("a"), text("b")]}, "a\nb"),
        ],
    )
    def test_output_as_text(self, output: Any, content: str) -> None:
        """Each kind of output is a text that the model reads."""
        assert result(output) == [{"role": "tool", "tool_call_id": "c1", "name": "f", "content": content}]

    def test_output_with_an_image(self) -> None:
        """Output that holds an image stays a list of parts."""
        picture = {"type": "media", "data": "AAAA", "mediaType": "image/png"}
        (row,) = result({"type": "content", "value": [text("see"), picture]})
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        assert row["content"] == [text("see"), image]

    def test_each_result_is_a_row(self) -> None:
        """Two results of one tool message are two rows, in order."""
        parts = [
            {"type": "tool-result", "toolCallId": name, "toolName": "f", "output": {"type": "text", "value": name}}
            for name in ("c1", "c2")
        ]
        rows = to_litellm([{"role": "tool", "content": parts}])
        assert [row["tool_call_id"] for row in rows] == ["c1", "c2"]


class TestCacheControl:
    def test_system_message(self) -> None:
        """A cached system message is a part that says so."""
        (row,) = to_litellm([{"role": "system", "content": "s", "providerOptions": CACHED}])
        assert row["content"] == [text("s", cache_control=EPHEMERAL)]

    def test_part_of_a_user_message(self) -> None:
        """The mark stands on the part that has it."""
        (row,) = user(text("a", providerOptions=CACHED), text("b"))
        assert row["content"] == [text("a", cache_control=EPHEMERAL), text("b")]

    def test_user_message(self) -> None:
        """A mark on a whole message stands on its last part."""
        (row,) = to_litellm([{"role": "user", "content": [text("a"), text("b")], "providerOptions": CACHED}])
        assert row["content"] == [text("a"), text("b", cache_control=EPHEMERAL)]

    def test_assistant_text(self) -> None:
        """A marked text keeps the texts of an assistant message apart."""
        (row,) = assistant(text("a", providerOptions=CACHED), text("b"))
        assert row["content"] == [text("a", cache_control=EPHEMERAL), text("b")]

    def test_tool_result(self) -> None:
        """A marked result carries the mark on its row."""
        (row,) = result({"type": "text", "value": "r"}, providerOptions=CACHED)
        assert row["cache_control"] == EPHEMERAL


class TestAll:
    def test_every_message_of_the_ai_sdk_has_a_form(self) -> None:
        """Whatever `convertToModelMessages` makes can be sent, is JSON, and is not changed by it."""
        cases = [json.loads(line) for line in VECTORS.read_text().splitlines()]
        prompts = [case["modelMessages"] for case in cases if "modelMessages" in case]
        before = copy.deepcopy(prompts)
        rows = [to_litellm(prompt, provider=provider) for prompt in prompts for provider in (None, "anthropic")]
        assert prompts == before
        assert len(json.dumps(rows)) > 0

    def test_tools(self) -> None:
        """A tool is a function with a name, a description and a schema."""
        spec = ToolSpec(name="f", description="Does f.", input_schema={"type": "object"})
        assert tool_definitions([spec]) == [
            {
                "type": "function",
                "function": {"name": "f", "description": "Does f.", "parameters": {"type": "object"}},
            }
        ]

    @pytest.mark.parametrize(
        ("provider", "model", "family"),
        [
            ("anthropic", "claude-sonnet-4-5", "anthropic"),
            ("bedrock", "anthropic.claude-sonnet-4-5-v1:0", "anthropic"),
            ("vertex_ai", "claude-sonnet-4-5", "anthropic"),
            ("vertex_ai", "gemini-3-pro", "google"),
            ("openai", "gpt-5", "openai"),
        ],
    )
    def test_family(self, provider: str, model: str, family: str) -> None:
        """A model belongs to who made it, wherever it is served."""
        assert provider_family(provider, model) == family
