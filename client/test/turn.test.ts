// Which records of the log are one turn, and what is shown of them.

import { readUIMessageStream } from "ai";
import { describe, expect, it } from "vitest";
import * as retell from "../src/retell.js";
import { TurnReader, type TurnChoice } from "../src/turn.js";
import type { OutRecord, WireChunk, WireMessage } from "../src/types.js";
import { goldens, Playback } from "./golden.js";
import { turn } from "./scripted-server.js";
import { vectors } from "./vectors.js";
import { SSEDecoder } from "../src/sse.js";

/** Number records from 1. */
function log(...records: Omit<OutRecord, "seq">[]): OutRecord[] {
  return records.map((record, index) => ({ seq: index + 1, ...record }) as OutRecord);
}

const start = (inSeq: number, messageId: string, more: object = {}) =>
  ({ kind: "turn-start", body: { inSeq, trigger: "message", messageId, ...more } }) as Omit<OutRecord, "seq">;
const complete = (inSeq: number, status: string, more: object = {}) =>
  ({ kind: "turn-complete", body: { inSeq, trigger: "message", status, ...more } }) as Omit<OutRecord, "seq">;
const chunk = (body: WireChunk) => ({ kind: "chunk", body }) as Omit<OutRecord, "seq">;
const delta = (text: string) => chunk({ type: "text-delta", id: "t", delta: text });

function read(choice: TurnChoice, records: OutRecord[]): { chunks: WireChunk[]; reader: TurnReader } {
  const reader = new TurnReader(choice);
  return { chunks: records.flatMap((record) => reader.feed(record)), reader };
}

const types = (chunks: WireChunk[]): string[] => chunks.map(({ type }) => type);
const said = (chunks: WireChunk[]): string => chunks.map((one) => one["delta"] ?? "").join("");

const { compactChunks, rebuildChunks } = retell;

