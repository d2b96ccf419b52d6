// The one message that is new: a user message, or of an assistant message the tool parts that the client advanced.

import type { WireMessage, WirePart } from "./types.js";

const ADVANCED = new Set(["output-available", "output-error", "approval-responded"]);
const ANSWER_KEYS = ["type", "toolCallId", "toolName", "state", "output", "errorText", "approval"];

/** Whether a part is a tool call. */
export function isToolPart(part: WirePart): boolean {
  return part.type === "dynamic-tool" || part.type.startsWith("tool-");
}

/**
 * The message that a request is about: the one that `messageId` names, else the last one.
 *
 * An approval may be given in an earlier assistant message: then later ones follow it.
 */
export function newestMessage<M extends WireMessage>(messages: readonly M[], messageId?: string): M | undefined {
  return messages.findLast((message) => message.id === messageId) ?? messages.at(-1);
}

/** What the server needs of a message: an assistant message without inputs, texts and everything it said itself. */
export function slimMessage(message: WireMessage): WireMessage {
  const { id, role, metadata } = message;
  if (role !== "assistant") {
    return { id, role, parts: message.parts, ...(metadata === undefined ? {} : { metadata }) };
  }
  const parts = message.parts.filter(isAdvanced);
  return parts.length ? { id, role, parts: parts.map(slimPart) } : message;
}

function isAdvanced(part: WirePart): boolean {
  return isToolPart(part) && ADVANCED.has(part["state"]) && !part["preliminary"] && !part["providerExecuted"];
}

function slimPart(part: WirePart): WirePart {
  const slim: WirePart = { type: part.type };
  for (const key of ANSWER_KEYS) if (part[key] !== undefined) slim[key] = part[key];
  if (part["state"] !== "approval-responded") delete slim["approval"];
  else slim["approval"] = pickApproval(part["approval"]);
  return slim;
}

function pickApproval({ id, approved, reason }: Record<string, unknown>): Record<string, unknown> {
  return { id, approved, ...(reason === undefined ? {} : { reason }) };
}

/** A user message out of a text or a message. */
export function userMessage(said: string | (Partial<WireMessage> & Pick<WireMessage, "parts">), id: string): WireMessage {
  if (typeof said === "string") return { id, role: "user", parts: [{ type: "text", text: said }] };
  return { ...slimMessage({ ...said, id: said.id ?? id, role: "user" }) };
}
