// The transport against a scripted server: what it says, what an abort means, and what it does when things go wrong.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ChatrtTransport, MemoryStorage, type ChatrtTransportOptions, type ClientEvent } from "../src/index.js";
import { collect, json, refusal, ScriptedServer, turn, until } from "./scripted-server.js";

let server: ScriptedServer;
let events: ClientEvent[];
let open: ChatrtTransport[];

beforeEach(() => {
  server = new ScriptedServer();
  events = [];
  open = [];
});

afterEach(() => {
  for (const transport of open) transport.close();
});

function newTransport(options: Partial<ChatrtTransportOptions> = {}): ChatrtTransport {
  const transport = new ChatrtTransport({
    baseUrl: "http://chat.test/",
    agent: "support",
    fetch: server.fetch,
    storage: new MemoryStorage(),
    onEvent: (event) => events.push(event),
    ...options,
  });
  open.push(transport);
  return transport;
}

const user = (text: string, id = "m1") => ({ id, role: "user" as const, parts: [{ type: "text" as const, text }] });

function send(transport: ChatrtTransport, message: any = user("hello"), more: object = {}): Promise<ReadableStream<any>> {
  const defaults = { trigger: "submit-message" as const, chatId: "c", messageId: undefined, abortSignal: undefined };
  return transport.sendMessages({ ...defaults, messages: [message], ...more });
}

const said = (chunks: any[]): string => chunks.map((chunk) => chunk.delta ?? "").join("");
const kinds = (): string[] => server.inputs.map(({ body }) => body.kind);

describe("what is sent", () => {
  it("is only the newest message, with the client data, and the session is created first", async () => {
    server.exists = false;
    const transport = newTransport({ clientData: () => ({ user: "u" }), headers: { "x-app": "1" } });
    server.say(...turn(1, "a", "hi"));
    const stream = await send(transport, user("hello"), { messages: [user("old", "m0"), user("hello")] });
    expect(said(await collect(stream))).toBe("hi");
    expect(server.asked[0]).toMatchObject({ method: "POST", path: "/v1/sessions", body: { agent: "support", chatId: "c" } });
    expect(server.inputs[0]?.body).toEqual({ kind: "message", message: user("hello"), clientData: { user: "u" } });
    expect(server.asked.every(({ headers }) => headers.get("x-app") === "1")).toBe(true);
  });

  it("is of an assistant message the answered calls alone, without their inputs", async () => {
    const transport = newTransport();
    const call = (id: string, more: object) => ({ type: "tool-ask", toolCallId: id, input: { secret: 1 }, ...more });
    const parts = [
      { type: "text", text: "Which?" },
      call("a", { state: "output-available", output: 1 }),
      call("b", { state: "input-available" }),
      call("c", { state: "approval-responded", approval: { id: "p", approved: true, signature: "s" } }),
      call("d", { state: "output-error", errorText: "no" }),
    ];
    server.say(...turn(1, "x", "on"));
    await collect(await send(transport, { id: "x", role: "assistant", parts }, { messageId: "x" }));
    expect(server.inputs[0]?.body.message).toEqual({
      id: "x",
      role: "assistant",
      parts: [
        { type: "tool-ask", toolCallId: "a", state: "output-available", output: 1 },
        { type: "tool-ask", toolCallId: "c", state: "approval-responded", approval: { id: "p", approved: true } },
        { type: "tool-ask", toolCallId: "d", state: "output-error", errorText: "no" },
      ],
    });
  });

  it("has a name of its own that a retry repeats", async () => {
    let refused = 0;
    server.intercept = ({ path }) => (path.endsWith("/in") && refused++ < 2 ? refusal(503, "store-unavailable") : undefined);
    server.say(...turn(1, "a", "hi"));
    await collect(await send(newTransport()));
    const keys = server.to("/in").map(({ headers }) => headers.get("idempotency-key"));
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[\x21-\x7e]{1,64}$/);
  });

  it("keeps its name when a person sends the same message again after a failure", async () => {
    const transport = newTransport({ timeoutMs: 0 });
    await transport.load("c");
    server.intercept = ({ path }) => {
      if (path.endsWith("/in")) throw new TypeError("fetch failed");
      return undefined;
    };
    await expect(send(transport)).rejects.toMatchObject({ code: "server-unavailable", retryable: true });
    server.intercept = undefined;
    server.say(...turn(1, "a", "hi"));
    await collect(await send(transport));
    expect(new Set(server.to("/in").map(({ headers }) => headers.get("idempotency-key"))).size).toBe(1);
  });

  it("is two inputs when the same action is sent twice", async () => {
    const transport = newTransport();
    const both = Promise.all([transport.sendAction("c", { type: "undo" }), transport.sendAction("c", { type: "undo" })]);
    await until(() => server.inputs.length === 2);
    for (const inSeq of [1, 2]) {
      server.say({ kind: "turn-complete", body: { inSeq, trigger: "action", status: "completed" } } as any);
    }
    expect(await both).toEqual([
      { seq: 1, status: "completed" },
      { seq: 2, status: "completed" },
    ]);
  });

  it("finds a session that was deleted gone, and begins it anew", async () => {
    const transport = newTransport();
    await transport.load("c");
    server.exists = false;
    server.say(...turn(1, "a", "hi"));
    await collect(await send(transport));
    expect(server.to("/in")).toHaveLength(2);
    expect(server.inputs).toHaveLength(1);
  });

  it("fails at once with the server's code when it is refused", async () => {
    server.intercept = ({ path }) => (path.endsWith("/in") ? refusal(409, "session-busy") : undefined);
    await expect(send(newTransport())).rejects.toMatchObject({ code: "session-busy", status: 409, retryable: true, id: "err_1" });
    expect(server.to("/in")).toHaveLength(1);
  });
});

