// The lease between tabs: one holder at a time, handed over, and taken over from the dead.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LazyLease } from "../src/lease.js";
import { ChannelLease, LockLease } from "../src/tab-lease.js";

/** Channels that reach one another at once, as those of the tabs of one browser do a moment later. */
class Air {
  readonly channels = new Set<FakeChannel>();
  open(): BroadcastChannel {
    const channel = new FakeChannel(this);
    this.channels.add(channel);
    return channel as unknown as BroadcastChannel;
  }
}

class FakeChannel {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  isDead = false;
  constructor(readonly air: Air) {}
  postMessage(data: unknown): void {
    if (this.isDead) return;
    for (const other of this.air.channels) if (other !== this && !other.isDead) other.onmessage?.({ data });
  }
  close(): void {
    this.air.channels.delete(this);
  }
}

/** Locks as browsers have them, as far as the lease uses them. */
class FakeLocks {
  readonly #held = new Map<string, { mode: string }[]>();
  readonly #queue: { name: string; grant: () => void }[] = [];

  request(name: string, options: { ifAvailable?: boolean; mode?: string }, callback: (lock: unknown) => unknown): Promise<unknown> {
    const held = this.#held.get(name) ?? [];
    const mode = options.mode ?? "exclusive";
    const isFree = !held.length || (mode === "shared" && held.every((lock) => lock.mode === "shared"));
    if (isFree) return this.#run(name, mode, callback);
    if (options.ifAvailable) return Promise.resolve(callback(null));
    return new Promise((resolve) => this.#queue.push({ name, grant: () => resolve(this.#run(name, mode, callback)) }));
  }

  async query(): Promise<{ held: { name: string; mode: string }[] }> {
    return { held: [...this.#held].flatMap(([name, locks]) => locks.map(({ mode }) => ({ name, mode }))) };
  }

  async #run(name: string, mode: string, callback: (lock: unknown) => unknown): Promise<unknown> {
    const lock = { mode };
    this.#held.set(name, [...(this.#held.get(name) ?? []), lock]);
    try {
      return await callback(lock);
    } finally {
      this.#held.set(name, (this.#held.get(name) ?? []).filter((one) => one !== lock));
      for (const waiting of this.#queue.splice(0)) waiting.grant();
    }
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** Let time pass while a claim waits for objections. */
async function settled<T>(promise: Promise<T>): Promise<T> {
  await vi.advanceTimersByTimeAsync(100);
  return promise;
}

describe.each([
  ["messages between tabs", () => {
    const air = new Air();
    return (tab: string) => new ChannelLease("app", air.open(), tab);
  }],
  ["web locks", () => {
    const locks = new FakeLocks();
    return (_tab: string) => new LockLease("app", locks as unknown as LockManager);
  }],
])("a lease by %s", (_name, browser) => {
  it("is held by one tab, until that gives it back", async () => {
    const newTab = browser();
    const [one, other] = [newTab("1"), newTab("2")];
    expect(await settled(one.claim("c"))).toBe(true);
    expect(await settled(other.claim("c"))).toBe(false);
    expect([one.holder("c"), other.holder("c")]).toEqual(["self", "other"]);
    one.release("c");
    await vi.advanceTimersByTimeAsync(10);
    expect(other.holder("c")).toBe("none");
    expect(await settled(other.claim("c"))).toBe(true);
    expect(await settled(one.claim("c"))).toBe(false);
  });

  it("may be claimed again by who holds it", async () => {
    const one = browser()("1");
    expect(await settled(one.claim("c"))).toBe(true);
    expect(await settled(one.claim("c"))).toBe(true);
  });

  it("is one for each chat", async () => {
    const newTab = browser();
    expect(await settled(newTab("1").claim("c"))).toBe(true);
    expect(await settled(newTab("2").claim("d"))).toBe(true);
  });

  it("is won by one of two that claim at the same time", async () => {
    const newTab = browser();
    const both = await settled(Promise.all([newTab("1").claim("c"), newTab("2").claim("c")]));
    expect(both.filter(Boolean)).toHaveLength(1);
  });

  it("tells who watches, also a tab that opens later", async () => {
    const newTab = browser();
    const one = newTab("1");
    await settled(one.claim("c"));
    const late = newTab("2");
    const heard: string[] = [];
    const stop = late.watch("c", (holder) => heard.push(holder));
    await vi.advanceTimersByTimeAsync(10);
    one.release("c");
    await vi.advanceTimersByTimeAsync(10);
    expect(heard).toEqual(["other", "none"]);
    stop();
  });

  it("is given back when its tab closes it", async () => {
    const newTab = browser();
    const [one, other] = [newTab("1"), newTab("2")];
    await settled(one.claim("c"));
    one.close();
    await vi.advanceTimersByTimeAsync(10);
    expect(await settled(other.claim("c"))).toBe(true);
  });
});

describe("a lease by messages", () => {
  it("lasts as long as its holder says that it lives, and ten seconds more", async () => {
    const air = new Air();
    const one = new ChannelLease("app", air.open(), "1");
    const other = new ChannelLease("app", air.open(), "2");
    await settled(one.claim("c"));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(other.holder("c")).toBe("other");
    for (const channel of air.channels) channel.isDead = true;
    [...air.channels][1]!.isDead = false;
    await vi.advanceTimersByTimeAsync(11_000);
    expect(other.holder("c")).toBe("none");
    expect(await settled(other.claim("c"))).toBe(true);
  });

  it("is kept by one of two holders that find each other", async () => {
    const air = new Air();
    const one = new ChannelLease("app", air.open(), "1");
    for (const channel of air.channels) channel.isDead = true; // this tab sleeps
    const other = new ChannelLease("app", air.open(), "2");
    await settled(Promise.all([one.claim("c"), other.claim("c")]));
    for (const channel of air.channels) channel.isDead = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect([one.holder("c"), other.holder("c")]).toEqual(["self", "other"]);
  });
});

describe("a lease that is loaded when it is wanted", () => {
  it("works between two of one process", async () => {
    vi.useRealTimers();
    const [one, other] = [new LazyLease("lazy"), new LazyLease("lazy")];
    expect(one.holder("c")).toBe("none");
    expect(await one.claim("c")).toBe(true);
    expect(await other.claim("c")).toBe(false);
    one.release("c");
    await vi.waitFor(() => expect(other.holder("c")).toBe("none"));
    one.close();
    other.close();
  });
});
