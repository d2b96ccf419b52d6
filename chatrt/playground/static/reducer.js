// The reducer: UI message chunks (as ai 7.0.173 has them) applied to the message they build.
//
// A part that changes is replaced by a new object, so a view that compares references redraws only what changed.

/** Make an empty assistant message. */
export function emptyMessage(id) {
  return { id, role: "assistant", parts: [] };
}

/** Return what stands in the JSON text so far, or undefined while it cannot be read. */
function readable(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function merged(old, more) {
  if (more === null || typeof more !== "object" || Array.isArray(more)) return more;
  const result = old !== null && typeof old === "object" && !Array.isArray(old) ? { ...old } : {};
  for (const [key, value] of Object.entries(more)) {
    if (!["__proto__", "constructor", "prototype"].includes(key)) result[key] = merged(result[key], value);
  }
  return result;
}

/** Whether a part is a tool call. */
export function isTool(part) {
  return part.type === "dynamic-tool" || part.type.startsWith("tool-");
}

/** The name of the tool a part calls. */
export function toolName(part) {
  return part.type === "dynamic-tool" ? part.toolName : part.type.slice("tool-".length);
}

/** Where the parts of the current step begin. */
export function stepStart(parts) {
  return parts.findLastIndex((part) => part.type === "step-start") + 1;
}

/** Applies the chunks of one turn to `message` (an assistant message, perhaps with parts from earlier turns). */
export class Reducer {
  #open = new Map(); // "text:id" or "reasoning:id" -> index of the part
  #inputs = new Map(); // toolCallId -> JSON text so far

  constructor(message) {
    this.message = message;
  }

  #push(part) {
    return this.message.parts.push(part) - 1;
  }

  #change(index, change) {
    const parts = this.message.parts;
    if (parts[index]) parts[index] = { ...parts[index], ...change };
  }

  #metadata(value) {
    if (value !== undefined && value !== null) this.message.metadata = merged(this.message.metadata, value);
  }

  #findTool(matches) {
    const parts = this.message.parts;
    const from = stepStart(parts);
    const here = parts.findIndex((part, index) => index >= from && isTool(part) && matches(part));
    return here >= 0 ? here : parts.findLastIndex((part) => isTool(part) && matches(part));
  }

  #tool(chunk, change) {
    const parts = this.message.parts;
    const from = stepStart(parts);
    const type = chunk.dynamic ? "dynamic-tool" : `tool-${chunk.toolName}`;
    const known = parts.findIndex((p, at) => at >= from && isTool(p) && p.toolCallId === chunk.toolCallId);
    const base = { type, toolCallId: chunk.toolCallId, ...(chunk.dynamic && { toolName: chunk.toolName }) };
    if (known >= 0) this.#change(known, { ...base, ...change });
    else this.#push({ ...base, ...change });
  }

  #output(chunk, change) {
    this.#change(this.#findTool((part) => part.toolCallId === chunk.toolCallId), change);
  }

  /** Apply one chunk; kinds that are not known are left alone. */
  apply(chunk) {
    const block = /^(text|reasoning)-(start|delta|end)$/.exec(chunk.type);
    if (block) this.#block(chunk, block[1], block[2]);
    else if (chunk.type.startsWith("tool-")) this.#toolChunk(chunk);
    else if (chunk.type.startsWith("data-")) this.#data(chunk);
    else this.#plain(chunk);
  }

  #block(chunk, kind, phase) {
    const key = `${kind}:${chunk.id}`;
    const index = this.#open.get(key);
    if (phase === "start") this.#open.set(key, this.#push({ type: kind, text: "", state: "streaming" }));
    else if (index === undefined) return;
    else if (phase === "delta") this.#change(index, { text: this.message.parts[index].text + chunk.delta });
    else {
      this.#change(index, { state: "done" });
      this.#open.delete(key);
    }
  }

  #toolChunk(chunk) {
    switch (chunk.type) {
      case "tool-input-start":
        this.#inputs.set(chunk.toolCallId, "");
        return this.#tool(chunk, { state: "input-streaming", input: undefined });
      case "tool-input-delta": {
        const text = (this.#inputs.get(chunk.toolCallId) ?? "") + chunk.inputTextDelta;
        this.#inputs.set(chunk.toolCallId, text);
        return this.#output(chunk, { state: "input-streaming", input: readable(text), rawInput: text });
      }
      case "tool-input-available":
        return this.#tool(chunk, { state: "input-available", input: chunk.input, rawInput: undefined });
      case "tool-input-error":
        return this.#tool(chunk, { state: "output-error", input: chunk.input, errorText: chunk.errorText });
      case "tool-output-available":
        return this.#output(chunk, {
          state: "output-available", output: chunk.output, errorText: undefined, preliminary: chunk.preliminary,
        });
      case "tool-output-error":
        return this.#output(chunk, { state: "output-error", errorText: chunk.errorText, output: undefined });
      case "tool-output-denied":
        return this.#output(chunk, { state: "output-denied" });
      case "tool-approval-request":
        return this.#output(chunk, { state: "approval-requested", approval: { id: chunk.approvalId } });
      case "tool-approval-response": {
        const index = this.#findTool((part) => part.approval?.id === chunk.approvalId);
        const { approvalId: id, approved, reason } = chunk;
        return this.#change(index, { state: "approval-responded", approval: { id, approved, reason } });
      }
    }
  }

  #data(chunk) {
    if (chunk.transient) return;
    const index = chunk.id === undefined
      ? -1
      : this.message.parts.findIndex((part) => part.type === chunk.type && part.id === chunk.id);
    if (index >= 0) this.#change(index, { data: chunk.data });
    else this.#push({ ...chunk });
  }

  #plain(chunk) {
    switch (chunk.type) {
      case "start":
        if (chunk.messageId) this.message.id = chunk.messageId;
        return this.#metadata(chunk.messageMetadata);
      case "finish":
      case "message-metadata":
        return this.#metadata(chunk.messageMetadata);
      case "start-step":
        return void this.#push({ type: "step-start" });
      case "reset-step":
        this.#open.clear();
        this.#inputs.clear();
        return void this.message.parts.splice(stepStart(this.message.parts));
      case "file":
      case "source-url":
      case "source-document":
        this.#push({ ...chunk });
    }
  }
}
