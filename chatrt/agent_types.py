"""The TypeScript declarations of agents: a `.d.ts` for the clients that talk to them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from chatrt.agent import ChatAgent
from chatrt.agent_schema import AgentSchema, Schema, ToolSchema, describe_agent
from chatrt.typescript import TypeWriter, doc_comment, key_name

_HEAD = "// Written by `chatrt types`: what the agents take and give. Write it again when they change."
_IMPORT = 'import type { UIDataTypes, UIMessage } from "ai";'

_ALIASES = """\
/** The ids of the agents. */
export type AgentId = keyof Agents;

/** The actions of an agent. */
export type AgentAction<Id extends AgentId> = Agents[Id]["action"];

/** What goes along with the messages for an agent, as `clientData`. */
export type AgentClientData<Id extends AgentId> = Agents[Id]["clientData"];

/** The tools of an agent, as the type parameter of `UIMessage` has them. */
export type AgentTools<Id extends AgentId> = Agents[Id]["tools"];

/** The data parts that chatrt itself puts into answers. */
export type ChatrtDataParts = {
  compaction: { status: "compacting" | "complete" | "failed"; totalTokens?: number };
  "pending-message-injected": {
    messageIds: string[];
    messages: { id: string; text: string; parts: unknown[] }[];
    modelMessages?: unknown[];
  };
  "tool-approval-request": { approvalId: string; toolCallId: string; reason?: string; approvalDescriptor?: unknown };
};"""

_MESSAGE = """\
/** The messages of a chat with an agent: `useChat<AgentMessage<"id">>`. */
export type AgentMessage<
  Id extends AgentId,
  Metadata = unknown,
  DataParts extends UIDataTypes = UIDataTypes,
> = UIMessage<Metadata, DataParts, AgentTools<Id>>;"""

_RESERVED = (
    *("Agents", "AgentId", "AgentAction", "AgentClientData", "AgentTools", "AgentMessage", "ChatrtDataParts"),
    *("UIDataTypes", "UIMessage", "Record", "Array", "Date", "Map", "Set", "Object", "String", "Number", "Boolean"),
    *("string", "number", "boolean", "unknown", "never", "any", "object"),
    *("null", "undefined", "void", "symbol", "bigint"),
)  # fmt: skip


def declare_agents(agents: Sequence[ChatAgent], *, ai_sdk: bool = True) -> str:
    """Return the declarations of these agents; the same for the same agents, byte for byte.

    Args:
        agents: The agents.
        ai_sdk: Also declare their messages, as the package `ai` has them; it is imported for that.
    """
    writer = TypeWriter(_RESERVED)
    members = [line for agent in agents for line in _declare_agent(describe_agent(agent), writer)]
    blocks = [
        _HEAD,
        *([_IMPORT] if ai_sdk else ()),
        "\n".join(["/** The agents, by id. */", "export interface Agents {", *_indented(members), "}"]),
        _ALIASES,
        *([_MESSAGE] if ai_sdk else ()),
        "\n".join(writer.declarations()).strip(),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _declare_agent(agent: AgentSchema, writer: TypeWriter) -> list[str]:
    stem = "".join(piece[:1].upper() + piece[1:] for piece in agent.id.replace(".", "-").replace("_", "-").split("-"))
    action = _type(agent.action, f"{stem}Action", writer) if agent.takes_actions else "never"
    return [
        f"{key_name(agent.id)}: {{",
        *_indented([f"action: {action};", f"clientData: {_type(agent.client_data, f'{stem}ClientData', writer)};"]),
        *_indented(_declare_tools(agent, stem, writer)),
        "};",
    ]


def _declare_tools(agent: AgentSchema, stem: str, writer: TypeWriter) -> list[str]:
    if agent.tools is None:
        return [
            "/** Each turn has tools of its own. */",
            "tools: { [name: string]: { input: unknown; output: unknown } };",
        ]
    if not agent.tools:
        return ["tools: {};"]
    members = [line for name, tool in agent.tools.items() for line in _declare_tool(name, tool, stem, writer)]
    return ["tools: {", *_indented(members), "};"]


def _declare_tool(name: str, tool: ToolSchema, stem: str, writer: TypeWriter) -> list[str]:
    called = f"{stem}_{name}"
    return [
        *doc_comment(tool.description),
        f"{key_name(name)}: {{",
        *_indented([f"input: {_type(tool.input, f'{called}_input', writer)};"]),
        *_indented([f"output: {_type(tool.output, f'{called}_output', writer)};"]),
        "};",
    ]


def _type(schema: Schema | None, name: str, writer: TypeWriter) -> str:
    return "unknown" if schema is None else writer.type_of(dict(schema), name)


def _indented(lines: list[str]) -> list[str]:
    return [indent(line, "  ") for line in lines]
