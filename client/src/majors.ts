// Which chunks and fields each major version of the `ai` package reads.
//
// The native wire sends everything that ai 7.0.173 knows. An older reducer passes over types it does not know, but what
// it makes of half of a newer feature may be wrong: an approval that a policy decided by itself would ask a person.

import type { WireChunk } from "./types.js";

/** A major version of the `ai` package. */
export type Major = 5 | 6 | 7;

const SINCE_6 = new Set(["tool-approval-request", "tool-output-denied"]);
const SINCE_7 = new Set(["tool-approval-response", "custom", "reasoning-file", "reset-step", "steering-message"]);

const FIELDS_SINCE_6 = ["title", "toolMetadata", "inputEncoding"];

/** Returns a chunk as that version reads it, undefined if it is to be left out; the same object if all of it is read. */
export function toMajor(chunk: WireChunk, major: Major): WireChunk | undefined {
  const { type } = chunk;
  if (major === 7) return chunk;
  if (SINCE_7.has(type) || (major === 5 && SINCE_6.has(type))) return undefined;
  if (type === "tool-approval-request" && chunk["isAutomatic"]) return undefined;
  if (type === "finish" && chunk["finishReason"] === "interrupted") return { ...chunk, finishReason: "other" };
  if (type === "text-end" && "citations" in chunk) return without(chunk, ["citations"]);
  if (major === 5 && type.startsWith("tool-")) return without(chunk, FIELDS_SINCE_6);
  if (major === 5 && type === "abort") return without(chunk, ["reason"]);
  return chunk;
}

function without(chunk: WireChunk, keys: string[]): WireChunk {
  if (!keys.some((key) => key in chunk)) return chunk;
  return Object.fromEntries(Object.entries(chunk).filter(([key]) => !keys.includes(key))) as WireChunk;
}
