"""Checks UI messages where they enter: from a client, a database, a hook (`validateUIMessages` of ai 7.0.173)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from chatrt.errors import InvalidInputError, InvalidMessageError, ToolError
from chatrt.ui.message_shapes import (
    VARIANTS,
    answer_adapter,
    dynamic_tool_adapter,
    envelope_adapter,
    part_adapter,
    tool_adapter,
)
from chatrt.ui.messages import UIMessage, get_tool_name, is_tool_part

Validate = Callable[[Any], Any]
"""Returns the value as it shall be kept; raises ValueError, TypeError, InvalidInputError or ToolError if it is bad."""

_TERMINAL = frozenset({"output-available", "output-error", "output-denied"})
_MISSING = object()


@dataclass(frozen=True, slots=True)
class _Rules:
    """What an application adds to the shapes."""

    tools: Mapping[str, Validate] | None = None
    data_schemas: Mapping[str, Validate] | None = None
    metadata_schema: Validate | None = None


def validate_ui_messages(
    messages: Any,
    *,
    tools: Mapping[str, Validate] | None = None,
    data_schemas: Mapping[str, Validate] | None = None,
    metadata_schema: Validate | None = None,
) -> list[UIMessage]:
    """Check a list of UI messages and return checked copies, without the keys that no message or part has.

    A list must not be empty; user and system messages need a part, assistant messages do not. Checking stops at the
    first problem. A `validate` function below gets a value and returns it as it shall be kept, in JSON shape (for
    example `TypeAdapter(...).validate_python`); it raises `ValueError`, `TypeError`, `InvalidInputError` or
    `ToolError` if the value is bad.

    Args:
        messages: What came in.
        tools: Tool name to `validate(input)`. Inputs of static tool parts are checked unless they still stream; what
            it returns matters only for calls whose approval carries `inputSchemaInput`: there it must give the input.
            A finished call of a tool that is not there, or one that failed on an input the tool does not take (or
            succeeded on an empty one), comes back as a `dynamic-tool` part with `dynamic: false`.
        data_schemas: Name of a data part, without `data-`, to `validate(data)`. Every data part needs one.
        metadata_schema: `validate(metadata)`, called for every message; None stands for no metadata.

    Raises:
        InvalidMessageError: `path` is the JSON pointer of the first wrong value, such as `/0/parts/2/text`.
    """
    if not isinstance(messages, list):
        raise InvalidMessageError("expected an array of messages")
    if not messages:
        raise InvalidMessageError("expected at least one message")
    rules = _Rules(tools, data_schemas, metadata_schema)
    return [_message(message, rules, f"/{index}") for index, message in enumerate(cast("list[Any]", messages))]


def validate_ui_message(
    message: Any,
    *,
    tools: Mapping[str, Validate] | None = None,
    data_schemas: Mapping[str, Validate] | None = None,
    metadata_schema: Validate | None = None,
) -> UIMessage:
    """Check one UI message as `validate_ui_messages` does; paths start at the message.

    Raises:
        InvalidMessageError: If it is not acceptable.
    """
    return _message(message, _Rules(tools, data_schemas, metadata_schema), "")


def validate_incoming_message(message: Any) -> UIMessage:
    """Check a message a client sent and return a copy without unknown keys.

    User and system messages are checked wholly. Of an assistant message only the answers to tool calls count, so only
    those are checked, for the keys they need, and the parts stay as they were sent: clients leave out inputs and
    texts, or send them half streamed. Whether the client may make these changes is for `check_tool_answers` to say.

    Raises:
        InvalidMessageError: If it is not acceptable.
    """
    envelope = _checked(envelope_adapter(), message, "")
    if envelope["role"] != "assistant":
        return validate_ui_message(message)
    for index, part in enumerate(envelope["parts"]):
        path = f"/parts/{index}"
        if not isinstance(_get(part, "type"), str):
            raise InvalidMessageError("expected a part with a type", path=path)
        if is_tool_part(part):
            state = part.get("state")
            _checked(answer_adapter(state if isinstance(state, str) else ""), part, path)
            if part["type"] == "dynamic-tool":
                _checked(dynamic_tool_adapter(), part, path)
    return envelope


def _message(value: Any, rules: _Rules, path: str) -> UIMessage:
    message = _checked(envelope_adapter(), value, path)
    if not message["parts"] and message["role"] != "assistant":
        raise InvalidMessageError("expected at least one part", path=f"{path}/parts")
    message["parts"] = [_part(part, rules, f"{path}/parts/{index}") for index, part in enumerate(message["parts"])]
    if rules.metadata_schema is not None:
        metadata = _validated(rules.metadata_schema, message.get("metadata"), f"{path}/metadata")
        if metadata is not None or "metadata" in message:
            message["metadata"] = metadata
    return message


def _part(value: Any, rules: _Rules, path: str) -> Any:
    kind = _get(value, "type")
    if not isinstance(kind, str):
        raise InvalidMessageError("expected a part with a type", path=path)
    if kind.startswith("tool-"):
        part = _tool_part(value, path)
        return part if rules.tools is None else _known_tool_part(part, rules.tools, path)
    if kind == "dynamic-tool":
        return {**_tool_part(value, path), **_checked(dynamic_tool_adapter(), value, path)}
    adapter = part_adapter(kind)
    if adapter is None:
        raise InvalidMessageError(f"unknown part type {kind!r}", path=f"{path}/type")
    part = _checked(adapter, value, path)
    if kind.startswith("data-") and rules.data_schemas is not None:
        schema = rules.data_schemas.get(kind.removeprefix("data-"))
        if schema is None:
            raise InvalidMessageError(f"no schema for {kind!r}", path=f"{path}/data")
        part["data"] = _validated(schema, part["data"], f"{path}/data")
    return part


def _tool_part(value: Any, path: str) -> Any:
    state = _get(value, "state")
    adapter = tool_adapter(state) if isinstance(state, str) else None
    if adapter is None:
        raise InvalidMessageError("unknown state of a tool call", path=f"{path}/state")
    return _checked(adapter, value, path)


def _known_tool_part(part: Any, tools: Mapping[str, Validate], path: str) -> Any:
    """Check the input of a static tool part; a finished part that no tool vouches for becomes a dynamic one."""
    name = get_tool_name(part)
    validate = tools.get(name)
    if validate is None:
        if part["state"] in _TERMINAL:
            return _as_dynamic(part, name)
        raise InvalidMessageError(f"no tool {name!r}", path=f"{path}/type")
    approval = part.get("approval", {})
    before_schema = approval.get("inputSchemaInput", _MISSING)
    if part["state"] == "input-streaming":
        return part
    if part["state"] == "output-error" and "input" not in part and before_schema is _MISSING:
        return part
    try:
        checked = _validated(
            validate, part.get("input") if before_schema is _MISSING else before_schema, f"{path}/input"
        )
        if before_schema is not _MISSING and checked != part.get("input"):
            raise InvalidMessageError("does not follow from inputSchemaInput", path=f"{path}/input")
    except InvalidMessageError:
        if part["state"] == "output-error" or (part["state"] == "output-available" and part["input"] == {}):
            return _as_dynamic(part, name)
        raise
    return part


def _as_dynamic(part: Any, name: str) -> Any:
    return {**part, "type": "dynamic-tool", "toolName": name, "dynamic": False}


def _get(value: Any, key: str) -> Any:
    return cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None


def _validated(validate: Validate, value: Any, path: str) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        raise _invalid(error, path) from None
    except (ValueError, TypeError, InvalidInputError, ToolError) as error:
        raise InvalidMessageError(str(error), path=path) from error


def _checked(adapter: TypeAdapter[Any], value: Any, path: str) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise _invalid(error, path) from None


def _invalid(error: ValidationError, path: str) -> InvalidMessageError:
    """The first thing pydantic complains about, without the value, which may be large or private."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"/{key}" for key in first["loc"] if key not in VARIANTS)
    return InvalidMessageError(first["msg"], path=path + where)
