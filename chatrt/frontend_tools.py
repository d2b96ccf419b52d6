"""Frontend tools: tools that a client brings along with an input, for the model to call and the client to answer.

Only agents that were declared with `frontend_tools=True` take them. A tool of the agent's own is never replaced by one
of the same name, and a frontend tool never runs here: it has no body. Its schema is not trusted either: of its keywords
only those count here that cost little to check, and no pattern of it is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from chatrt.errors import InvalidInputError
from chatrt.tools import Tool

MAX_FRONTEND_TOOLS = 128
MAX_DESCRIPTION = 8192

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def check_frontend_tools(definitions: Sequence[Any], *, path: str = "/tools") -> list[dict[str, Any]]:
    """Return tool definitions as they are stored: `{name, description, inputSchema}` each.

    Args:
        definitions: `{name, description?, parameters?}` each; `parameters` is a JSON schema of an object.
        path: Where they stand in the input, for errors.

    Raises:
        InvalidInputError: If one is no tool, two have one name, or there are too many.
    """
    if len(definitions) > MAX_FRONTEND_TOOLS:
        raise InvalidInputError(f"more than {MAX_FRONTEND_TOOLS} tools", path=path)
    checked: dict[str, dict[str, Any]] = {}
    for index, definition in enumerate(definitions):
        place = f"{path}/{index}"
        match definition:
            case {"name": str(name)} if _NAME.fullmatch(name):
                fields = cast("dict[str, Any]", definition)
            case dict():
                raise InvalidInputError("a tool's name is 1 to 64 letters, digits, _ and -", path=f"{place}/name")
            case _:
                raise InvalidInputError("not an object", path=place)
        if name in checked:
            raise InvalidInputError("two tools have this name", path=f"{place}/name")
        description = fields.get("description") or ""
        if not isinstance(description, str) or len(description) > MAX_DESCRIPTION:
            raise InvalidInputError(f"not a text of at most {MAX_DESCRIPTION} characters", path=f"{place}/description")
        schema = _checked_schema(fields.get("parameters"), f"{place}/parameters")
        checked[name] = {"name": name, "description": description, "inputSchema": schema}
    return list(checked.values())


def _checked_schema(schema: Any, path: str) -> dict[str, Any]:
    match schema:
        case None:
            return _EMPTY
        case {"type": "object"}:
            return cast("dict[str, Any]", schema)
        case dict() if "type" not in schema:
            return {**_EMPTY, **cast("dict[str, Any]", schema)}
        case _:
            raise InvalidInputError("the arguments of a tool are an object", path=path)


def make_frontend_tools(definitions: Sequence[Mapping[str, Any]]) -> list[Tool]:
    """Return the tools that stored definitions describe; a model's calls are checked against their schemas."""
    return [
        Tool.from_schema(
            definition["name"],
            definition["description"],
            definition["inputSchema"],
            validate=_Fit(definition["inputSchema"]),
            dynamic=True,
        )
        for definition in definitions
    ]


class _Fit:
    """Checks an input against the keywords `type`, `required`, `properties`, `items`, `enum` and `const`."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def __call__(self, value: Any) -> Any:
        problems = list(self._problems(value, self._schema, ""))
        if problems:
            raise ValueError("; ".join(problems[:8]))
        return value

    def _problems(self, value: Any, schema: Any, path: str) -> list[str]:
        # Schemas came in through the limits of a body, so neither they nor what fits them is deep.
        if not isinstance(schema, dict):
            return []
        rules = cast("dict[str, Any]", schema)
        if not _is_of_type(value, rules.get("type")):
            return [f"{path or '/'}: not of type {rules['type']}"]
        choices = rules.get("enum")
        if isinstance(choices, list) and value not in cast("list[Any]", choices):
            return [f"{path or '/'}: not one of {choices}"]
        if "const" in rules and value != rules["const"]:
            return [f"{path or '/'}: not {rules['const']!r}"]
        if isinstance(value, dict):
            return self._problems_of_object(cast("dict[str, Any]", value), rules, path)
        if isinstance(value, list):
            items = rules.get("items")
            return [
                problem
                for index, item in enumerate(cast("list[Any]", value))
                for problem in self._problems(item, items, f"{path}/{index}")
            ]
        return []

    def _problems_of_object(self, value: dict[str, Any], rules: dict[str, Any], path: str) -> list[str]:
        required = rules.get("required")
        names = cast("list[Any]", required) if isinstance(required, list) else []
        problems = [f"{path}/{name}: missing" for name in names if name not in value]
        properties = rules.get("properties")
        if isinstance(properties, dict):
            for name, rule in cast("dict[str, Any]", properties).items():
                if name in value:
                    problems += self._problems(value[name], rule, f"{path}/{name}")
        return problems


def _is_of_type(value: Any, wanted: Any) -> bool:
    names = cast("list[Any]", wanted) if isinstance(wanted, list) else [wanted]
    known = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    if not known:
        return True  # says nothing that is understood here
    if isinstance(value, bool):
        return (bool,) in known
    if isinstance(value, float) and value.is_integer() and (int,) in known:
        return True
    return any(isinstance(value, kinds) for kinds in known)
