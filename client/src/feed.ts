// One connection to the outbox of a chat, shared by all who listen to it in this page.

import { onWake } from "./patience.js";
import { readRecords, type Reading } from "./records.js";
import type { OutRecord } from "./types.js";
import type { Wire } from "./wire.js";

/** Somebody who listens. */
export type FeedListener = {
  onRecord(record: OutRecord): void;
  /** The session is closed and has said everything, or reading failed for good. Nothing follows. */
  onEnd(error: Error | undefined): void;
  /** Does without the connection while nobody looks at the page. */
  passive?: boolean;
};

/** Who owns the feed. */
export type FeedObserver = {
  /** Awaited before a turn begins, so that who sent its input knows the number by then. */
  beforeTurn(): Promise<unknown>;
  /** Told of each record once, before all listeners; not again when the connection is wound back. */
  onRecord(record: OutRecord): void;
  /** Told before all listeners that nothing follows. */
  onEnd(error: Error | undefined): void;
};

type Entry = { listener: FeedListener; cursor: number };

/**
 * Reads while somebody listens. Who needs older records than the connection stands at winds it back; the others do not
 * notice. Browsers open few connections to one server, so each chat has one at most, and a hidden page that only
 * follows along has none.
 */
export class Feed {
  readonly #wire: Wire;
  readonly #chatId: string;
  readonly #options: Pick<Reading, "onEvent">;
  readonly #observer: FeedObserver;
  readonly #entries = new Set<Entry>();
  #cursor = 0;
  #observed = 0;
  #reading: AbortController | undefined;
  #forgetWake: (() => void) | undefined;

  constructor(wire: Wire, chatId: string, options: Pick<Reading, "onEvent">, observer: FeedObserver) {
    this.#wire = wire;
    this.#chatId = chatId;
    this.#options = options;
    this.#observer = observer;
  }

  /** How far was read; undefined while nobody listens. */
  get cursor(): number | undefined {
    return this.#reading ? this.#cursor : undefined;
  }

  /** Hear every record after a cursor, in order, each once; returns how to end that. */
  listen(after: number, listener: FeedListener): () => void {
    const entry = { listener, cursor: after };
    this.#entries.add(entry);
    if (!this.#reading || after < this.#cursor) this.#restart();
    return () => {
      if (!this.#entries.delete(entry)) return;
      if (!this.#isNeeded()) this.#pause();
    };
  }

  /** End the connection and tell every listener. */
  close(error?: Error): void {
    this.#pause();
    this.#forgetWake?.();
    this.#forgetWake = undefined;
    const entries = [...this.#entries];
    this.#entries.clear();
    this.#observer.onEnd(error);
    for (const { listener } of entries) listener.onEnd(error);
  }

  /** Whether anybody needs the connection now. */
  #isNeeded(): boolean {
    const entries = [...this.#entries];
    if (typeof document !== "undefined" && document.visibilityState === "hidden") {
      return entries.some(({ listener }) => !listener.passive);
    }
    return entries.length > 0;
  }

  #pause(): void {
    this.#reading?.abort();
    this.#reading = undefined;
    if (this.#entries.size) return;
    this.#forgetWake?.();
    this.#forgetWake = undefined;
  }

  #restart(): void {
    this.#reading?.abort();
    this.#reading = undefined;
    this.#forgetWake ??= onVisibility(() => {
      if (!this.#isNeeded()) this.#pause();
      else if (!this.#reading) this.#restart();
    });
    if (!this.#isNeeded()) return;
    this.#cursor = Math.min(...[...this.#entries].map((entry) => entry.cursor));
    const reading = new AbortController();
    this.#reading = reading;
    void this.#read(reading).catch((error: unknown) => {
      if (this.#reading === reading) this.close(error instanceof Error ? error : new Error(String(error)));
    });
  }

  async #read(reading: AbortController): Promise<void> {
    const { signal } = reading;
    for await (const batch of readRecords(this.#wire, this.#chatId, { after: this.#cursor, signal, ...this.#options })) {
      for (const record of batch) {
        if (record.kind === "turn-start") await this.#observer.beforeTurn();
        if (signal.aborted) return;
        this.#cursor = record.seq;
        this.#tell(record);
      }
    }
    if (this.#reading === reading) this.close();
  }

  #tell(record: OutRecord): void {
    if (record.kind === "gap" || record.seq > this.#observed) this.#observer.onRecord(record);
    this.#observed = record.kind === "gap" ? record.seq : Math.max(this.#observed, record.seq);
    // Who only follows along hears after those who show the turn: by then it is known to be shown.
    for (const entry of [...this.#entries].sort((one, other) => rank(one) - rank(other))) {
      // A gap leads every listener to where the log is now, also back when the log is a shorter one.
      if (record.kind !== "gap" && record.seq <= entry.cursor) continue;
      entry.cursor = record.seq;
      entry.listener.onRecord(record);
    }
  }
}

function rank({ listener }: Entry): number {
  return listener.passive ? 1 : 0;
}

function onVisibility(callback: () => void): () => void {
  if (typeof document === "undefined") return onWake(() => {});
  document.addEventListener("visibilitychange", callback);
  return () => document.removeEventListener("visibilitychange", callback);
}