describe("an abort", () => {
  /** An answer in the middle, and how to abort it. */
  async function running(transport: ChatrtTransport): Promise<{ controller: AbortController; failed: Promise<string> }> {
    const controller = new AbortController();
    const stream = await send(transport, user("hello"), { abortSignal: controller.signal });
    server.say(...turn(1, "a", "half").slice(0, 5));
    const reader = stream.getReader();
    for (let read = await reader.read(); read.value?.type !== "text-delta"; ) read = await reader.read();
    const failed = reader.read().then(
      () => "",
      (error: Error) => error.name,
    );
    return { controller, failed };
  }
  const later = () => new Promise((resolve) => setTimeout(resolve, 30));

  it("ends the reading and stops the turn of that input, no other", async () => {
    const { controller, failed } = await running(newTransport());
    controller.abort();
    expect(await failed).toBe("AbortError");
    await until(() => server.inputs.length === 2);
    expect(server.inputs[1]?.body).toEqual({ kind: "stop", inSeq: 1 });
    expect(server.readers).toBe(0);
  });

  it("takes back a message whose turn has not begun", async () => {
    const controller = new AbortController();
    await send(newTransport(), user("hello"), { abortSignal: controller.signal });
    controller.abort();
    await until(() => server.inputs.length === 3);
    expect(kinds()).toEqual(["message", "withdraw", "stop"]);
  });

  it("stops nothing once the component that showed the chat has left", async () => {
    const transport = newTransport();
    const leave = transport.show("c");
    const { controller, failed } = await running(transport);
    leave();
    controller.abort();
    expect(await failed).toBe("AbortError");
    await later();
    expect(kinds()).toEqual(["message"]);
  });

  it("stops while another component still shows the chat", async () => {
    const transport = newTransport();
    const leave = transport.show("c");
    transport.show("c");
    const { controller } = await running(transport);
    leave();
    controller.abort();
    await until(() => kinds().includes("stop"));
  });

  it("stops nothing when it makes room for another resume", async () => {
    const transport = newTransport();
    const controller = new AbortController();
    server.state = { status: "running", inCursor: 0, cursor: 0 };
    const first = await transport.reconnectToStream({ chatId: "c", abortSignal: controller.signal });
    server.say(...turn(1, "a", "half").slice(0, 5));
    await first?.getReader().read();
    controller.abort();
    expect(await transport.reconnectToStream({ chatId: "c" })).not.toBeNull();
    await later();
    expect(kinds()).toEqual([]);
  });

  it("stops nothing with onAbort: leave, nor does a reader that cancels", async () => {
    const { controller } = await running(newTransport({ onAbort: "leave" }));
    controller.abort();
    const stream = await send(newTransport(), user("more", "m2"));
    await stream.cancel();
    await later();
    expect(kinds()).toEqual(["message", "message"]);
  });
});

