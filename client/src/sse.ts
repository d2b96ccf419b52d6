// Server-sent events out of pieces of text: an incremental decoder that survives any cut.

/** An event; `id` is that of this event alone, not the last one that was given. */
export type SSEEvent = { event: string; id: string | undefined; data: string };

/** Turns pieces of a body into the events they complete. Comments yield nothing; an unfinished last event is dropped. */
export class SSEDecoder {
  #rest = "";
  #afterCR = false;
  #isFirst = true;
  #data: string[] = [];
  #event = "";
  #id: string | undefined;

  push(piece: string): SSEEvent[] {
    let text = piece;
    if (!text) return [];
    if (this.#isFirst && text.startsWith("\uFEFF")) text = text.slice(1);
    this.#isFirst = false;
    // A CR at the end of a piece has ended its line already; its LF may come with the next one.
    if (this.#afterCR && text.startsWith("\n")) text = text.slice(1);
    this.#afterCR = piece.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    const events: SSEEvent[] = [];
    for (const line of lines) {
      const event = this.#line(line);
      if (event) events.push(event);
    }
    return events;
  }

  #line(line: string): SSEEvent | undefined {
    if (line === "") {
      const event = { event: this.#event || "message", id: this.#id, data: this.#data.join("\n") };
      const hasData = this.#data.length > 0;
      this.#data = [];
      this.#event = "";
      this.#id = undefined;
      return hasData ? event : undefined;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return undefined;
  }
}
