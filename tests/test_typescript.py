"""JSON schemas as TypeScript types. `tests/e2e/test_types.py` gives the result to the compiler."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from chatrt.typescript import TypeWriter, doc_comment, key_name, literal


def type_of(kind: Any) -> str:
    """The type of a Python type, on one line."""
    return " ".join(TypeWriter().type_of(TypeAdapter(kind).json_schema(), "Root").split())


def declared(kind: Any) -> str:
    """The type of a Python type and what it needs declared."""
    writer = TypeWriter()
    root = writer.type_of(TypeAdapter(kind).json_schema(), "Root")
    return "\n".join([root, *writer.declarations()])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (str, "string"),
        (int, "number"),
        (float, "number"),
        (bool, "boolean"),
        (None, "null"),
        (Any, "unknown"),
        (datetime, "string"),
        (UUID, "string"),
        (Decimal, "number | string"),
        (str | None, "string | null"),
        (Literal["a", 1, True] | None, '"a" | 1 | true | null'),
        (Literal["only"], '"only"'),
        (list[int], "number[]"),
        (list[int | str], "(number | string)[]"),
        (list[Literal["a|b"]], '"a|b"[]'),
        (set[str], "string[]"),
        (list, "unknown[]"),
        (tuple[int, str], "[number, string]"),
        (tuple[int, ...], "number[]"),
        (dict[str, int], "{ [key: string]: number }"),
        (dict[str, Any], "{ [key: string]: unknown }"),
        (dict[str, list[str | None]], "{ [key: string]: (string | null)[] }"),
    ],
)
def test_plain_types(kind: Any, expected: str):
    """What Python code declares is said in TypeScript's words."""
    assert type_of(kind) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, "unknown"),
        (False, "never"),
        ({}, "unknown"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "string", "nullable": True}, "string | null"),
        ({"enum": []}, "never"),
        ({"const": {"a": [1, None]}}, "{ a: [1, null] }"),
        ({"type": "object"}, "{ [key: string]: unknown }"),
        ({"type": "object", "additionalProperties": False}, "Record<string, never>"),
        ({"properties": {"a": {"type": "string"}}}, "{ a?: string }"),
        ({"type": "object", "required": ["a"]}, "{ a: unknown }"),
        ({"items": {"type": "string"}}, "string[]"),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, "[string?, ...unknown[]]"),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, "[string?]"),
        ({"type": "array", "items": [{"type": "string"}], "minItems": 1, "additionalItems": False}, "[string]"),
        ({"patternProperties": {"^x": {"type": "number"}}, "additionalProperties": False}, "{ [key: string]: number }"),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, "{ a?: unknown } & { b?: unknown }"),
        (
            {"type": "object", "properties": {"a": {}}, "oneOf": [{"required": ["a"]}]},
            "{ a?: unknown } & { a: unknown }",
        ),
        ({"$ref": "https://example.com/other.json"}, "unknown"),
        ({"$ref": "#/$defs/nowhere"}, "unknown"),
        ({"type": "hologram"}, "unknown"),
        ({"minimum": 3, "not": {"type": "string"}}, "unknown"),
    ],
)
def test_schemas_of_anybody(schema: Any, expected: str):
    """Schemas that no Python type made are read too; what cannot be said is left open."""
    assert " ".join(TypeWriter().type_of(schema, "Root").split()) == expected


def test_optional_keys():
    """A key with a default may be left out, which is something else than null."""

    class Filter(BaseModel):
        text: str
        limit: int = 5
        note: str | None

    assert type_of(Filter) == "{ text: string; limit?: number; note: string | null }"


def test_other_keys():
    """Where others may stand beside the named keys, their type holds for all: TypeScript asks for that."""

    class Open(BaseModel, extra="allow"):
        name: str
        __pydantic_extra__: dict[str, int]

    assert type_of(Open) == "{ name: string; [key: string]: number | string }"


def test_names_that_are_no_identifiers():
    """They are quoted, whatever they hold."""
    assert key_name("data-x") == '"data-x"'
    assert key_name('a"b\\') == '"a\\"b\\\\"'
    assert key_name("$ok_1") == "$ok_1"
    assert key_name("1st") == '"1st"'
    assert key_name("") == '""'


def test_literals_hold_on_one_line():
    """No character of a text ends the line it stands in."""
    assert literal("a\nb\u2028c") == '"a\\nb\\u2028c"'


