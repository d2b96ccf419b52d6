// The tool parts of a message under construction: where chunks about tool calls go, and what they change there.

import { isToolPart } from "../slim.js";
import type { WireChunk, WirePart } from "../types.js";
import { parsePartialJson } from "./partial-json.js";
import { toolName } from "./result.js";

const STATE_KEYS = ["input", "output", "errorText", "rawInput", "inputEncoding", "preliminary"];

type PartialInput = { text: string; encoding: unknown; name: string; sticky: Record<string, unknown>; isDynamic: boolean };

/** The tool parts among `parts`, a list it shares with its owner and appends to. */
export class ToolParts {
  readonly #parts: WirePart[];
  readonly #partial = new Map<string, PartialInput>();

  /** resumes: whether half-streamed inputs of the last step go on. */
  constructor(parts: WirePart[], resumes = true) {
    this.#parts = parts;
    if (!resumes) return;
    for (const part of this.#step().filter((one) => one["state"] === "input-streaming")) {
      this.#partial.set(part["toolCallId"], {
        text: part["rawInput"] ?? "",
        encoding: part["inputEncoding"],
        name: toolName(part),
        sticky: pick(part, ["title", "toolMetadata"]),
        isDynamic: part.type === "dynamic-tool",
      });
    }
  }

  /** Take a chunk about a tool call. Throws if there is no such call or approval. */
  apply(chunk: WireChunk): void {
    switch (chunk.type) {
      case "tool-input-start":
        return this.#inputStart(chunk);
      case "tool-input-delta":
        return this.#inputDelta(chunk);
      case "tool-input-available":
        return change(this.#getOrAdd(chunk, !!chunk["dynamic"]), "input-available", chunk["toolName"], pick(chunk, ["input"]), chunk);
      case "tool-input-error":
        return this.#inputError(chunk);
      case "tool-output-available":
        return this.#output(chunk, "output-available", ["output", "preliminary"], ["input"]);
      case "tool-output-error":
        return this.#output(chunk, "output-error", ["errorText"], ["input", "rawInput"]);
      case "tool-output-denied":
        this.#get(chunk)["state"] = "output-denied";
        return;
      case "tool-approval-request":
        return this.#approvalRequest(chunk);
      case "tool-approval-response":
        return this.#approvalResponse(chunk);
    }
  }

  #inputStart(chunk: WireChunk): void {
    const encoding: unknown = chunk["inputEncoding"];
    const sticky = pick(chunk, ["title", "toolMetadata"]);
    const isDynamic = !!chunk["dynamic"];
    this.#partial.set(chunk["toolCallId"], { text: "", encoding, name: chunk["toolName"], sticky, isDynamic });
    const fields = encoding === undefined ? {} : { inputEncoding: encoding };
    change(this.#getOrAdd(chunk, isDynamic), "input-streaming", chunk["toolName"], fields, chunk);
  }

  #inputDelta(chunk: WireChunk): void {
    const id: string = chunk["toolCallId"];
    const partial = this.#partial.get(id);
    if (!partial) {
      const missing = `Received tool-input-delta for missing tool call with ID "${id}".`;
      throw new Error(`${missing} Ensure a "tool-input-start" chunk is sent before any "tool-input-delta" chunks.`);
    }
    partial.text += chunk["inputTextDelta"];
    const isNew = !this.#find(id, partial.isDynamic);
    const part = this.#getOrAdd(chunk, partial.isDynamic);
    const input = partial.encoding === "text" ? partial.text : parsePartialJson(partial.text);
    change(
      part,
      "input-streaming",
      partial.name,
      {
        // As upstream: a dynamic part has it from the second delta on.
        ...(isNew && partial.isDynamic ? {} : { rawInput: partial.text }),
        ...(input === undefined ? {} : { input }),
        ...(partial.encoding === undefined ? {} : { inputEncoding: partial.encoding }),
      },
      partial.sticky,
    );
  }

  #inputError(chunk: WireChunk): void {
    const present = this.#step().find((part) => part["toolCallId"] === chunk["toolCallId"]);
    const part = this.#getOrAdd(chunk, present ? present.type === "dynamic-tool" : !!chunk["dynamic"]);
    const { title: _, ...said } = chunk;
    change(part, "output-error", chunk["toolName"], pick(chunk, ["input", "errorText"]), said);
  }

  #output(chunk: WireChunk, state: string, given: string[], kept: string[]): void {
    const part = this.#get(chunk);
    const keys = part.type === "dynamic-tool" ? kept.filter((key) => key !== "rawInput") : kept;
    const said = pick(chunk, ["toolMetadata", "providerExecuted", "providerMetadata"]);
    change(part, state, toolName(part), { ...pick(chunk, given), ...pick(part, keys) }, notNull(said));
  }

  #approvalRequest(chunk: WireChunk): void {
    const part = this.#get(chunk);
    const { approvalDescriptor: descriptor, reason: requestReason, signature } = chunk;
    part["state"] = "approval-requested";
    part["approval"] = {
      id: chunk["approvalId"],
      ...notNull({ descriptor, requestReason, signature }),
      ...("inputSchemaInput" in chunk ? { inputSchemaInput: chunk["inputSchemaInput"] } : {}),
      ...(chunk["isAutomatic"] === true ? { isAutomatic: true } : {}),
    };
  }

  #approvalResponse(chunk: WireChunk): void {
    const id: string = chunk["approvalId"];
    const part = this.#parts.find((one) => isToolPart(one) && one["approval"]?.id === id);
    if (!part) throw new Error(`No tool invocation found for approval ID "${id}".`);
    const { approved, reason, providerExecuted, providerMetadata } = chunk;
    part["state"] = "approval-responded";
    part["approval"] = { ...part["approval"], approved, ...notNull({ reason }) };
    Object.assign(part, notNull({ providerExecuted, callProviderMetadata: providerMetadata }));
  }

  // --- finding

  /** The tool parts of the current step. */
  #step(): WirePart[] {
    const from = this.#parts.findLastIndex((part) => part.type === "step-start") + 1;
    return this.#parts.slice(from).filter(isToolPart);
  }

  #find(id: string, isDynamic: boolean): WirePart | undefined {
    return this.#step().find((part) => part["toolCallId"] === id && (part.type === "dynamic-tool") === isDynamic);
  }

  #getOrAdd(chunk: WireChunk, isDynamic: boolean): WirePart {
    const id: string = chunk["toolCallId"];
    let part = this.#find(id, isDynamic);
    if (!part) this.#parts.push((part = { type: isDynamic ? "dynamic-tool" : "tool-", toolCallId: id }));
    return part;
  }

  /** What an output is about: in the current step first, then anywhere, the newest first. */
  #get(chunk: WireChunk): WirePart {
    const id: string = chunk["toolCallId"];
    const isMeant = (part: WirePart): boolean => isToolPart(part) && part["toolCallId"] === id;
    const part = this.#step().find(isMeant) ?? this.#parts.findLast(isMeant);
    if (!part) throw new Error(`No tool invocation found for tool call ID "${id}".`);
    return part;
  }
}

/** Put a tool part into a state: what a change of state sets anew is given or gone, what is `said` otherwise stays. */
function change(part: WirePart, state: string, name: string, fields: object, said: Record<string, unknown>): void {
  part["state"] = state;
  if (part.type === "dynamic-tool") part["toolName"] = name;
  else part.type = `tool-${name}`;
  for (const key of STATE_KEYS) delete part[key];
  Object.assign(part, fields, pick(said, ["title", "toolMetadata"]));
  if (said["providerExecuted"] !== undefined) part["providerExecuted"] = said["providerExecuted"];
  if (said["providerMetadata"] === undefined) return;
  const isResult = state === "output-available" || state === "output-error";
  part[isResult ? "resultProviderMetadata" : "callProviderMetadata"] = said["providerMetadata"];
}

function pick(source: Record<string, unknown>, keys: string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => key in source).map((key) => [key, source[key]]));
}

function notNull(source: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(source).filter(([, value]) => value != null));
}
