// The reducer of AgentChat does with recorded chunks what the AI SDK did with them.

import { describe, expect, it } from "vitest";
import { parsePartialJson } from "../src/server/partial-json.js";
import { MessageReducer } from "../src/server/reducer.js";
import type { WireChunk, WireMessage } from "../src/types.js";
import { vectors } from "./vectors.js";

type Case = {
  name: string;
  chunks: WireChunk[];
  initialMessage?: WireMessage;
  final: WireMessage;
  snapshots: WireMessage[];
  error?: string;
  errorName?: string;
  errorIndex?: number;
};

// `readUIMessageStream` begins a new message at a `start` with another id; an answer of AgentChat has one id, and its
// `start` comes first. Metadata that are no objects replace one another here, without JavaScript's oddities.
const oddities = ["metadata/string-", "metadata/object-then-", "metadata/falsy", "start/late"];
const renamed = ({ chunks }: Case): boolean => chunks.filter((chunk) => chunk.type === "start").length > 1;
const cases = [...vectors<Case>("reducer_hand"), ...vectors<Case>("reducer_random")];
const usable = cases.filter(
  (one) =>
    !renamed(one) &&
    !(one.initialMessage && one.chunks[0]?.type === "start") &&
    !oddities.some((name) => one.name.startsWith(name)),
);

describe("MessageReducer", () => {
  it("is shown most of the recorded cases", () => {
    expect(usable.length).toBeGreaterThan(200);
  });

  it.each(usable)("builds $name", (one) => {
    const given = structuredClone(one);
    const reducer = new MessageReducer(one.initialMessage, one.initialMessage?.id ?? "");
    const snapshots: WireMessage[] = [];
    let refused = false;
    for (const chunk of one.chunks) {
      try {
        if (reducer.apply(chunk)) snapshots.push(structuredClone(reducer.snapshot()));
      } catch (error) {
        refused = true;
        if (one.errorName !== "TypeError") expect((error as Error).message).toBe(one.error);
        break;
      }
    }
    expect(refused).toBe(one.error !== undefined || one.errorName !== undefined);
    expect(snapshots).toEqual(one.snapshots);
    expect(reducer.snapshot()).toEqual(one.final);
    expect(one).toEqual(given);
  });
});

describe("parsePartialJson", () => {
  it.each(vectors<{ name: string; text?: string; value?: unknown; state: string }>("parse_partial_json"))("reads $name", (one) => {
    if (one.text === undefined) return;
    // As JSON: -0 and what is too large for a double are not what they were, once they were written down.
    expect(JSON.stringify(parsePartialJson(one.text))).toBe(one.state === "failed-parse" ? undefined : JSON.stringify(one.value));
  });
});
