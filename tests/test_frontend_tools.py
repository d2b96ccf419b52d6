"""Frontend tools: what a client may bring, and what fits it."""

from __future__ import annotations

import pytest

from chatrt.errors import InvalidInputError, InvalidToolInputError
from chatrt.frontend_tools import MAX_DESCRIPTION, MAX_FRONTEND_TOOLS, check_frontend_tools, make_frontend_tools

PAINT = {
    "type": "object",
    "properties": {
        "color": {"type": "string", "enum": ["red", "blue"]},
        "width": {"type": ["integer", "null"]},
        "points": {"type": "array", "items": {"type": "object", "required": ["x"]}},
        "mode": {"const": "fill"},
        "ratio": {"type": "number"},
    },
    "required": ["color"],
}


def paint(schema=PAINT):
    (tool,) = make_frontend_tools(check_frontend_tools([{"name": "paint", "parameters": schema}]))
    return tool


def test_a_frontend_tool_has_no_body():
    """It never runs on the server, and its calls are shown as those of a dynamic tool."""
    assert not paint().has_body
    assert paint().dynamic


@pytest.mark.parametrize(
    "value",
    [
        {"color": "red"},
        {"color": "red", "width": None, "more": 1},
        {"color": "blue", "width": 3.0, "points": [{"x": 1}], "mode": "fill", "ratio": 1},
    ],
)
def test_what_fits_is_taken(value):
    """Whatever the schema says nothing about."""
    assert paint().validate_input(value) == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "/: not of type object"),
        ({}, "/color: missing"),
        ({"color": "green"}, "/color: not one of"),
        ({"color": 1}, "/color: not of type string"),
        ({"color": "red", "width": True}, "/width: not of type"),
        ({"color": "red", "width": 1.5}, "/width: not of type"),
        ({"color": "red", "points": [{}]}, "/points/0/x: missing"),
        ({"color": "red", "points": {}}, "/points: not of type array"),
        ({"color": "red", "mode": "line"}, "/mode: not 'fill'"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(value, problem):
    """So that the model can do better."""
    with pytest.raises(InvalidToolInputError) as refused:
        paint().validate_input(value)
    assert problem in str(refused.value)


def test_no_pattern_of_a_client_is_run():
    """One that never ends would hold up the server."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}
    assert paint(schema).validate_input({"a": "a" * 64 + "!"})


def test_a_schema_that_makes_no_sense_is_no_obstacle():
    """What is not understood says nothing."""
    schema = {"properties": [], "required": "color", "items": 3, "enum": 1}
    assert paint(schema).validate_input({"a": [1]}) == {"a": [1]}


@pytest.mark.parametrize("schema", [None, {}])
def test_a_tool_may_take_nothing(schema):
    """Providers want an object even so."""
    assert paint(schema).input_schema == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("definitions", "path"),
    [
        ([1], "/tools/0"),
        ([{}], "/tools/0/name"),
        ([{"name": "a b"}], "/tools/0/name"),
        ([{"name": "a" * 65}], "/tools/0/name"),
        ([{"name": "a"}, {"name": "a"}], "/tools/1/name"),
        ([{"name": "a", "description": 1}], "/tools/0/description"),
        ([{"name": "a", "description": "x" * (MAX_DESCRIPTION + 1)}], "/tools/0/description"),
        ([{"name": "a", "parameters": {"type": "string"}}], "/tools/0/parameters"),
        ([{"name": "a", "parameters": []}], "/tools/0/parameters"),
        ([{"name": f"a{n}"} for n in range(MAX_FRONTEND_TOOLS + 1)], "/tools"),
    ],
)
def test_what_is_no_tool_is_refused_by_its_place(definitions, path):
    """Before anything is stored."""
    with pytest.raises(InvalidInputError) as refused:
        check_frontend_tools(definitions)
    assert refused.value.path == path
