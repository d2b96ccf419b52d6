// What was read of an answer once more, as few chunks as possible: they build the same message and nothing happens twice.

import type { WireChunk } from "./types.js";

const OUTPUTS = new Set(["tool-output-available", "tool-output-error", "tool-output-denied"]);

/**
 * Return chunks that build what the given ones build.
 *
 * Deltas are joined, transient data and what a `reset-step` took back are left out, and data parts come with their last
 * value. Tool calls that have an output come as a streamed input, so that no client takes them for new calls
 * (`onToolCall`); calls without one come as they came.
 */
export function compactChunks(chunks: readonly WireChunk[]): WireChunk[] {
  const settled = new Set(chunks.filter((chunk) => OUTPUTS.has(chunk.type)).map((chunk) => chunk["toolCallId"]));
  const kept: WireChunk[] = [];
  const places = new Map<string, number>(); // what a later chunk may be joined to -> its index in `kept`
  let step = 0;
  for (const chunk of chunks) {
    const { type } = chunk;
    if (type.startsWith("data-")) addData(chunk, kept, places);
    else if (type.endsWith("-delta")) addDelta(chunk, kept, places);
    else if (type === "reset-step") {
      kept.length = step;
      for (const [key, index] of places) if (index >= step) places.delete(key);
    } else if (type === "tool-input-available" && settled.has(chunk["toolCallId"])) {
      addSettledInput(chunk, kept, places);
    } else {
      kept.push(chunk);
      if (type === "start-step") step = kept.length;
      if (type === "tool-input-start") places.delete(`tool-input-delta ${chunk["toolCallId"]}`);
      else if ("id" in chunk) places.delete(`${type.replace(/-(start|end)$/, "-delta")} ${chunk["id"]}`);
    }
  }
  return kept;
}

function addDelta(chunk: WireChunk, kept: WireChunk[], places: Map<string, number>): void {
  const key = `${chunk.type} ${chunk["id"] ?? chunk["toolCallId"]}`;
  const text = chunk.type === "tool-input-delta" ? "inputTextDelta" : "delta";
  const index = places.get(key);
  const before = index === undefined ? undefined : kept[index];
  if (index !== undefined && before) kept[index] = { ...before, ...chunk, [text]: before[text] + chunk[text] };
  else places.set(key, kept.push(chunk) - 1);
}

function addData(chunk: WireChunk, kept: WireChunk[], places: Map<string, number>): void {
  if (chunk["transient"]) return;
  const key = `${chunk.type} ${chunk["id"]}`;
  const index = chunk["id"] === undefined ? undefined : places.get(key);
  if (index !== undefined) kept[index] = { ...kept[index], ...chunk };
  else places.set(key, kept.push(chunk) - 1);
}

function addSettledInput(chunk: WireChunk, kept: WireChunk[], places: Map<string, number>): void {
  const { input, type: _, ...call } = chunk;
  const key = `tool-input-delta ${chunk["toolCallId"]}`;
  const delta = { type: "tool-input-delta", toolCallId: chunk["toolCallId"], inputTextDelta: JSON.stringify(input) };
  const index = places.get(key);
  if (index !== undefined) kept[index] = delta;
  else {
    const begun = kept.some((one) => one.type === "tool-input-start" && one["toolCallId"] === chunk["toolCallId"]);
    if (!begun) kept.push({ type: "tool-input-start", ...call });
    kept.push(delta);
  }
  places.delete(key);
}
