"""JSON schemas as TypeScript types: what a value may be that fits the schema, in the words of the type system.

What types cannot say (patterns, ranges, `not`, `if`) is left out: a type takes at least what its schema takes. Objects
take the keys they name and, where the schema says what others may be, others as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from chatrt.json_schema import Schema, look_up, references, subschemas, unescaped

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")
_DEFINITIONS = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")
_WIDTH = 100
_SIMPLE = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}
_SHAPES = {
    "object": ("properties", "required", "additionalProperties", "patternProperties"),
    "array": ("items", "prefixItems"),
}


def literal(value: Any) -> str:
    """Return the type of exactly this JSON value."""
    if isinstance(value, list):
        return f"[{', '.join(literal(item) for item in cast('list[Any]', value))}]"
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return f"{{ {'; '.join(f'{key_name(key)}: {literal(item)}' for key, item in pairs)} }}" if pairs else "{}"
    return json.dumps(value, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def key_name(name: str) -> str:
    """Return a key of an object type: as it is, or quoted if it is no identifier."""
    return name if _IDENTIFIER.fullmatch(name) else literal(name)


def doc_comment(text: str | None, *tags: str) -> list[str]:
    """Return the lines of a doc comment; none for nothing."""
    lines = [line.rstrip() for line in (text or "").strip().replace("*/", "*\\/").splitlines()]
    lines += tags
    if len(lines) <= 1:
        return [f"/** {line} */" for line in lines]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]


def union(types: Iterable[str]) -> str:
    """Return the union of types, each once; `unknown` takes all in."""
    known = [kind for kind in dict.fromkeys(types) if kind != "never"]
    return "unknown" if "unknown" in known else " | ".join(known) or "never"


def wrapped(kind: str) -> str:
    """Return a type in parentheses where an operator behind or beside it would take it apart."""
    return f"({kind})" if _operators(kind) else kind


def _operators(kind: str) -> bool:
    depth = 0
    for char in _QUOTED.sub("", kind):
        depth += (char in "({[<") - (char in ")}]>")
        if depth == 0 and char in "|&":
            return True
    return False


class TypeWriter:
    """Turns schemas into types, and what they define into named types that all of them share.

    Two definitions of one name that differ get different names; those that say the same are one type.

    Args:
        reserved: Names that are taken.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)
        self._names: dict[tuple[str, str], str] = {}
        self._declared: dict[str, list[str]] = {}
        self._required_tags: dict[str, set[str]] = {}

    def type_of(self, schema: Schema, name: str) -> str:
        """Return the type of a schema.

        Args:
            schema: A document of its own: references are looked up in it.
            name: What it is called, should it contain itself.
        """
        return _Document(self, schema, name).root()

    def declarations(self) -> list[str]:
        """Return the lines that declare the named types, in the order they were met."""
        return [line for lines in self._declared.values() for line in ["", *lines]]

    # --- for documents

    def find_name(self, wanted: str, meaning: str) -> tuple[str, bool]:
        """Return the name for a definition, and whether it is new and has to be declared."""
        wanted = _NO_NAME.sub("_", wanted).strip("_") or "Type"
        wanted = f"_{wanted}" if wanted[0].isdigit() else wanted
        known = self._names.get((wanted, meaning))
        if known is not None:
            return known, False
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}{count}"
        self._taken.add(name)
        self._names[wanted, meaning] = name
        self._declared[name] = []
        return name, True

    def declare(self, name: str, description: str | None, kind: str) -> None:
        """Say what a named type is."""
        self._declared[name] = [*doc_comment(description), f"export type {name} = {kind};"]