describe("a broken stream", () => {
  it("goes on after the last record it has, over any number of connections", async () => {
    const transport = newTransport();
    const answer = collect(await send(transport));
    const records = turn(1, "a", "whole");
    for (const [index, record] of records.entries()) {
      await until(() => server.readers === 1);
      server.say(record);
      if (index % 3 === 1) server.cut(new TypeError("network error"));
      if (index % 3 === 2) server.cut();
    }
    expect(said(await answer)).toBe("whole");
    const cursors = server.to("/out").map(({ headers }) => Number(headers.get("last-event-id")));
    expect(cursors.length).toBeGreaterThan(5);
    expect(cursors).toEqual([...cursors].sort((one, other) => one - other));
  });

  it("is no news when the server ends it in good order, and an event when it breaks", async () => {
    const answer = collect(await send(newTransport()));
    await until(() => server.readers === 1);
    server.cut();
    await until(() => server.readers === 1);
    expect(events.filter(({ type }) => type === "disconnected")).toEqual([]);
    server.cut(new TypeError("network error"));
    await until(() => server.readers === 1);
    server.say(...turn(1, "a", "hi"));
    expect(said(await answer)).toBe("hi");
    expect(events.filter(({ type }) => type === "disconnected")).toHaveLength(1);
  });

  it("gets another token, once, when the old one has expired", async () => {
    const tokens = ["old", "new", "never"];
    const token = vi.fn(async () => tokens.shift()!);
    let valid = "old";
    server.intercept = ({ headers }) =>
      headers.get("authorization") === `Bearer ${valid}` ? undefined : refusal(401, "invalid-token");
    const answer = collect(await send(newTransport({ token })));
    server.say(...turn(1, "a", "whole").slice(0, 5));
    await until(() => server.readers === 1);
    valid = "new";
    server.cut();
    await until(() => server.readers === 1);
    server.say(...turn(1, "a", "whole").slice(5));
    expect(said(await answer)).toBe("whole");
    expect(token).toHaveBeenCalledTimes(2);
    expect(token).toHaveBeenCalledWith({ chatId: "c" });
  });

  it("fails when the other token is refused as well", async () => {
    server.intercept = () => refusal(401, "invalid-token");
    const token = vi.fn(() => "bad");
    await expect(send(newTransport({ token }))).rejects.toMatchObject({ code: "invalid-token" });
    expect(token).toHaveBeenCalledTimes(2);
  });

  it("ends with the session when that is closed", async () => {
    const answer = collect(await send(newTransport()));
    await until(() => server.readers === 1);
    server.sendRaw('event: idle\ndata: {"cursor":0}\n\n');
    expect(await answer).toEqual([]);
    expect(events.filter(({ type }) => type === "closed")).toHaveLength(1);
    await expect(send(open[0]!)).rejects.toMatchObject({ code: "session-closed" });
  });

  it("tells of records that are no longer kept, and waits for its turn behind them", async () => {
    const onGap = vi.fn();
    const answer = collect(await send(newTransport({ onGap })));
    await until(() => server.readers === 1);
    server.state = { inCursor: 0, cursor: 20, status: "running" };
    server.log.push({ seq: 20, kind: "gap", body: { after: 0, firstSeq: 21 } });
    server.say(...turn(1, "a", "late"));
    expect(said(await answer)).toBe("late");
    expect(onGap).toHaveBeenCalledWith({ chatId: "c", after: 0, firstSeq: 21 });
  });

  it("ends when its turn is among what is no longer kept", async () => {
    const answer = collect(await send(newTransport()));
    await until(() => server.readers === 1);
    server.state = { inCursor: 1, cursor: 20, status: "idle" };
    server.log.push({ seq: 20, kind: "gap", body: { after: 0, firstSeq: 21 } });
    server.say();
    expect(await answer).toEqual([]);
  });
});

