// Server-sent events from a fetch response: an incremental decoder that survives any cut of the bytes.

/**
 * Turns pieces of text into events. A comment line yields `{comment: true}`, so that heartbeats count as signs of life.
 */
export class EventDecoder {
  #rest = "";
  #afterCR = false;
  #data = [];
  #event = "";
  #id = "";

  /** Take the next piece of the stream and return the events it completes. */
  push(text) {
    const events = [];
    const cut = this.#afterCR && text.startsWith("\n");
    if (text) this.#afterCR = text.endsWith("\r");
    if (cut) text = text.slice(1);
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line, events);
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data.length) events.push({ event: this.#event || "message", id: this.#id, data: this.#data.join("\n") });
      this.#data = [];
      this.#event = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      events.push({ comment: true });
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }
}

/** Yield the events of a response until its body ends; a broken connection throws. */
export async function* readEvents(response) {
  const reader = response.body.getReader();
  const text = new TextDecoder();
  const decoder = new EventDecoder();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* decoder.push(text.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
