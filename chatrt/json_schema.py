"""JSON schemas as trees: what is in one, and what its references mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

Schema = Any
"""A JSON schema: an object, or a bool."""

_VALUES = frozenset({"const", "enum", "default", "examples", "example"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def subschemas(schema: Schema) -> Iterable[dict[str, Any]]:
    """Yield a schema and all schemas in it; not the values that stand in one, whatever they look like."""
    if isinstance(schema, list):
        for item in cast("list[Any]", schema):
            yield from subschemas(item)
    elif isinstance(schema, dict):
        known = cast("dict[str, Any]", schema)
        yield known
        for key, value in known.items():
            if key in _BY_NAME and isinstance(value, dict):
                for one in cast("dict[str, Any]", value).values():
                    yield from subschemas(one)
            elif key not in _VALUES:
                yield from subschemas(value)


def references(schema: Schema) -> list[str]:
    """Return what a schema refers to, each as often as it does."""
    return [one["$ref"] for one in subschemas(schema) if isinstance(one.get("$ref"), str)]


def look_up(schema: Schema, reference: str) -> tuple[bool, Schema]:
    """Return whether a document has what a reference names, and what that is; other documents are not looked at."""
    if not reference.startswith("#"):
        return False, None
    found: Any = schema
    for step in reference[1:].split("/")[1:]:
        match found:
            case dict() if (key := unescaped(step)) in found:
                found = cast("dict[str, Any]", found)[key]
            case list() if step.isdigit() and int(step) < len(cast("list[Any]", found)):
                found = cast("list[Any]", found)[int(step)]
            case _:
                return False, None
    return True, found


def unescaped(step: str) -> str:
    """Return a step of a JSON pointer as the key it stands for."""
    return step.replace("~1", "/").replace("~0", "~")


def moved(schema: Schema, place: str) -> Schema:
    """Return a document as it stands in another one: its references begin at its place there.

    Args:
        schema: The document; what it calls itself (`$id`) is left out.
        place: Where it stands, as a reference such as `#/components/schemas/Name`.
    """
    if not isinstance(schema, Mapping):
        return schema
    return _moved({key: value for key, value in cast("Mapping[str, Any]", schema).items() if key != "$id"}, place)


def _moved(schema: Schema, place: str) -> Schema:
    if isinstance(schema, list):
        return [_moved(item, place) for item in cast("list[Any]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for key, value in cast("Mapping[str, Any]", schema).items():
        if key in _VALUES:
            result[key] = value
        elif key in _BY_NAME and isinstance(value, Mapping):
            result[key] = {name: _moved(one, place) for name, one in cast("Mapping[str, Any]", value).items()}
        elif key == "discriminator" and isinstance(value, Mapping):
            result[key] = _moved_discriminator(cast("Mapping[str, Any]", value), place)
        else:
            result[key] = _moved_reference(value, place) if key == "$ref" else _moved(value, place)
    return result


def _moved_discriminator(discriminator: Mapping[str, Any], place: str) -> dict[str, Any]:
    mapping = discriminator.get("mapping")
    if not isinstance(mapping, Mapping):
        return dict(discriminator)
    targets = cast("Mapping[str, Any]", mapping).items()
    return {**discriminator, "mapping": {tag: _moved_reference(target, place) for tag, target in targets}}


def _moved_reference(reference: Any, place: str) -> Any:
    return place + reference[1:] if isinstance(reference, str) and reference.startswith("#") else reference
