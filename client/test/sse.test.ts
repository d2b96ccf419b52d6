// The decoder of server-sent events: whatever the cuts, the same events.

import { describe, expect, it } from "vitest";
import { SSEDecoder, type SSEEvent } from "../src/sse.js";
import { vectors } from "./vectors.js";

const STREAM =
  ": hello\n\nevent: turn-start\nid: 1\ndata: {\"inSeq\":1}\n\nid: 2\r\ndata: {\"type\":\"start\"}\r\n\r\nid: 3\rdata: żó 👍\r\r" +
  "data: two\ndata: lines\n\n:\nevent: idle\ndata: {\"cursor\":3}\n\nid: 4\ndata: cut off";

const EVENTS: SSEEvent[] = [
  { event: "turn-start", id: "1", data: '{"inSeq":1}' },
  { event: "message", id: "2", data: '{"type":"start"}' },
  { event: "message", id: "3", data: "żó 👍" },
  { event: "message", id: undefined, data: "two\nlines" },
  { event: "idle", id: undefined, data: '{"cursor":3}' },
];

/** Decode bytes that come in the given pieces. */
function decode(pieces: Uint8Array[]): SSEEvent[] {
  const text = new TextDecoder();
  const decoder = new SSEDecoder();
  return pieces.flatMap((piece) => decoder.push(text.decode(piece, { stream: true })));
}

describe("SSEDecoder", () => {
  const bytes = new TextEncoder().encode(STREAM);

  it("takes a stream in one piece", () => {
    expect(decode([bytes])).toEqual(EVENTS);
  });

  it("gives the same events wherever the bytes are cut in two", () => {
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(decode([bytes.slice(0, cut), bytes.slice(cut)]), `cut at ${cut}`).toEqual(EVENTS);
    }
  });

  it("gives the same events for pieces of any size, single bytes included", () => {
    for (let size = 1; size < 9; size++) {
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
      expect(decode(pieces), `pieces of ${size}`).toEqual(EVENTS);
    }
  });

  // These are about chunks that are refused, not about their framing.
  const refused = ["sse/bad-json-after-good", "sse/unknown-type", "sse/invalid-field"];
  const framed = vectors<{ name: string; text: string; chunks: unknown[] }>("sse_decode").filter((one) => !refused.includes(one.name));

  it.each(framed)("reads $name as the AI SDK does", ({ text, chunks }) => {
    const data = decode([new TextEncoder().encode(text)]).map((event) => event.data);
    const read = data.filter((one) => one !== "[DONE]").map((one) => JSON.parse(one) as unknown);
    expect(read).toEqual(chunks);
  });
});
