"""What an agent takes and gives, as JSON schemas: its actions, its client data, its tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic.json_schema import JsonSchemaValue

from chatrt.agent import ChatAgent
from chatrt.tool_schema import PlainJsonSchema
from chatrt.tools import Tool, tool_map

Schema = Mapping[str, Any]


class _OutputSchema(PlainJsonSchema):
    """Of what comes out: a field with a default is always there."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: FBT001 - the base class's signature
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return not field.get("serialization_exclude")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSchema:
    """A tool, for who reads its calls.

    Attributes:
        output: None where the tool does not say what it gives.
    """

    description: str
    input: Schema
    output: Schema | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSchema:
    """An agent, for who talks to it.

    Attributes:
        takes_actions: Whether there are actions at all.
        action: None where they may be anything.
        client_data: None where they may be anything.
        tools: Those whose shape is known beforehand, by name; None where each turn has tools of its own.
    """

    id: str
    takes_actions: bool
    action: Schema | None
    client_data: Schema | None
    tools: Mapping[str, ToolSchema] | None


def describe_agent(agent: ChatAgent) -> AgentSchema:
    """Return what an agent takes and gives.

    What cannot be described (a type with a validator of its own, for instance) may be anything.
    """
    return AgentSchema(
        id=agent.id,
        takes_actions=agent.hooks.on_action is not None or agent.hooks.serve is not None,
        action=_schema(agent.action_type, "validation"),
        client_data=_schema(agent.client_data_type, "validation"),
        tools=None
        if callable(agent.tools)
        else {name: _describe_tool(tool) for name, tool in tool_map(agent.tools).items() if not tool.dynamic},
    )


def _describe_tool(tool: Tool) -> ToolSchema:
    return ToolSchema(
        description=tool.description, input=tool.input_schema, output=_schema(tool.output_type, "serialization")
    )


def _schema(kind: Any, mode: Literal["validation", "serialization"]) -> JsonSchemaValue | None:
    if kind is None or kind is Any:
        return None
    generator = PlainJsonSchema if mode == "validation" else _OutputSchema
    try:
        schema = TypeAdapter(kind).json_schema(mode=mode, schema_generator=generator)
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None
    schema.pop("title", None)
    return schema