describe("the turn of an input", () => {
  it("is told without the turns before and behind it", () => {
    const { chunks, reader } = read({ seq: 2, major: 7 }, log(...turn(1, "a", "one"), ...turn(2, "b", "two"), ...turn(3, "c", "three")));
    expect(said(chunks)).toBe("two");
    expect(reader.settled).toEqual({ seq: 2, status: "completed", messageId: "b" });
  });

  it("has one start and no doubled steps when it begins anew after a crash", () => {
    const begun = [start(1, "a"), chunk({ type: "start", messageId: "a" }), chunk({ type: "start-step" })];
    const { chunks } = read({ seq: 1, major: 7 }, log(...begun, ...turn(1, "a", "whole")));
    expect(types(chunks)).toEqual(["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]);
  });

  it("has one start when another run takes it over", () => {
    const upgrade = { kind: "upgrade", body: { inSeq: 1 } } as Omit<OutRecord, "seq">;
    const { chunks } = read({ seq: 1, major: 7 }, log(start(1, "a"), upgrade, ...turn(1, "a", "whole")));
    expect(said(chunks)).toBe("whole");
    expect(types(chunks).filter((type) => type === "start")).toHaveLength(1);
  });

  it("ends where its answer is begun again as another message, for who sent its input", () => {
    const dead = [start(1, "a"), chunk({ type: "start", messageId: "a" }), chunk({ type: "text-start", id: "t" }), delta("half")];
    const again = log(...dead, complete(1, "interrupted", { willRetry: true, messageId: "a" }), ...turn(1, "b", "whole"));
    const { chunks, reader } = read({ seq: 1, major: 7 }, again);
    expect(said(chunks)).toBe("half");
    expect(reader.willRetry).toBe(true);
  });

  it("goes on with the other message for who resumed", () => {
    const dead = [start(1, "a"), chunk({ type: "start", messageId: "a" }), chunk({ type: "text-start", id: "t" }), delta("half")];
    const again = log(...dead, complete(1, "interrupted", { willRetry: true, messageId: "a" }), ...turn(1, "b", "whole"));
    const { chunks, reader } = read({ settled: 0, seen: { cursor: 0, messageId: "" }, major: 7, retell }, again);
    expect(chunks.filter(({ type }) => type === "start").map((one) => one["messageId"])).toEqual(["a", "b"]);
    expect(reader.settled?.messageId).toBe("b");
  });

  it("is empty when its message became part of another turn, or was taken back", () => {
    const records = log(...turn(1, "a", "one"), complete(2, "injected", { messageId: "a" }), complete(3, "withdrawn"));
    expect(read({ seq: 2, major: 7 }, records)).toMatchObject({ chunks: [], reader: { settled: { status: "injected" } } });
    expect(read({ seq: 3, major: 7 }, records)).toMatchObject({ chunks: [], reader: { settled: { status: "withdrawn" } } });
  });

  it("tells a failure that no chunk told, and none twice", () => {
    const error = { code: "forbidden-change", message: "no", id: "err_1" };
    expect(read({ seq: 1, major: 7 }, log(start(1, "a"), complete(1, "failed", { error }))).chunks).toEqual([
      { type: "error", errorText: "no" },
    ]);
    const told = log(start(1, "a"), chunk({ type: "error", errorText: "no" }), complete(1, "failed", { error }));
    expect(read({ seq: 1, major: 7 }, told).chunks).toHaveLength(1);
  });
});

describe("a resumed turn", () => {
  const seen = (cursor: number, messageId = "b") => ({ settled: 1, seen: { cursor, messageId }, major: 7, retell }) as const;
  const records = log(
    start(2, "b"),
    chunk({ type: "start", messageId: "b" }),
    chunk({ type: "start-step" }),
    chunk({ type: "text-start", id: "t" }),
    ...["one ", "two ", "three "].map(delta),
    chunk({ type: "data-note", data: 1, transient: true }),
    ...["four ", "five"].map(delta),
    chunk({ type: "data-note", data: 2, transient: true }),
    complete(2, "completed", { messageId: "b" }),
  );

  it("is told as it came to who saw nothing of it", () => {
    const { chunks } = read(seen(0), records);
    expect(types(chunks).filter((type) => type === "text-delta")).toHaveLength(5);
    expect(types(chunks).filter((type) => type === "data-note")).toHaveLength(2);
  });

  it("comes in one piece up to where it was seen, and transient data not again", () => {
    const { chunks } = read(seen(8), records);
    expect(chunks.filter(({ type }) => type === "text-delta").map((one) => one["delta"])).toEqual(["one two three ", "four ", "five"]);
    expect(chunks.filter(({ type }) => type === "data-note").map((one) => one["data"])).toEqual([2]);
  });

  it("is told from its beginning when another answer was seen", () => {
    expect(types(read(seen(8, "other"), records).chunks).filter((type) => type === "data-note")).toHaveLength(2);
  });

  it("is told as a whole when all of it was seen", () => {
    expect(said(read(seen(99), records).chunks)).toBe("one two three four five");
  });

  it("begins with the parts that the continued message had", () => {
    const message: WireMessage = {
      id: "b",
      role: "assistant",
      parts: [{ type: "step-start" }, { type: "tool-ask", toolCallId: "c", state: "output-available", input: 1, output: 2 }],
    };
    const { chunks } = read(seen(0), log(start(2, "b", { message }), ...turn(2, "b", "on").slice(1)));
    expect(types(chunks).slice(0, 5)).toEqual(["start", "start-step", "tool-input-start", "tool-input-delta", "tool-output-available"]);
    expect(types(chunks).filter((type) => type === "start")).toHaveLength(1);
    expect(said(chunks)).toBe("on");
  });

  it("passes over what was settled before", () => {
    const { chunks, reader } = read(seen(0), log(...turn(1, "a", "old"), ...turn(2, "b", "new")));
    expect(said(chunks)).toBe("new");
    expect(reader.seq).toBe(2);
  });
});

/** The message that chunks build, with the reducer of the AI SDK. */
async function build(chunks: WireChunk[]): Promise<unknown> {
  let last: unknown;
  const stream = new ReadableStream<any>({
    start(controller) {
      for (const one of chunks) controller.enqueue(structuredClone(one));
      controller.close();
    },
  });
  for await (const message of readUIMessageStream({ stream })) last = message;
  return JSON.parse(JSON.stringify(last ?? null));
}

type Case = { name: string; chunks: WireChunk[]; initialMessage?: WireMessage; final: WireMessage; error?: string; errorName?: string };
const whole = [...vectors<Case>("reducer_hand"), ...vectors<Case>("reducer_random")].filter(
  (one) => !one.initialMessage && !one.error && !one.errorName && one.chunks.filter(({ type }) => type === "start").length < 2,
);

/** Half-streamed inputs of settled calls are told whole. */
function settledInputs(message: any): any {
  const parts = message?.parts.map(({ rawInput: _, ...part }: any) => part);
  return message && { ...message, parts };
}

describe("compactChunks", () => {
  it.each(whole)("builds the message of $name", async ({ chunks }) => {
    expect(settledInputs(await build(compactChunks(chunks)))).toEqual(settledInputs(await build(chunks)));
  });

  it("calls no settled tool again, and an open one as it was", () => {
    const call = (id: string) => ({ type: "tool-input-available", toolCallId: id, toolName: "ask", input: { q: id } });
    const chunks = compactChunks([call("a"), call("b"), { type: "tool-output-available", toolCallId: "a", output: 1 }]);
    expect(chunks.filter(({ type }) => type === "tool-input-available").map((one) => one["toolCallId"])).toEqual(["b"]);
  });
});

describe("rebuildChunks", () => {
  /** Every stored message of the recorded conversations. */
  const messages = goldens.flatMap((golden) => new Playback(golden).states.flatMap((state) => state.messages));
  const answers = messages.filter(({ role }) => role === "assistant").map((message, index) => ({ index, message }));

  it.each(answers)("builds the stored answer $index", async ({ message }) => {
    const built = (await build([{ type: "start", messageId: message.id }, ...rebuildChunks(message)])) as WireMessage;
    expect(settledInputs(built)).toEqual(settledInputs(message));
  });

  it("is read by the decoder's own records", () => {
    const events = goldens.flatMap((golden) => new SSEDecoder().push(new Playback(golden).out));
    expect(events.every((event) => event.id !== undefined)).toBe(true);
  });
});