describe("resuming", () => {
  it("is null where nothing runs, and for a chat that nobody knows", async () => {
    expect(await newTransport().reconnectToStream({ chatId: "c" })).toBeNull();
    server.exists = false;
    expect(await newTransport().reconnectToStream({ chatId: "c" })).toBeNull();
    expect(server.to("/out")).toEqual([]);
  });

  it("tells another page in one piece what the same tab has seen", async () => {
    const storage = new MemoryStorage();
    const first = newTransport({ storage });
    const reader = (await send(first)).getReader();
    const records = turn(1, "a", "one ");
    const more = { kind: "chunk", body: { type: "text-delta", id: "t", delta: "two " } } as any;
    server.say(...records.slice(0, 5), more);
    for (let count = 0; count < 5; count++) await reader.read();
    first.close();
    server.state = { status: "running", inCursor: 0, cursor: 0 };
    const again = await newTransport({ storage }).reconnectToStream({ chatId: "c" });
    server.say({ ...more, body: { ...more.body, delta: "three" } }, ...records.slice(5));
    const deltas = (await collect(again!)).filter(({ type }) => type === "text-delta").map((chunk: any) => chunk.delta);
    expect(deltas).toEqual(["one two ", "three"]);
  });

  it("survives a storage that is broken", async () => {
    const broken = () => {
      throw new Error("forbidden");
    };
    const transport = newTransport({ storage: { get: broken, set: broken, delete: broken } });
    server.say(...turn(1, "a", "hi"));
    expect(said(await collect(await send(transport)))).toBe("hi");
  });
});

describe("watching", () => {
  it("hears turns of others, and knows its own", async () => {
    const transport = newTransport();
    const heard: [string, boolean][] = [];
    const stop = transport.watch("c", (record, own) => record.kind !== "chunk" && heard.push([record.kind, own]));
    await until(() => server.readers === 1);
    const answer = collect(await send(transport));
    server.say(...turn(1, "a", "mine"), ...turn(2, "b", "theirs"));
    await answer;
    await until(() => heard.length === 4);
    expect(heard).toEqual([
      ["turn-start", true],
      ["turn-complete", true],
      ["turn-start", false],
      ["turn-complete", false],
    ]);
    expect(server.readers).toBe(1);
    stop();
    await until(() => server.readers === 0);
  });

  it("begins when the chat does", async () => {
    server.exists = false;
    const transport = newTransport();
    const heard: string[] = [];
    transport.watch("c", ({ kind }) => heard.push(kind));
    await until(() => server.to("/messages").length === 1);
    const answer = collect(await send(transport));
    server.say(...turn(1, "a", "hi"));
    await answer;
    await until(() => heard.includes("turn-complete"));
  });
});

it("is not disturbed by listeners that throw", async () => {
  const told = vi.spyOn(console, "error").mockImplementation(() => {});
  const bad = () => {
    throw new Error("a listener's own trouble");
  };
  const transport = newTransport({ onEvent: bad });
  transport.watch("c", bad);
  const answer = collect(await send(transport));
  server.say(...turn(1, "a", "hi"));
  expect(said(await answer)).toBe("hi");
  expect(told).toHaveBeenCalled();
  told.mockRestore();
});

