// From a message back to chunks: what a client that joins late needs to have the message as it stood.

import { isToolPart } from "./slim.js";
import type { WireChunk, WireMessage, WirePart } from "./types.js";

const WHOLE_PARTS: Record<string, string[]> = {
  file: ["url", "mediaType", "providerMetadata"],
  "reasoning-file": ["url", "mediaType", "providerMetadata"],
  "source-url": ["sourceId", "url", "title", "providerMetadata"],
  "source-document": ["sourceId", "mediaType", "title", "filename", "providerMetadata"],
  custom: ["kind", "providerMetadata"],
  "steering-message": ["id", "parts"],
};

/**
 * Return chunks that build the parts and metadata of a message, behind a `start`.
 *
 * Tool calls that are settled come as a streamed input and an output, so that no client takes them for new calls.
 */
export function rebuildChunks(message: WireMessage): WireChunk[] {
  const chunks: WireChunk[] = [];
  if (message.metadata != null) chunks.push({ type: "message-metadata", messageMetadata: message.metadata });
  let inStep = false;
  message.parts.forEach((part, index) => {
    const { type } = part;
    const whole = WHOLE_PARTS[type];
    if (type === "step-start") {
      chunks.push(...(inStep ? [{ type: "finish-step" }] : []), { type: "start-step" });
      inStep = true;
    } else if (type === "text" || type === "reasoning") chunks.push(...block(part, part["id"] ?? `replay-${index}`));
    else if (type.startsWith("data-")) chunks.push({ type, ...given(part, ["id"]), data: part["data"] });
    else if (isToolPart(part)) chunks.push(...toolCall(part));
    else if (whole) chunks.push({ type, ...given(part, whole) });
  });
  if (inStep) chunks.push({ type: "finish-step" });
  return chunks;
}

function block(part: WirePart, id: string): WireChunk[] {
  const { type } = part;
  const chunks: WireChunk[] = [{ type: `${type}-start`, id, ...given(part, ["providerMetadata"]) }];
  if (part["text"]) chunks.push({ type: `${type}-delta`, id, delta: part["text"] });
  if (part["state"] !== "streaming") chunks.push({ type: `${type}-end`, id, ...given(part, ["citations"]) });
  return chunks;
}

/** The chunks of one tool call, on the way that leads to its state. */
function toolCall(part: WirePart): WireChunk[] {
  const state: string = part["state"];
  const approval = approvalChunks(part);
  const available: WireChunk = { type: "tool-input-available", ...callOf(part), input: part["input"] ?? null };
  const start: WireChunk = { type: "tool-input-start", ...callOf(part) };
  if (state === "input-streaming") return [start, ...approval, ...(approval.length ? [start] : []), ...inputDelta(part)];
  if (state === "input-available") return approval.length ? [start, ...approval, available] : [available];
  if (state.startsWith("approval-")) return [available, ...approval];
  return [start, ...inputDelta(part), ...approval, outcome(part)];
}

function inputDelta(part: WirePart): WireChunk[] {
  const raw: unknown = part["rawInput"];
  const isText = part["state"] === "input-streaming" && typeof raw === "string";
  const value = part["input"] !== undefined ? part["input"] : raw;
  if (!isText && value === undefined) return [];
  const inputTextDelta = isText ? raw : part["input"] === undefined && typeof raw === "string" ? raw : JSON.stringify(value);
  return [{ type: "tool-input-delta", toolCallId: part["toolCallId"], inputTextDelta }];
}

function callOf(part: WirePart): Record<string, unknown> {
  const isDynamic = part.type === "dynamic-tool";
  return {
    toolCallId: part["toolCallId"],
    toolName: isDynamic ? part["toolName"] : part.type.slice("tool-".length),
    ...given(part, ["providerExecuted", "title", "toolMetadata"]),
    ...(isDynamic ? { dynamic: true } : {}),
    ...(part["callProviderMetadata"] ? { providerMetadata: part["callProviderMetadata"] } : {}),
  };
}

function approvalChunks(part: WirePart): WireChunk[] {
  const approval: WirePart | undefined = part["approval"];
  if (!approval) return [];
  const { descriptor, requestReason, approved, reason } = approval as Record<string, unknown>;
  const request: WireChunk = {
    type: "tool-approval-request",
    approvalId: approval["id"],
    toolCallId: part["toolCallId"],
    ...(descriptor === undefined ? {} : { approvalDescriptor: descriptor }),
    ...(requestReason === undefined ? {} : { reason: requestReason }),
    ...given(approval, ["isAutomatic", "signature", "inputSchemaInput"]),
  };
  if (approved === undefined) return [request];
  const response = { type: "tool-approval-response", approvalId: approval["id"], approved };
  return [request, reason === undefined ? response : { ...response, reason }];
}

function outcome(part: WirePart): WireChunk {
  const toolCallId: unknown = part["toolCallId"];
  if (part["state"] === "output-denied") return { type: "tool-output-denied", toolCallId };
  // v5 finds a dynamic part only by this flag; later versions do not look at it.
  const common = {
    ...(part.type === "dynamic-tool" ? { dynamic: true } : {}),
    ...(part["resultProviderMetadata"] ? { providerMetadata: part["resultProviderMetadata"] } : {}),
  };
  if (part["state"] === "output-error") {
    return { type: "tool-output-error", toolCallId, errorText: part["errorText"] ?? "", ...common };
  }
  const output: unknown = part["output"] ?? null;
  return { type: "tool-output-available", toolCallId, output, ...common, ...given(part, ["preliminary"]) };
}

function given(source: WirePart, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => source[key] != null).map((key) => [key, source[key]]));
}
