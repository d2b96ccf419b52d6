// The reducer: from chunks to the message they build, as ai 7.0.173 does it.

import { isToolPart } from "../slim.js";
import type { WireChunk, WireMessage, WirePart } from "../types.js";
import { toolName } from "./result.js";
import { ToolParts } from "./tool-parts.js";

const WHOLE_PARTS: Record<string, string[]> = {
  file: ["mediaType", "url", "providerMetadata"],
  "reasoning-file": ["mediaType", "url", "providerMetadata"],
  "source-url": ["sourceId", "url", "title", "providerMetadata"],
  "source-document": ["sourceId", "mediaType", "title", "filename", "providerMetadata"],
  custom: ["kind", "providerMetadata"],
  "steering-message": ["id", "parts"],
};

/** Builds one assistant message from chunks; chunks and messages given to it are never changed. */
export class MessageReducer {
  /** The message as it stands now; it goes on changing, `snapshot` does not. */
  message: WireMessage;
  readonly #blocks = new Map<string, WirePart>(); // "text id" or "reasoning id" -> the part that is open
  #tools: ToolParts;

  /** message: the message to continue, if it is an assistant message. id: of a new one, until a `start` names another. */
  constructor(message: WireMessage | undefined, id: string) {
    this.message =
      message?.role === "assistant"
        ? { ...message, parts: message.parts.map((part) => ({ ...part })) }
        : { id, role: "assistant", parts: [] };
    this.#tools = new ToolParts(this.message.parts);
  }

  /** Take one chunk; returns whether the message is now another one for those who watch it. */
  apply(chunk: WireChunk): boolean {
    const { type } = chunk;
    const block = /^(text|reasoning)-(start|delta|end)$/.exec(type);
    if (block) this.#block(chunk, block[1] as string, block[2] as string);
    else if (type.startsWith("tool-")) this.#tools.apply(chunk);
    else if (type.startsWith("data-")) return this.#data(chunk);
    else if (type === "start") return this.#start(chunk);
    else if (type === "finish" || type === "message-metadata") return this.#mergeMetadata(chunk);
    else if (type === "start-step") {
      this.message.parts.push({ type: "step-start" });
      return false;
    } else if (type === "reset-step") return this.#resetStep();
    else return this.#whole(chunk);
    return true;
  }

  /** The message as it stands now, untouched by what comes later. Values inside of parts are shared with the chunks. */
  snapshot(): WireMessage {
    return { ...this.message, parts: this.message.parts.map((part) => ({ ...part })) };
  }

  #block(chunk: WireChunk, kind: string, phase: string): void {
    const key = `${kind} ${chunk["id"]}`;
    let part = this.#blocks.get(key);
    if (phase === "start") {
      part = kind === "text" ? { type: kind } : { type: kind, id: chunk["id"] };
      Object.assign(part, { text: "", state: "streaming" });
      this.message.parts.push(part);
      this.#blocks.set(key, part);
    }
    if (!part) {
      const missing = `Received ${chunk.type} for missing ${kind} part with ID "${chunk["id"]}".`;
      throw new Error(`${missing} Ensure a "${kind}-start" chunk is sent before any "${chunk.type}" chunks.`);
    }
    if (phase === "delta") part["text"] += chunk["delta"];
    if (phase === "end") {
      part["state"] = "done";
      if (chunk["citations"] != null) part["citations"] = chunk["citations"];
      this.#blocks.delete(key);
    }
    if (chunk["providerMetadata"] != null) part["providerMetadata"] = chunk["providerMetadata"];
  }

  #data(chunk: WireChunk): boolean {
    if (chunk["transient"]) return false;
    const { type, id } = chunk;
    const known = id == null ? undefined : this.message.parts.find((part) => part.type === type && part["id"] === id);
    if (known) known["data"] = chunk["data"];
    else this.message.parts.push({ ...chunk });
    return true;
  }

  #start(chunk: WireChunk): boolean {
    if (chunk["messageId"] != null) this.message.id = chunk["messageId"];
    return this.#mergeMetadata(chunk) || chunk["messageId"] != null;
  }

  #mergeMetadata(chunk: WireChunk): boolean {
    const metadata: unknown = chunk["messageMetadata"];
    if (metadata == null) return false;
    this.message.metadata = this.message.metadata == null ? metadata : merged(this.message.metadata, metadata);
    return true;
  }

  #resetStep(): boolean {
    const { parts } = this.message;
    const from = parts.findLastIndex((part) => part.type === "step-start") + 1;
    this.#blocks.clear();
    const dropped = parts.splice(from).length > 0;
    this.#tools = new ToolParts(parts, false);
    return dropped;
  }

  #whole(chunk: WireChunk): boolean {
    const keys = WHOLE_PARTS[chunk.type];
    if (!keys) return false;
    const part: WirePart = { type: chunk.type };
    for (const key of keys) if (chunk[key] !== undefined) part[key] = chunk[key];
    this.message.parts.push(part);
    return true;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function merged(base: unknown, more: unknown): unknown {
  if (!isObject(more)) return more;
  const result: Record<string, unknown> = isObject(base) ? { ...base } : {};
  for (const [key, value] of Object.entries(more)) {
    if (key === "__proto__" || key === "constructor" || key === "prototype") continue;
    result[key] = isObject(value) && isObject(result[key]) ? merged(result[key], value) : value;
  }
  return result;
}

/**
 * The message of a stopped or crashed turn as it truthfully is: texts are closed, half inputs gone, and calls that may
 * have started are errors. Calls of the tools named in `clientTools` stay open: they are the client's to answer.
 */
export function cleanUp(message: WireMessage, clientTools: ReadonlySet<string>): WireMessage {
  const parts = message.parts.flatMap((part) => {
    const state: unknown = part["state"];
    if (!isToolPart(part)) return state === "streaming" ? [{ ...part, state: "done" }] : [part];
    if (state === "input-streaming") return [];
    const isOpen = state === "input-available" && (part["providerExecuted"] || !clientTools.has(toolName(part)));
    if (!isOpen && !(state === "output-available" && part["preliminary"])) return [part];
    const { output: _, preliminary: __, ...kept } = part;
    return [{ ...kept, state: "output-error", errorText: "interrupted" }];
  });
  return { ...message, parts };
}