describe("commands", () => {
  it("reject with the code of a failed action", async () => {
    const action = newTransport().sendAction("c", { type: "x" });
    await until(() => server.inputs.length === 1);
    const error = { code: "message-not-found", message: "There is no such message.", id: "err_9" };
    server.say({ kind: "turn-complete", body: { inSeq: 1, trigger: "action", status: "failed", error } } as any);
    await expect(action).rejects.toMatchObject({ code: "message-not-found", id: "err_9" });
  });

  it("create no session to stop, edit or withdraw in", async () => {
    server.exists = false;
    const transport = newTransport();
    await transport.stop("c");
    await transport.editPending("c", 1, "x");
    await transport.withdraw("c", 1);
    expect(server.exists).toBe(false);
  });

  it("say what waits, what steers, and what is edited", async () => {
    const transport = newTransport();
    expect(await transport.sendPendingMessage("c", "one")).toBe(1);
    expect(await transport.steer("c", { parts: [{ type: "text", text: "two" }] })).toBe(2);
    await transport.editPending("c", 1, "three");
    const texts = server.inputs.map(({ body }) => [body.kind, body.steer ?? false, body.message.parts[0].text]);
    expect(texts).toEqual([
      ["message", false, "one"],
      ["message", true, "two"],
      ["edit", false, "three"],
    ]);
  });

  it("load nothing of a chat that has not begun", async () => {
    server.exists = false;
    expect(await newTransport().load("c")).toMatchObject({ messages: [], pending: [], cursor: 0, status: "idle", branches: {} });
  });

  it("reach a chat whose id holds anything", async () => {
    const transport = newTransport();
    await transport.load("a/b c%");
    await transport.load("...");
    expect(server.asked.map(({ path }) => path)).toEqual(["/v1/sessions/a%2Fb%20c%25/messages", "/v1/sessions/.../messages"]);
    await expect(transport.load("..")).rejects.toMatchObject({ code: "usage" });
  });
});

describe("older versions of ai", () => {
  const chunks = [
    { type: "start", messageId: "a" },
    { type: "custom", kind: "x.y" },
    { type: "tool-input-available", toolCallId: "c", toolName: "t", input: 1, title: "T" },
    { type: "tool-approval-request", approvalId: "p", toolCallId: "c" },
    { type: "tool-approval-request", approvalId: "q", toolCallId: "c", isAutomatic: true },
    { type: "tool-approval-response", approvalId: "p", approved: true },
    { type: "finish", finishReason: "interrupted" },
  ];
  const start = { kind: "turn-start", body: { inSeq: 1, trigger: "message", messageId: "a" } } as any;
  const end = { kind: "turn-complete", body: { inSeq: 1, trigger: "message", status: "completed" } } as any;

  it.each([
    [5, ["start", "tool-input-available", "finish"]],
    [6, ["start", "tool-input-available", "tool-approval-request", "finish"]],
    [7, chunks.map(({ type }) => type)],
  ] as const)("ai %i is told what it reads", async (aiSdk, types) => {
    server.say(start, ...chunks.map((body) => ({ kind: "chunk", body }) as any), end);
    const all: any[] = await collect(await send(newTransport({ aiSdk })));
    expect(all.map(({ type }) => type)).toEqual(types);
    expect(all.at(-1).finishReason).toBe(aiSdk === 7 ? "interrupted" : "other");
    expect("title" in all.find(({ type }) => type === "tool-input-available")).toBe(aiSdk > 5);
  });
});

it("creates no session with a token that may not, when its chat is there", async () => {
  server.intercept = ({ method, path }) => {
    if (path === "/v1/sessions") return refusal(403, "forbidden");
    return method === "GET" && path === "/v1/sessions/c" ? json(200, { agent: "other" }) : undefined;
  };
  await expect(send(newTransport())).rejects.toMatchObject({ code: "agent-mismatch" });
});
