// Recorded conversations, replayed through the transport into the reducers of ai 5, 6 and 7, and through AgentChat.

import * as ai7 from "ai";
import * as ai5 from "ai-v5";
import * as ai6 from "ai-v6";
import { describe, expect, it } from "vitest";
import { ChatrtTransport, MemoryStorage, type Major } from "../src/index.js";
import { AgentChat } from "../src/server/index.js";
import type { WireMessage } from "../src/types.js";
import { goldens, Playback } from "./golden.js";

const readers = { 5: ai5.readUIMessageStream, 6: ai6.readUIMessageStream, 7: ai7.readUIMessageStream } as const;
const BASE = "http://chat.test";

/** What a reducer makes of a stream, continuing a message if there is one. */
async function reduce(major: Major, stream: ReadableStream<any>, message?: WireMessage): Promise<WireMessage | undefined> {
  let last: WireMessage | undefined;
  const read = readers[major] as (options: object) => AsyncIterable<WireMessage>;
  for await (const snapshot of read({ stream, ...(message ? { message: structuredClone(message) } : {}) })) last = snapshot;
  return last && (JSON.parse(JSON.stringify(last)) as WireMessage);
}

/** Conversations in which each message is answered before the next thing is said. */
const plain = goldens.filter(({ name }) => !["waiting", "steer", "stop", "branches", "action"].includes(name));
const known = (major: Major, name: string): boolean => major > 5 || !["approved", "denied"].includes(name);
const majors: Major[] = [5, 6, 7];

/** What older versions build otherwise than the server: they know no ids of reasonings. */
function comparable(message: WireMessage | undefined): unknown {
  return message && { ...message, parts: message.parts.map((part) => (part.type === "reasoning" ? { ...part, id: "" } : part)) };
}

describe.each(majors)("the transport under ai %i", (major) => {
  it.each(plain.filter(({ name }) => known(major, name)))("builds the messages of $name", async (golden) => {
    const playback = new Playback(golden);
    const options = { baseUrl: BASE, agent: golden.agent, fetch: playback.fetch, storage: new MemoryStorage(), aiSdk: major };
    const transport = new ChatrtTransport(options);
    const states = [...playback.states];
    let shown: WireMessage[] = [];
    for (const { body } of playback.inputs) {
      if (body.kind !== "message") continue;
      const isAnswer = body.message.role === "assistant";
      const before = isAnswer ? shown.at(-1) : undefined;
      const parts = before?.parts.map((part) => ({ ...part, ...body.message.parts.find((one: any) => one.toolCallId === part["toolCallId"]) }));
      const said = before ? ({ ...before, parts } as WireMessage) : (body.message as WireMessage);
      shown = isAnswer ? [...shown.slice(0, -1), said] : [...shown, said];
      const stream = await transport.sendMessages({
        trigger: "submit-message",
        chatId: golden.chatId,
        messageId: isAnswer ? said.id : undefined,
        messages: shown as any[],
        abortSignal: undefined,
      });
      const built = await reduce(major, stream, isAnswer ? said : undefined);
      const stored = states.shift()?.messages.at(-1);
      expect(comparable(built)).toEqual(comparable(stored));
      if (built) shown = isAnswer ? [...shown.slice(0, -1), built] : [...shown, built];
    }
    const sent = playback.asked.filter(({ path }) => path.endsWith("/in")).map(({ body }) => body);
    expect(sent).toEqual(playback.inputs.filter(({ body }) => body.kind === "message").map(({ body }) => body));
    transport.close();
  });
});

describe("a stream of one turn", () => {
  const golden = (name: string) => goldens.find((one) => one.name === name)!;

  /** The chunks of the input with that number. */
  async function chunksOf(name: string, index: number): Promise<any[]> {
    const { chatId, agent } = golden(name);
    const playback = new Playback(golden(name));
    const transport = new ChatrtTransport({ baseUrl: BASE, agent, fetch: playback.fetch, storage: new MemoryStorage(), aiSdk: 7 });
    const { body } = playback.inputs[index]!;
    const messages = [body.message];
    const isAgain = body.kind === "regenerate";
    const stream = await transport.sendMessages({
      trigger: isAgain ? "regenerate-message" : "submit-message",
      chatId,
      messageId: undefined,
      messages,
      abortSignal: undefined,
    });
    const chunks: any[] = [];
    for await (const chunk of stream as any) chunks.push(chunk);
    transport.close();
    return chunks;
  }

  const said = (chunks: any[]): string => chunks.map((chunk) => chunk.delta ?? "").join("");

  it("has only the chunks of its own input among many", async () => {
    expect(said(await chunksOf("text", 1))).toBe("and more ");
    expect(said(await chunksOf("branches", 1))).toBe("hello one ");
    expect(said(await chunksOf("branches", 2))).toBe("hello two ");
  });

  it("is empty for a message that was injected into another turn, and for one that was withdrawn", async () => {
    expect(await chunksOf("steer", 1)).toEqual([]);
    expect(await chunksOf("waiting", 2)).toEqual([]);
  });

  it("ends with the abort of a stopped turn and the error of a failed one", async () => {
    expect((await chunksOf("stop", 0)).at(-1)).toEqual({ type: "abort", reason: "enough" });
    expect((await chunksOf("failure", 0)).at(-1)).toMatchObject({ type: "error" });
  });
});

describe("AgentChat", () => {
  it.each(plain)("gives the results of $name", async (golden) => {
    const playback = new Playback(golden);
    const chat = new AgentChat(golden.agent, { baseUrl: BASE, id: golden.chatId, fetch: playback.fetch });
    const states = [...playback.states];
    for (const { body } of playback.inputs) {
      if (body.kind !== "message") continue;
      const result = await chat.sendRaw([body.message]).result();
      const stored = states.shift()?.messages.at(-1);
      expect(result.message).toEqual(stored);
      expect(result.status).toBe(golden.name === "failure" && body.message.id === "m1" ? "failed" : "completed");
    }
  });

  it("gives what an action says, and why one was refused", async () => {
    const { agent, chatId, ...action } = goldens.find((one) => one.name === "action")!;
    const { fetch } = new Playback({ agent, chatId, ...action });
    const newChat = () => new AgentChat(agent, { baseUrl: BASE, id: chatId, fetch });
    const chat = newChat();
    expect(await chat.sendAction({ type: "note", text: "Noted." }).text()).toBe("Noted.");
    expect(await chat.sendAction({ type: "undo" }).result()).toMatchObject({ status: "completed", message: undefined });
    const refused = { status: "failed", error: { code: "invalid-action" } };
    expect(await chat.sendAction({ type: "shout" }).result()).toMatchObject(refused);
    await expect(newChat().sendAction({ type: "shout" }).text()).rejects.toMatchObject({ code: "invalid-action" });
  });

  it("goes over to another branch", async () => {
    const { agent, chatId, ...branches } = goldens.find((one) => one.name === "branches")!;
    const playback = new Playback({ agent, chatId, ...branches });
    const chat = new AgentChat(agent, { baseUrl: BASE, id: chatId, fetch: playback.fetch });
    const name: string = playback.inputs.find(({ body }) => body.kind === "switch")!.body.messageId;
    expect(await chat.switchTo(name).result()).toMatchObject({ status: "completed", message: undefined });
  });
});