class _Document:
    """One schema with its definitions."""

    def __init__(self, writer: TypeWriter, schema: Schema, name: str) -> None:
        self._writer = writer
        self._schema = schema
        self._name = name
        self._tags = dict(_tags_of(schema))
        self._outermost: frozenset[str] = frozenset()  # the names that the type at hand is, not only holds

    def root(self) -> str:
        return self._referred("#") if _refers_to_itself(self._schema) else self._type(self._schema)

    def _type(self, schema: Schema, tag: str | None = None) -> str:
        if not isinstance(schema, dict):
            return "never" if schema is False else "unknown"
        known = cast("dict[str, Any]", schema)
        parts = [part for part in self._parts(known, tag) if part != "unknown"]
        kind = " & ".join(wrapped(part) if len(parts) > 1 else part for part in dict.fromkeys(parts)) or "unknown"
        return union([kind, "null"]) if known.get("nullable") is True else kind

    def _parts(self, schema: dict[str, Any], tag: str | None) -> Iterable[str]:
        """Yield types that the value has, each."""
        if isinstance(schema.get("$ref"), str):
            yield self._referred(schema["$ref"])
        if "const" in schema:
            yield literal(schema["const"])
        elif isinstance(schema.get("enum"), list):
            yield union(literal(value) for value in schema["enum"])
        else:
            yield self._shape(schema, tag)
        for choice in ("anyOf", "oneOf"):
            if isinstance(schema.get(choice), list):
                yield union(self._type(one) for one in schema[choice])
        for one in cast("list[Any]", schema.get("allOf") or ()):
            yield self._type(one)

    def _shape(self, schema: dict[str, Any], tag: str | None) -> str:
        kinds = schema.get("type")
        if kinds is None:
            kinds = [kind for kind, keys in _SHAPES.items() if any(key in schema for key in keys)]
            if not kinds:
                return "unknown"
        elif isinstance(kinds, str):
            kinds = [kinds]
        return union(self._of_kind(kind, schema, tag) for kind in cast("list[str]", kinds))

    def _of_kind(self, kind: str, schema: dict[str, Any], tag: str | None) -> str:
        around, self._outermost = self._outermost, frozenset()
        try:
            match kind:
                case "object":
                    return self._object(schema, tag)
                case "array":
                    return self._array(schema)
                case _:
                    return _SIMPLE.get(kind, "unknown")
        finally:
            self._outermost = around

    # --- objects and arrays

    def _object(self, schema: dict[str, Any], tag: str | None) -> str:
        properties: dict[str, Any] = schema.get("properties") or {}
        required = {*(schema.get("required") or ()), *([tag] if tag else ())}
        members: list[list[str]] = []
        kinds: list[str] = []
        for name, value in properties.items():
            kind = self._type(value)
            mark = "" if name in required else "?"
            members.append([*_property_doc(value), f"{key_name(name)}{mark}: {kind};"])
            kinds.append(kind if name in required else union([kind, "undefined"]))
        for name in sorted(required - properties.keys()):
            members.append([f"{key_name(name)}: unknown;"])
            kinds.append("unknown")
        others = self._others(schema, named=bool(members))
        if others is not None:
            members.append([f"[key: string]: {union([others, *kinds])};"])
        if not members:
            return (
                "Record<string, never>" if schema.get("additionalProperties") is False else "{ [key: string]: unknown }"
            )
        return _braced(members)

    def _others(self, schema: dict[str, Any], *, named: bool) -> str | None:
        """The type of keys without a name of their own; None if there is none worth to be said."""
        patterns: dict[str, Any] = schema.get("patternProperties") or {}
        kinds = [self._type(value) for value in patterns.values()]
        additional = schema.get("additionalProperties")
        if additional not in (None, False) or (additional is None and not named and not kinds):
            kinds.append(self._type(True if additional is None else additional))
        return union(kinds) if kinds else None

    def _array(self, schema: dict[str, Any]) -> str:
        rest = schema.get("items")
        first = schema.get("prefixItems")
        if isinstance(rest, list):  # older drafts
            first, rest = cast("list[Any]", rest), schema.get("additionalItems")
        if not isinstance(first, list):
            return f"{wrapped(self._type(True if rest is None else rest))}[]"
        items = [self._type(item) for item in cast("list[Any]", first)]
        least = cast("int", schema.get("minItems", 0))
        places = [item if place < least else f"{wrapped(item)}?" for place, item in enumerate(items)]
        if rest is not False and schema.get("maxItems", len(items) + 1) > len(items):
            places.append(f"...{wrapped(self._type(True if rest is None else rest))}[]")
        return f"[{', '.join(places)}]"

    # --- references

    def _referred(self, reference: str) -> str:
        found, target = look_up(self._schema, reference)
        if not found:
            return "unknown"
        tag = self._tags.get(reference)
        meaning = json.dumps([tag, target, self._closure(target)], sort_keys=True)
        definition = _DEFINITIONS.fullmatch(reference)
        wanted = definition[1] if definition else reference.rpartition("/")[2].strip("#") or self._name
        name, is_new = self._writer.find_name(unescaped(wanted), meaning)
        if name in self._outermost:
            return "unknown"  # it would be defined by itself, and by nothing else
        if is_new:
            description = cast("dict[str, Any]", target).get("description") if isinstance(target, dict) else None
            around, self._outermost = self._outermost, self._outermost | {name}
            self._writer.declare(name, description, self._type(target, tag))
            self._outermost = around
        return name

    def _closure(self, schema: Schema) -> dict[str, Any]:
        """Everything a schema refers to, by reference."""
        seen: dict[str, Any] = {}
        waiting = [schema]
        while waiting:
            for reference in references(waiting.pop()):
                if reference not in seen:
                    _, seen[reference] = look_up(self._schema, reference)
                    waiting.append(seen[reference])
        return {reference: [self._tags.get(reference), value] for reference, value in seen.items()}


def _braced(members: list[list[str]]) -> str:
    flat = " ".join(line for lines in members for line in lines).rstrip(";")
    if len(flat) <= _WIDTH and all(len(lines) == 1 and "\n" not in lines[0] for lines in members):
        return f"{{ {flat} }}"
    body = "\n".join(line for lines in members for line in lines).replace("\n", "\n  ")
    return f"{{\n  {body}\n}}"


def _property_doc(schema: Schema) -> list[str]:
    if not isinstance(schema, dict):
        return []
    known = cast("dict[str, Any]", schema)
    return doc_comment(known.get("description"), *(["@deprecated"] if known.get("deprecated") is True else ()))


def _refers_to_itself(schema: Schema) -> bool:
    return "#" in references(schema)


def _tags_of(schema: Schema) -> Iterable[tuple[str, str]]:
    """Yield the members of unions that are told apart by a key: it has to be there, although it has a default."""
    for one in subschemas(schema):
        discriminator = one.get("discriminator")
        if isinstance(discriminator, Mapping):
            name = cast("Mapping[str, Any]", discriminator).get("propertyName")
            for member in cast("list[Any]", one.get("oneOf") or one.get("anyOf") or ()):
                if isinstance(name, str) and isinstance(member, dict) and "$ref" in member:
                    yield cast("dict[str, Any]", member)["$ref"], name
