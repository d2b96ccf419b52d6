// What came of an input: the answer as a whole, its tool calls and how its turn ended.

import { isToolPart } from "../slim.js";
import type { TurnError, TurnStatus, WireMessage, WirePart } from "../types.js";

const SETTLED = new Set(["output-available", "output-error", "output-denied"]);
const WAITING = new Set(["input-available", "approval-requested"]);

/** A call of a tool in an answer. `approvalId` is what `approve` takes. */
export type ToolCall = { toolCallId: string; toolName: string; input: unknown; state: string; approvalId?: string };

/** What came of a call; a denied one has neither output nor error. */
export type ToolResult = { toolCallId: string; toolName: string; output?: unknown; errorText?: string };

/** An answer that is over. */
export type ChatResult = {
  /** The texts of this turn, joined with nothing between. */
  text: string;
  /** The whole message, which may have begun in an earlier turn; undefined when nothing was answered. */
  message: WireMessage | undefined;
  /** The calls this turn made. */
  toolCalls: ToolCall[];
  /** The calls that were settled in this turn, also those made earlier. */
  toolResults: ToolResult[];
  /** The calls that wait for the client: for an output, or for an approval. */
  pendingToolCalls: ToolCall[];
  finishReason: string | undefined;
  /** `injected` for a message that became part of the turn it came in for, `withdrawn` for one that was taken back. */
  status: TurnStatus;
  /** Of a failed or interrupted turn. */
  error: TurnError | undefined;
};

/** Make the result of a turn. `base` is the message that it continued, as it was before. */
export function toResult(
  message: WireMessage | undefined,
  base: WireMessage | undefined,
  end: Pick<ChatResult, "finishReason" | "status" | "error">,
): ChatResult {
  const parts = message?.parts ?? [];
  const before = new Map(base?.parts.filter(isToolPart).map((part) => [part["toolCallId"], part["state"]]));
  // Parts are only ever added at the end, so those beyond the ones it began with are this turn's.
  const own = parts.slice(base?.parts.length ?? 0);
  const settled = parts.filter((part) => isToolPart(part) && SETTLED.has(part["state"]));
  return {
    text: own.map((part) => (part.type === "text" ? part["text"] : "")).join(""),
    message,
    toolCalls: own.filter(isToolPart).map(toCall),
    toolResults: settled.filter((part) => !SETTLED.has(before.get(part["toolCallId"]))).map(toToolResult),
    pendingToolCalls: pendingToolCalls(message),
    ...end,
  };
}

/** The calls of a message that wait for an output or an approval from the client. */
export function pendingToolCalls(message: WireMessage | undefined): ToolCall[] {
  return (message?.parts ?? []).filter((part) => isToolPart(part) && WAITING.has(part["state"])).map(toCall);
}

/** The name of the tool that a part calls. */
export function toolName(part: WirePart): string {
  return part.type === "dynamic-tool" ? part["toolName"] : part.type.slice("tool-".length);
}

function toCall(part: WirePart): ToolCall {
  const { toolCallId, input, state, approval } = part;
  const call = { toolCallId, toolName: toolName(part), input, state };
  return approval?.id === undefined ? call : { ...call, approvalId: approval.id };
}

function toToolResult(part: WirePart): ToolResult {
  const result: ToolResult = { toolCallId: part["toolCallId"], toolName: toolName(part) };
  if ("output" in part) result.output = part["output"];
  if (part["errorText"] !== undefined) result.errorText = part["errorText"];
  return result;
}
