// Waiting between attempts: longer and longer, anew after progress, cut short when the network is back; and the watchdog.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Patience, pause } from "../src/patience.js";
import { readRecords } from "../src/records.js";
import { Cursors } from "../src/storage.js";
import { Wire } from "../src/wire.js";
import { refusal, ScriptedServer } from "./scripted-server.js";

/** What a page has and Node.js has not. */
const page = new EventTarget() as EventTarget & { visibilityState: string };

beforeEach(() => {
  vi.useFakeTimers();
  page.visibilityState = "hidden";
  vi.stubGlobal("document", page);
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("Patience", () => {
  it("waits up to twice as long after each failure, five seconds at most, with jitter", () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const patience = new Patience(Infinity);
    expect(Array.from({ length: 8 }, () => patience.next())).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    expect(patience.next()).toBe(2500);
  });

  it("begins anew after progress", () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const patience = new Patience(Infinity);
    patience.next();
    patience.next();
    patience.progress();
    expect(patience.next()).toBe(100);
  });

  it("ends with its budget, counted from the first failure in a row", () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const patience = new Patience(1_000);
    expect(patience.next()).toBe(100);
    vi.advanceTimersByTime(900);
    expect(patience.next()).toBeUndefined();
    patience.progress();
    expect(patience.next()).toBe(100);
  });

  it("waits as long as the server asks", () => {
    expect(new Patience(Infinity).next(7_000)).toBe(7_000);
  });
});

describe("pause", () => {
  it.each(["online", "visibilitychange"])("ends at once with %s", async (type) => {
    let isOver = false;
    const pausing = pause(60_000, 0).then(() => (isOver = true));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(isOver).toBe(false);
    page.visibilityState = "visible";
    page.dispatchEvent(new Event(type));
    await vi.advanceTimersByTimeAsync(0);
    expect(isOver).toBe(true);
    await pausing;
  });

  it("goes on when the page is hidden, and as long as the server asked for", async () => {
    let isOver = false;
    const pausing = pause(60_000, 5_000).then(() => (isOver = true));
    page.dispatchEvent(new Event("visibilitychange"));
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(4_900);
    expect(isOver).toBe(false);
    await vi.advanceTimersByTimeAsync(200);
    expect(isOver).toBe(true);
    await pausing;
  });

  it("ends with the reason of an abort", async () => {
    const controller = new AbortController();
    const pausing = pause(60_000, 0, controller.signal);
    controller.abort(new Error("enough"));
    await expect(pausing).rejects.toThrow("enough");
  });
});

describe("a request", () => {
  it("honours Retry-After in seconds and as a date", async () => {
    const server = new ScriptedServer();
    const waits = ["2", new Date(Date.now() + 6_000).toUTCString()];
    server.intercept = () => {
      const wait = waits.shift();
      return wait ? refusal(503, "shutting-down", { "retry-after": wait }) : undefined;
    };
    const loading = new Wire({ baseUrl: "http://chat.test", fetch: server.fetch }).messages("c");
    await vi.advanceTimersByTimeAsync(1_900);
    expect(server.asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(server.asked).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(5_000);
    expect((await loading).status).toBe("idle");
  });

  it("gives up when the budget is spent", async () => {
    const fetch = vi.fn(async () => {
      throw new TypeError("fetch failed");
    });
    const failed = new Wire({ baseUrl: "http://chat.test", fetch, timeoutMs: 10_000 }).messages("c").catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await failed).toMatchObject({ code: "server-unavailable", retryable: true });
    expect(fetch.mock.calls.length).toBeGreaterThan(4);
  });
});

describe("a stream", () => {
  function reading(server: ScriptedServer, signal: AbortSignal) {
    const wire = new Wire({ baseUrl: "http://chat.test", fetch: server.fetch });
    const seqs: number[] = [];
    const done = (async () => {
      for await (const batch of readRecords(wire, "c", { after: 0, signal })) seqs.push(...batch.map(({ seq }) => seq));
    })();
    done.catch(() => {});
    return { seqs, done };
  }

  it("is taken for dead after 45 seconds without a byte; comments are bytes", async () => {
    const server = new ScriptedServer();
    const controller = new AbortController();
    reading(server, controller.signal);
    await vi.advanceTimersByTimeAsync(40_000);
    server.sendRaw(": keep-alive\n\n");
    await vi.advanceTimersByTimeAsync(40_000);
    expect(server.to("/out")).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.to("/out")).toHaveLength(2);
    controller.abort();
  });

  it("is taken for dead sooner by a page that was asleep", async () => {
    const server = new ScriptedServer();
    const controller = new AbortController();
    reading(server, controller.signal);
    await vi.advanceTimersByTimeAsync(30_000);
    page.visibilityState = "visible";
    page.dispatchEvent(new Event("visibilitychange"));
    await vi.advanceTimersByTimeAsync(200);
    expect(server.to("/out")).toHaveLength(2);
    controller.abort();
  });

  it("begins at the messages again when its cursor is ahead of the log", async () => {
    const server = new ScriptedServer();
    const controller = new AbortController();
    server.state = { cursor: 3 };
    let refused = 0;
    server.intercept = ({ path }) => (path.endsWith("/out") && !refused++ ? refusal(404, "cursor-ahead") : undefined);
    const { seqs } = reading(server, controller.signal);
    await vi.advanceTimersByTimeAsync(10);
    server.log.push({ seq: 4, kind: "chunk", body: { type: "start" } });
    server.say();
    await vi.advanceTimersByTimeAsync(10);
    expect(seqs).toEqual([3, 4]);
    controller.abort();
  });

  it("fails for good when it is refused", async () => {
    const server = new ScriptedServer();
    server.intercept = () => refusal(403, "forbidden");
    const { done } = reading(server, new AbortController().signal);
    await expect(done).rejects.toMatchObject({ code: "forbidden" });
  });
});

describe("Cursors", () => {
  it("are written a moment later, once, and at once when asked to", async () => {
    const set = vi.fn();
    const cursors = new Cursors<{ cursor: number }>({ get: () => null, set, delete: vi.fn() }, "p ");
    for (let cursor = 1; cursor <= 50; cursor++) cursors.set("c", { cursor });
    expect(set).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(300);
    expect(set.mock.calls).toEqual([["p c", '{"cursor":50}']]);
    cursors.set("c", { cursor: 51 });
    cursors.flush();
    expect(set).toHaveBeenCalledTimes(2);
  });

  it("take what they cannot read for nothing", async () => {
    for (const value of ["{", "7", '{"cursor":"x"}', null, undefined]) {
      const cursors = new Cursors<{ cursor: number }>({ get: async () => value, set: vi.fn(), delete: vi.fn() }, "");
      expect(await cursors.get("c")).toBeUndefined();
    }
  });
});