def test_descriptions_are_doc_comments():
    """What the fields say of themselves is there for who reads the types."""

    class Search(BaseModel):
        query: str = Field(description="What to look for.\nWords or */ signs.")
        page: int = Field(1, description="From 1 on", deprecated=True)

    assert (
        TypeWriter().type_of(Search.model_json_schema(), "Root")
        == """\
{
  /**
   * What to look for.
   * Words or *\\/ signs.
   */
  query: string;
  /**
   * From 1 on
   * @deprecated
   */
  page?: number;
}"""
    )


def test_a_comment_of_nothing_is_none():
    """Empty descriptions leave no trace."""
    assert doc_comment("  \n") == doc_comment(None) == []


class Undo(BaseModel):
    type: Literal["undo"] = "undo"


class Edit(BaseModel):
    """Change a message."""

    type: Literal["edit"] = "edit"
    text: str


def test_unions_that_are_told_apart():
    """The key that tells the members of a union apart is required, although it has a default."""
    assert (
        declared(Annotated[Undo | Edit, Field(discriminator="type")])
        == """\
Undo | Edit

export type Undo = { type: "undo" };

/** Change a message. */
export type Edit = { type: "edit"; text: string };"""
    )


class Node(BaseModel):
    value: int
    children: list[Node] = []


def test_types_that_contain_themselves():
    """A model that contains itself is a named type."""
    assert declared(Node) == "Node\n\nexport type Node = { value: number; children?: Node[] };"


def test_a_schema_that_refers_to_its_root():
    """The root gets the name that its user gives it."""
    writer = TypeWriter()
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert writer.type_of(schema, "Chain") == "Chain"
    assert writer.declarations() == ["", "export type Chain = { next?: Chain };"]


def test_a_type_that_would_be_itself_may_be_anything():
    """A schema that only says that it is what it is says nothing; the compiler would refuse it."""
    writer = TypeWriter()
    schema = {"anyOf": [{"$ref": "#"}, {"type": "string"}, {"type": "array", "items": {"$ref": "#"}}]}
    assert writer.type_of(schema, "Odd") == "Odd"
    assert writer.declarations() == ["", "export type Odd = unknown;"]


def test_values_of_any_json():
    """pydantic's JSON values are anything."""
    assert type_of(JsonValue) == "unknown"


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


def test_enums():
    """An enum is the union of its values."""
    assert declared(Colour | None) == 'Colour | null\n\nexport type Colour = "red" | "green";'


def test_one_type_for_one_meaning():
    """The same definition in two schemas is one type; another one of the same name gets another name."""
    writer = TypeWriter(reserved=["Text"])
    first = {"$ref": "#/$defs/Text", "$defs": {"Text": {"type": "string"}}}
    other = {"$ref": "#/$defs/Text", "$defs": {"Text": {"type": "number"}}}
    assert [writer.type_of(schema, "Root") for schema in (first, other, first)] == ["Text2", "Text3", "Text2"]


def test_meaning_includes_what_is_referred_to():
    """Two definitions that read alike differ if what they refer to differs."""
    writer = TypeWriter()

    def boxed(kind: str) -> dict[str, Any]:
        box = {"type": "object", "properties": {"in": {"$ref": "#/$defs/Thing"}}}
        return {"$ref": "#/$defs/Box", "$defs": {"Box": box, "Thing": {"type": kind}}}

    assert [writer.type_of(boxed(kind), "Root") for kind in ("string", "number")] == ["Box", "Box2"]
    assert "export type Box2 = { in?: Thing2 };" in writer.declarations()


def test_names_of_definitions_become_identifiers():
    """pydantic names generic models and models of equal names in its own way."""
    writer = TypeWriter()
    schema = {"$defs": {"a.b[int]-Input": {"type": "string"}, "1st": {"type": "null"}}}
    references = [{**schema, "$ref": f"#/$defs/{name}"} for name in schema["$defs"]]
    assert [writer.type_of(one, "Root") for one in references] == ["a_b_int_Input", "_1st"]


def test_values_are_no_schemas():
    """What stands in a default or an example is never taken for a reference."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "default": {"$ref": "#"}}}}
    assert TypeWriter().type_of(schema, "Root") == "{ a?: string }"


def test_a_long_object_takes_lines():
    """What does not fit into a line stands in several, indented."""
    names = [f"quite_a_long_name_{number}" for number in range(5)]
    inner = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    lines = TypeWriter().type_of({"type": "object", "properties": {"a": inner}}, "Root").splitlines()
    assert lines[:3] == ["{", "  a?: {", "    quite_a_long_name_0?: string;"]
    assert lines[-2:] == ["  };", "}"]
