"""Names of tools, and what models are shown of results."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import CallToolResult, TextContent, Tool

from chatrt.errors import ToolError
from chatrt.mcp.results import name_tools, to_model_output, to_output
from chatrt.models import to_litellm


def named(*names: str, prefix: str = "") -> list[str]:
    return list(name_tools([Tool(name=name, input_schema={}) for name in names], prefix))


def shown(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return to_model_output("c1", {}, {"content": list(content), **fields})


TEXT = {"type": "text", "text": "hello"}


# --- names


def test_a_good_name_stays():
    """A name that a model can call is kept, behind the prefix."""
    assert named("get-order_2", prefix="shop_") == ["shop_get-order_2"]


@pytest.mark.parametrize("name", ["files.read", "lösche", "a b", "x" * 65])
def test_a_name_is_made_fit(name: str):
    """A name with other characters, or one that is too long, becomes a name that a model can call."""
    (fit,) = named(name)
    assert len(fit) <= 64
    assert fit.replace("_", "").replace("-", "").isalnum()
    assert fit.isascii()


def test_fit_names_are_unique():
    """Names that differ only in what had to be changed stay apart."""
    assert len(set(named("a.b", "a/b", "a_b", "x" * 70, "x" * 71))) == 5


def test_a_name_does_not_depend_on_the_other_tools():
    """A tool keeps its name when others come and go: an approval for one never becomes an approval for another."""
    assert named("a/b", "a.b")[1] == named("a.b")[0]


def test_the_first_of_two_counts():
    """A server with two tools of one name has one of them."""
    tools = [Tool(name="a", description=text, input_schema={}) for text in ("first", "second")]
    assert [tool.description for tool in name_tools(tools, "").values()] == ["first"]


# --- results


def test_several_texts_are_lines():
    """Texts are one text, each in a line of its own."""
    assert shown(TEXT, TEXT) == {"type": "text", "value": "hello\nhello"}


def test_content_goes_before_structure():
    """A server repeats a structured value as text; the model reads it once."""
    assert shown(TEXT, structuredContent={"a": 1}) == {"type": "text", "value": "hello"}


def test_structure_alone_is_shown():
    """A structured value without content is shown as JSON."""
    assert shown(structuredContent={"a": 1}) == {"type": "json", "value": {"a": 1}}


def test_nothing_is_an_empty_text():
    """A result without anything is an empty text."""
    assert shown() == {"type": "text", "value": ""}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "A."}},
            {"type": "text", "value": "file:///a.txt:\nA."},
        ),
        (
            {"type": "resource_link", "uri": "file:///a.txt", "name": "A text"},
            {"type": "text", "value": "A text: file:///a.txt"},
        ),
        ({"type": "hologram", "x": 1}, {"type": "text", "value": '{"type":"hologram","x":1}'}),
        (
            {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
            {"type": "content", "value": [{"type": "media", "data": "AAAA", "mediaType": "audio/wav"}]},
        ),
        (
            {"type": "resource", "resource": {"uri": "file:///a.pdf", "blob": "AAAA", "mimeType": "application/pdf"}},
            {
                "type": "content",
                "value": [
                    {"type": "media", "data": "AAAA", "mediaType": "application/pdf", "filename": "a.pdf"},
                ],
            },
        ),
    ],
)
def test_each_kind_of_content(block: dict[str, Any], expected: dict[str, Any]):
    """Resources, links, sounds and what is not known here are shown to the model as what they are."""
    assert shown(block) == expected


@pytest.mark.parametrize("output", ["text", None, [1], {"other": 1}, {"content": "text"}])
def test_what_is_no_result_is_json(output: Any):
    """An output that is stored and was not made here is shown as it is."""
    assert to_model_output("c1", {}, output) == {"type": "json", "value": output}


def test_an_image_reaches_the_provider():
    """What is shown of an image is what providers take for one."""
    output = shown(TEXT, {"type": "image", "data": "AAAA", "mimeType": "image/png"})
    part = {"type": "tool-result", "toolCallId": "c1", "toolName": "f", "output": output}
    (row,) = to_litellm([{"role": "tool", "content": [part]}])
    assert row["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def test_a_failure_without_words():
    """A failure that says nothing is still a failure."""
    with pytest.raises(ToolError, match="does not say why"):
        to_output(CallToolResult(content=[], is_error=True))


def test_a_result_has_a_limit():
    """More than 8 MiB are refused: they would have to be stored, sent and shown."""
    to_output(CallToolResult(content=[TextContent(text="x" * (8 * 1024 * 1024 - 100))]))
    with pytest.raises(ToolError, match="larger than 8 MiB"):
        to_output(CallToolResult(content=[TextContent(text="x" * (8 * 1024 * 1024))]))
