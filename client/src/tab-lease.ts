// Which of several tabs may send in a chat: a lease that one of them holds, by web locks or by messages between tabs.

import { NoLease, type Holder, type Lease } from "./lease.js";

/** The best lease there is here: web locks, which end with their tab; else messages; else every tab may send. */
export function makeLease(name: string): Lease {
  const locks = globalThis.navigator?.locks as LockManager | undefined;
  if (locks && typeof locks.request === "function") return new LockLease(name, locks);
  if (typeof BroadcastChannel === "function") return new ChannelLease(name, new BroadcastChannel(`chatrt ${name}`));
  return new NoLease();
}

class Holders {
  readonly #holders = new Map<string, Holder>();
  readonly #listeners = new Map<string, Set<(holder: Holder) => void>>();

  get(chatId: string): Holder {
    return this.#holders.get(chatId) ?? "none";
  }

  set(chatId: string, holder: Holder): void {
    if (this.get(chatId) === holder) return;
    this.#holders.set(chatId, holder);
    for (const listener of [...(this.#listeners.get(chatId) ?? [])]) listener(holder);
  }

  listen(chatId: string, listener: (holder: Holder) => void): () => void {
    const listeners = this.#listeners.get(chatId) ?? new Set();
    this.#listeners.set(chatId, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  chats(holder: Holder): string[] {
    return [...this.#holders].filter(([, one]) => one === holder).map(([chatId]) => chatId);
  }
}

/** By `navigator.locks`: the browser gives the lock back when a tab dies, so nothing has to be told or timed. */
export class LockLease implements Lease {
  readonly #name: string;
  readonly #locks: LockManager;
  readonly #holders = new Holders();
  readonly #held = new Map<string, () => void>();
  readonly #waiting = new Map<string, AbortController>();
  #closed = false;

  constructor(name: string, locks: LockManager) {
    this.#name = name;
    this.#locks = locks;
  }

  async claim(chatId: string): Promise<boolean> {
    if (this.#held.has(chatId)) return true;
    this.#closed = false;
    const taken = await new Promise<boolean>((resolve, reject) => {
      const held = this.#locks.request(this.#lock(chatId), { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        if (lock) return new Promise<void>((release) => this.#held.set(chatId, release));
        return undefined;
      });
      held.catch(reject);
    });
    this.#holders.set(chatId, taken ? "self" : "other");
    if (!taken) this.#wait(chatId);
    return taken;
  }

  release(chatId: string): void {
    this.#held.get(chatId)?.();
    if (this.#held.delete(chatId)) this.#holders.set(chatId, "none");
  }

  holder(chatId: string): Holder {
    return this.#holders.get(chatId);
  }

  watch(chatId: string, onChange: (holder: Holder) => void): () => void {
    const stop = this.#holders.listen(chatId, onChange);
    const look = (): void => void this.#look(chatId).catch(() => {});
    look();
    // Nobody tells when a lock is taken: look again when the person does, and now and then.
    const timer = setInterval(look, 2_000);
    return () => {
      clearInterval(timer);
      stop();
    };
  }

  close(): void {
    this.#closed = true;
    for (const chatId of [...this.#held.keys()]) this.release(chatId);
    for (const waiting of this.#waiting.values()) waiting.abort();
    this.#waiting.clear();
  }

  async #look(chatId: string): Promise<void> {
    if (this.#held.has(chatId) || this.#waiting.has(chatId) || this.#closed) return;
    const { held = [] } = await this.#locks.query();
    const name = this.#lock(chatId);
    if (this.#held.has(chatId) || !held.some((lock) => lock.name === name && lock.mode === "exclusive")) return;
    this.#holders.set(chatId, "other");
    this.#wait(chatId);
  }

  /** A shared lock is granted as soon as the exclusive one is given back, to all who wait. */
  #wait(chatId: string): void {
    if (this.#waiting.has(chatId)) return;
    const waiting = new AbortController();
    this.#waiting.set(chatId, waiting);
    const granted = this.#locks.request(this.#lock(chatId), { mode: "shared", signal: waiting.signal }, () => {
      this.#waiting.delete(chatId);
      if (this.holder(chatId) === "other") this.#holders.set(chatId, "none");
    });
    granted.catch(() => this.#waiting.delete(chatId));
  }

  #lock(chatId: string): string {
    return `chatrt ${this.#name} ${chatId}`;
  }
}

const HEARTBEAT_MS = 3_000;
const STALE_MS = 10_000;
const OBJECTION_MS = 50;

type Said = { type: "claim" | "held" | "release" | "ask"; chatId: string; tab: string };

/**
 * By a `BroadcastChannel`: a tab claims, waits a moment for objections, and says every few seconds that it is still there.
 *
 * Of two tabs that claim at the same time the one with the smaller id wins. A holder that says nothing for ten seconds
 * is gone.
 */
export class ChannelLease implements Lease {
  readonly #channel: BroadcastChannel;
  readonly #tab: string;
  readonly #holders = new Holders();
  readonly #claims = new Map<string, () => void>(); // chat -> what to do when somebody objects
  readonly #staleTimers = new Map<string, ReturnType<typeof setTimeout>>();
  #heartbeat: ReturnType<typeof setInterval> | undefined;

  constructor(_name: string, channel: BroadcastChannel, tab: string = Math.random().toString(36).slice(2)) {
    this.#channel = channel;
    this.#tab = tab;
    channel.onmessage = (event: MessageEvent<Said>) => this.#hear(event.data);
    // In Node.js an open channel would keep the process alive.
    (channel as { unref?: () => void }).unref?.();
  }

  async claim(chatId: string): Promise<boolean> {
    if (this.holder(chatId) === "self") return true;
    if (this.holder(chatId) === "other" || this.#claims.has(chatId)) return false;
    const unopposed = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(true), OBJECTION_MS);
      this.#claims.set(chatId, () => {
        clearTimeout(timer);
        resolve(false);
      });
      this.#say("claim", chatId);
    });
    this.#claims.delete(chatId);
    if (!unopposed) return false;
    this.#holders.set(chatId, "self");
    this.#say("held", chatId);
    this.#heartbeat ??= setInterval(() => this.#beat(), HEARTBEAT_MS);
    return true;
  }

  release(chatId: string): void {
    if (this.holder(chatId) !== "self") return;
    this.#holders.set(chatId, "none");
    this.#say("release", chatId);
    this.#beat();
  }

  holder(chatId: string): Holder {
    return this.#holders.get(chatId);
  }

  watch(chatId: string, onChange: (holder: Holder) => void): () => void {
    const stop = this.#holders.listen(chatId, onChange);
    this.#say("ask", chatId);
    return stop;
  }

  close(): void {
    for (const chatId of this.#holders.chats("self")) this.release(chatId);
    for (const timer of this.#staleTimers.values()) clearTimeout(timer);
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }

  #beat(): void {
    const held = this.#holders.chats("self");
    for (const chatId of held) this.#say("held", chatId);
    if (held.length) return;
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }

  #hear({ type, chatId, tab }: Said): void {
    if (type === "release") this.#gone(chatId);
    else if (this.holder(chatId) === "self") {
      // Two holders at once can only be after a tab slept: the smaller id keeps the lease.
      if (type === "held" && tab < this.#tab) this.#other(chatId);
      else this.#say("held", chatId);
    } else if (type === "held") {
      this.#claims.get(chatId)?.();
      this.#other(chatId);
    } else if (type === "claim" && this.#claims.has(chatId)) {
      if (tab < this.#tab) this.#claims.get(chatId)?.();
      else this.#say("claim", chatId);
    }
  }

  #other(chatId: string): void {
    this.#holders.set(chatId, "other");
    clearTimeout(this.#staleTimers.get(chatId));
    this.#staleTimers.set(
      chatId,
      setTimeout(() => this.#gone(chatId), STALE_MS),
    );
  }

  #gone(chatId: string): void {
    clearTimeout(this.#staleTimers.get(chatId));
    this.#staleTimers.delete(chatId);
    if (this.holder(chatId) === "other") this.#holders.set(chatId, "none");
  }

  #say(type: Said["type"], chatId: string): void {
    this.#channel.postMessage({ type, chatId, tab: this.#tab } satisfies Said);
  }
}
