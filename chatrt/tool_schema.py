"""The schema of a tool's arguments, read from a function's signature and docstring."""

from __future__ import annotations

import dis
import inspect
import re
import sys
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Annotated, Any, ForwardRef, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from chatrt.errors import UsageError

_SECTION = re.compile(
    r"^(args|arguments|parameters|returns?|yields?|raises|examples?|notes?|attributes)\s*:\s*$", re.IGNORECASE
)
_WRAPPERS = frozenset({AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Coroutine})
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


class PlainJsonSchema(GenerateJsonSchema):
    """JSON schema without the titles pydantic makes up from names: they cost tokens and say nothing."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - typed by the base class

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What a function takes from a model.

    Attributes:
        model: A pydantic model with one field for each argument; the fields' aliases are the arguments' names.
        names: From field name to argument name.
        schema: The JSON schema.
        context: The name of the parameter that takes the tool context, if there is one.
    """

    model: type[BaseModel]
    names: Mapping[str, str]
    schema: JsonSchemaValue
    context: str | None

    def validate(self, value: Any) -> dict[str, Any]:
        """Return the arguments by name; those left out are left out.

        Raises:
            pydantic.ValidationError: If the value does not fit.
        """
        fields = self.model.model_validate(value)
        return {self.names[name]: getattr(fields, name) for name in fields.model_fields_set}


def read_arguments(function: Callable[..., Any], context_type: type, local_names: Mapping[str, Any]) -> Arguments:
    """Read what a function takes.

    Args:
        function: A function, method or other callable.
        context_type: A parameter annotated with this type is injected and not shown to the model.
        local_names: Where annotations that are texts are looked up besides the function's module.

    Raises:
        UsageError: If the signature has `*args`, positional-only parameters, `Field` as a default, or annotations that
            cannot be resolved.
    """
    _, described = parse_docstring(inspect.getdoc(function) or "")
    names: dict[str, str] = {}
    fields: dict[str, Any] = {}
    context: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"{_name(function)}: a tool's parameters are named one by one, not {parameter}")
        if isinstance(parameter.default, FieldInfo):
            raise UsageError(f"{_name(function)}: write {parameter.name}: Annotated[..., Field(...)], not = Field(...)")
        annotation = _resolve(parameter.annotation, function, local_names)
        if annotation is context_type:
            context = parameter.name
            continue
        # Field names of our own, with the real ones as aliases: a parameter may be called `schema` or `_x`.
        field_name = f"argument_{len(names)}"
        names[field_name] = parameter.name
        fields[field_name] = _field(parameter, annotation, described.get(parameter.name))
    config = ConfigDict(extra="forbid")
    model = create_model("Arguments", __config__=config, **fields)
    return Arguments(model=model, names=names, schema=plain_schema(model), context=context)


def read_output(function: Callable[..., Any], local_names: Mapping[str, Any]) -> Any:
    """Read what a function gives: its return annotation, of a generator what it yields.

    Returns:
        A type; None where nothing is said, or what is said cannot be resolved.
    """
    try:
        annotation = _resolve(inspect.signature(function).return_annotation, function, local_names)
    except UsageError:
        return None
    if annotation is inspect.Signature.empty:
        return None
    if typing.get_origin(annotation) in _WRAPPERS:
        arguments = typing.get_args(annotation)
        annotation = arguments[-1 if typing.get_origin(annotation) is Coroutine else 0]
    return type(None) if annotation is None else annotation


def plain_schema(model: type[BaseModel]) -> JsonSchemaValue:
    """Return a model's JSON schema without made-up titles."""
    schema = model.model_json_schema(schema_generator=PlainJsonSchema)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema


def parse_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a Google-style docstring into the text before its first section, and what its Args section says of each."""
    description: list[str] = []
    arguments: dict[str, str] = {}
    section = current = ""
    indent = -1
    for line in docstring.splitlines():
        stripped = line.strip()
        if header := _SECTION.match(stripped):
            section, indent, current = header[1].lower(), -1, ""
        elif not section:
            description.append(line)
        elif section in {"args", "arguments", "parameters"} and stripped:
            depth = len(line) - len(line.lstrip())
            indent = depth if indent < 0 else indent
            entry = _ARGUMENT.match(stripped) if depth <= indent else None
            if entry:
                current = entry[1]
                arguments[current] = entry[2]
            elif current:
                arguments[current] = f"{arguments[current]} {stripped}".strip()
    return "\n".join(description).strip(), arguments


def has_body(function: Callable[..., Any]) -> bool:
    """Tell whether a function does anything: a body of only `...`, `pass` or a docstring does nothing."""
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType):
        return True
    return _instructions(plain.__code__) not in _EMPTY


def explain(error: Exception) -> str:
    """Say what is wrong with a value: for pydantic one clause for each problem, else the exception's name and text."""
    if isinstance(error, ValidationError):
        clauses = [
            f"{'.'.join(str(step) for step in problem['loc'])}: {problem['msg']}" if problem["loc"] else problem["msg"]
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        return f"ValidationError: {'; '.join(clauses)}"
    return f"{type(error).__name__}: {error}"


def _field(parameter: inspect.Parameter, annotation: Any, description: str | None) -> tuple[Any, Any]:
    if annotation is parameter.empty:
        annotation = Any
    if description and not _is_described(annotation):
        annotation = Annotated[annotation, Field(description=description)]
    if parameter.default is parameter.empty:
        return annotation, Field(alias=parameter.name)
    return annotation, Field(default=parameter.default, alias=parameter.name)


def _is_described(annotation: Any) -> bool:
    metadata = cast("tuple[Any, ...]", getattr(annotation, "__metadata__", ()))
    return any(isinstance(item, FieldInfo) and item.description for item in metadata)


def _resolve(annotation: Any, function: Callable[..., Any], local_names: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    plain = inspect.unwrap(function.__func__ if isinstance(function, MethodType) else function)
    module_names = getattr(plain, "__globals__", None) or vars(sys.modules[plain.__module__])
    holder = FunctionType(_empty.__code__, {})
    holder.__annotations__ = {"value": ForwardRef(annotation)}
    try:
        return typing.get_type_hints(holder, module_names, dict(local_names), include_extras=True)["value"]
    except Exception as error:
        raise UsageError(f"{_name(function)}: cannot resolve the annotation {annotation!r}: {error}") from error


def _name(function: Callable[..., Any]) -> str:
    return cast("str", getattr(function, "__qualname__", repr(function)))


def _instructions(code: CodeType) -> list[tuple[str, Any]]:
    # The position of None among the constants differs with a docstring, so values are compared, not indices.
    return [
        (instruction.opname, instruction.argval)
        for instruction in dis.get_instructions(code)
        if instruction.opname not in {"NOP", "RESUME", "CACHE"}
    ]


def _empty() -> None: ...


async def _empty_async() -> None: ...


_EMPTY = (_instructions(_empty.__code__), _instructions(_empty_async.__code__))
