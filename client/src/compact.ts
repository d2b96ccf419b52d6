// What was read of an answer once more, as few chunks as possible: they build the same message and nothing happens twice.

import type { WireChunk } from "./types.js";

const OUTPUTS = new Set(["tool-output-available", "tool-output-error", "tool-output-denied"]);

/**
 * Return chunks that build what the given ones build.
 *
 * Deltas are joined, transient data left out, and data parts come with their last value. Tool calls that have an output
 * come as a streamed input, so that no client takes them for new calls (`onToolCall`); calls without one come as they
 * came.
 */
export function compactChunks(chunks: readonly WireChunk[]): WireChunk[] {
  const lastOutputs = new Map<string, number>();
  const lastInputs = new Map<string, number>();
  const twice = new Set<string>(); // ids that two calls have: their outputs would go astray
  chunks.forEach((chunk, index) => {
    const id: string = chunk["toolCallId"];
    if (OUTPUTS.has(chunk.type)) lastOutputs.set(id, index);
    if (chunk.type !== "tool-input-available") return;
    if (lastInputs.has(id)) twice.add(id);
    lastInputs.set(id, index);
  });
  const compactor = new Compactor();
  chunks.forEach((chunk, index) => {
    const id: string = chunk["toolCallId"];
    const isSettled = index < (lastOutputs.get(id) ?? -1) && !twice.has(id);
    if (chunk.type === "tool-input-available" && isSettled) compactor.addSettledInput(chunk);
    else compactor.add(chunk);
  });
  return compactor.kept;
}

class Compactor {
  readonly kept: WireChunk[] = [];
  readonly #places = new Map<string, number>(); // what a later chunk is joined to -> where it is
  readonly #begun = new Map<string, WireChunk>(); // the open starts of tool inputs

  add(chunk: WireChunk): void {
    const { type } = chunk;
    if (type.startsWith("data-")) {
      if (!chunk["transient"]) this.#addData(chunk);
    } else if (type.endsWith("-delta")) this.#addDelta(chunk);
    else {
      // An id may be used again, and what is begun anew is another part.
      if (chunk["toolCallId"] !== undefined) this.#places.delete(`tool-input-delta ${chunk["toolCallId"]}`);
      else if (type === "reset-step") this.#places.clear();
      else this.#places.delete(`${type.replace(/-(start|end)$/, "-delta")} ${chunk["id"]}`);
      if (type === "tool-input-start") this.#begun.set(chunk["toolCallId"], chunk);
      else if (type === "start-step" || type === "reset-step") this.#begun.clear();
      this.kept.push(chunk);
    }
  }

  /** The whole input as one delta, behind the start that it had or one of its own. */
  addSettledInput({ type: _, input, ...call }: WireChunk): void {
    const toolCallId: string = call["toolCallId"];
    const begun = this.#begun.get(toolCallId);
    const isText = begun?.["inputEncoding"] === "text" && typeof input === "string";
    const start = { type: "tool-input-start", ...call, ...(isText ? { inputEncoding: "text" } : {}) };
    const delta = { type: "tool-input-delta", toolCallId, inputTextDelta: isText ? input : JSON.stringify(input ?? null) };
    this.kept.push(start, delta);
    this.#places.delete(`tool-input-delta ${toolCallId}`);
  }

  #addData(chunk: WireChunk): void {
    const key = chunk["id"] === undefined ? undefined : `${chunk.type} ${chunk["id"]}`;
    const before = this.kept[this.#places.get(key ?? "") ?? -1];
    this.#join(key, before ? { ...before, data: chunk["data"] } : chunk);
  }

  #addDelta(chunk: WireChunk): void {
    const key = `${chunk.type} ${chunk["id"] ?? chunk["toolCallId"]}`;
    const text = chunk.type === "tool-input-delta" ? "inputTextDelta" : "delta";
    const before = this.kept[this.#places.get(key) ?? -1];
    this.#join(key, before ? { ...before, ...chunk, [text]: before[text] + chunk[text] } : chunk);
  }

  /** Put a chunk in the place of the one that it is joined to, or at the end. */
  #join(key: string | undefined, chunk: WireChunk): void {
    const index = this.#places.get(key ?? "");
    if (index !== undefined) this.kept[index] = chunk;
    else {
      this.kept.push(chunk);
      if (key !== undefined) this.#places.set(key, this.kept.length - 1);
    }
  }
}
