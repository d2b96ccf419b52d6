"""JSON schemas as trees."""

from __future__ import annotations

from chatrt.json_schema import look_up, moved, references

SCHEMA = {
    "$id": "https://example.com/schema",
    "$ref": "#/$defs/Action",
    "$defs": {
        "Action": {
            "oneOf": [{"$ref": "#/$defs/a~1b"}],
            "discriminator": {"propertyName": "type", "mapping": {"x": "#/$defs/a~1b"}},
        },
        "a/b": {"properties": {"const": {"$ref": "#"}, "mapping": {"items": {"$ref": "other.json#/x"}}}},
        "kept": {"default": {"$ref": "#/$defs/Action"}, "enum": [{"$ref": "#"}]},
    },
}


def test_references_are_those_of_schemas():
    """A value that looks like a reference is none, and a property may have any name."""
    assert sorted(references(SCHEMA)) == ["#", "#/$defs/Action", "#/$defs/a~1b", "other.json#/x"]


def test_a_reference_names_a_place():
    """Escaped keys and places in lists are found; other documents and places that are not there are not."""
    assert look_up(SCHEMA, "#/$defs/a~1b") == (True, SCHEMA["$defs"]["a/b"])
    assert look_up(SCHEMA, "#/$defs/Action/oneOf/0") == (True, {"$ref": "#/$defs/a~1b"})
    assert look_up(SCHEMA, "#") == (True, SCHEMA)
    for nowhere in ("#/$defs/c", "#/$defs/Action/oneOf/1", "#/$id/x", "other.json#/x"):
        assert look_up(SCHEMA, nowhere) == (False, None)


def test_a_schema_that_is_moved_refers_to_itself_still():
    """All its references begin at its new place; what only looks like one stays, and it calls itself nothing else."""
    result = moved(SCHEMA, "#/here")
    assert "$id" not in result
    assert result["$ref"] == "#/here/$defs/Action"
    assert result["$defs"]["Action"]["discriminator"]["mapping"] == {"x": "#/here/$defs/a~1b"}
    assert result["$defs"]["a/b"]["properties"] == {
        "const": {"$ref": "#/here"},
        "mapping": {"items": {"$ref": "other.json#/x"}},
    }
    assert result["$defs"]["kept"] == SCHEMA["$defs"]["kept"]
    assert look_up({"here": result}, result["$ref"]) == (True, result["$defs"]["Action"])
