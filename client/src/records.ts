// The records of a session's outbox as they come: over as many connections as it takes, each record once and in order.

import { ChatrtError } from "./errors.js";
import { onWake, Patience, pause } from "./patience.js";
import { SSEDecoder, type SSEEvent } from "./sse.js";
import type { ClientEvent, OutRecord } from "./types.js";
import { toTryAgain, type Wire } from "./wire.js";

// The server sends something at least every 15 s: silence for three times as long is a dead connection.
const SILENCE_MS = 45_000;
const HEARTBEAT_MS = 20_000;
// A connection that lived this long was no failure to connect, even if no record came over it.
const A_LIFE_MS = 10_000;

const KINDS = new Set(["turn-start", "turn-complete", "upgrade", "handover", "gap"]);

/** How to read. */
export type Reading = {
  after: number;
  signal: AbortSignal;
  /** Milliseconds to go on trying after a break; without end by default. */
  timeoutMs?: number | undefined;
  onEvent?: ((event: ClientEvent) => void) | undefined;
};

/**
 * Yield the records after a cursor, in batches, until the signal is aborted or the closed session has said everything.
 *
 * The end of a body is no news: reading goes on with the next connection. A cursor beyond the end of the log, as after
 * a restored backup, is answered with a `gap` that leads to where the messages are now.
 *
 * Throws `ChatrtError` for what does not heal, and the signal's reason.
 */
export async function* readRecords(wire: Wire, chatId: string, reading: Reading): AsyncGenerator<OutRecord[], void> {
  const { signal, onEvent } = reading;
  const patience = new Patience(reading.timeoutMs ?? Infinity);
  let cursor = reading.after;
  for (;;) {
    const began = Date.now();
    let failure: Error = new ChatrtError("server-unavailable", "The server ended the stream.", { retryable: true });
    let atLeastMs = 0;
    let isNews = false;
    try {
      for await (const batch of readConnection(wire, chatId, cursor, signal, onEvent)) {
        if (batch === "closed") return;
        patience.progress();
        cursor = batch.at(-1)?.seq ?? cursor;
        yield batch;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (ChatrtError.isInstance(error) && error.code === "cursor-ahead") {
        const state = await wire.messages(chatId, { signal });
        yield [{ seq: state.cursor, kind: "gap", body: { after: cursor, firstSeq: state.cursor + 1 } }];
        cursor = state.cursor;
        continue;
      }
      ({ failure, atLeastMs } = toTryAgain(error));
      isNews = true;
    }
    if (Date.now() - began > A_LIFE_MS) patience.progress();
    const delay = patience.next(atLeastMs);
    if (delay === undefined) throw failure;
    if (isNews) onEvent?.({ type: "disconnected", chatId, error: failure, retryInMs: delay });
    await pause(delay, atLeastMs, signal);
  }
}

async function* readConnection(
  wire: Wire,
  chatId: string,
  after: number,
  signal: AbortSignal,
  onEvent: Reading["onEvent"],
): AsyncGenerator<OutRecord[] | "closed", void> {
  const connection = new AbortController();
  const cut = (): void => connection.abort(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener("abort", cut, { once: true });
  const watchdog = new Watchdog(() => connection.abort(new TypeError("network silence")));
  let body: ReadableStreamDefaultReader<Uint8Array> | undefined;
  try {
    const response = await wire.open(chatId, after, connection.signal);
    onEvent?.({ type: "connected", chatId, cursor: after });
    body = response.body?.getReader();
    const text = new TextDecoder();
    const decoder = new SSEDecoder();
    let cursor = after;
    for (;;) {
      const read = await body?.read();
      if (!read || read.done) return;
      watchdog.feed();
      const events = decoder.push(text.decode(read.value, { stream: true }));
      const batch: OutRecord[] = [];
      for (const event of events) {
        const record = toRecord(event);
        // A gap stands for records before its own number, which may be the cursor itself.
        if (record && (record.seq > cursor || record.kind === "gap")) {
          batch.push(record);
          cursor = record.seq;
        }
      }
      if (batch.length) yield batch;
      // Nobody asked to be told of idleness: only the stream of a closed session ends so.
      if (events.some((event) => event.event === "idle")) return yield "closed";
    }
  } finally {
    watchdog.end();
    signal.removeEventListener("abort", cut);
    connection.abort();
    await body?.cancel().catch(() => {});
  }
}

/** Bites when nothing was fed to it for too long; sooner when the page was asleep or offline. */
class Watchdog {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #fedAt = Date.now();
  readonly #forget: () => void;

  constructor(readonly bite: () => void) {
    this.#wait(SILENCE_MS);
    this.#forget = onWake(() => {
      if (Date.now() - this.#fedAt > HEARTBEAT_MS) this.bite();
    });
  }

  feed(): void {
    this.#fedAt = Date.now();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#forget();
  }

  // One timer for the whole connection: setting one for each piece of bytes would cost more than the reading.
  #wait(ms: number): void {
    this.#timer = setTimeout(() => {
      const left = this.#fedAt + SILENCE_MS - Date.now();
      if (left > 0) this.#wait(left);
      else this.bite();
    }, ms);
  }
}

function toRecord({ event, id, data }: SSEEvent): OutRecord | undefined {
  if (id === undefined || !/^\d+$/.test(id)) return undefined;
  const kind = event === "message" ? "chunk" : event;
  // Control records of a newer server are passed over; the next record carries the cursor beyond them.
  if (kind !== "chunk" && !KINDS.has(kind)) return undefined;
  return { seq: Number(id), kind, body: JSON.parse(data) } as OutRecord;
}
