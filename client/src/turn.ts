// Picks the chunks of exactly one turn out of the log: the turn that settles a given input, or the one that runs.

import { toMajor, type Major } from "./majors.js";
import type { OutRecord, Settled, TurnComplete, TurnStart, WireChunk, WireMessage } from "./types.js";

/** Which turn, and for whom. */
export type TurnChoice =
  /** The turn that settles the input `seq`: its chunks as they come. */
  | { seq: number; major: Major }
  /**
   * The first turn that settles an input after `settled`, told as a whole message: one `start`, the parts that the
   * message had before the turn, what was seen of it as if in one piece, then the chunks as they come.
   */
  | { settled: number; seen: Seen; major: Major; retell: Retell };

/** How what is past is told once more; see `retell.ts`. */
export type Retell = {
  compactChunks(chunks: readonly WireChunk[]): WireChunk[];
  rebuildChunks(message: WireMessage): WireChunk[];
};

/** How far the answer `messageId` was shown. */
export type Seen = { cursor: number; messageId: string };

/**
 * Reads one turn. `feed` it the records in order; `settled` is set when the turn is over.
 *
 * A turn that begins anew under the same message id (after a crash before anything was said) has one `start` all the
 * same. When its answer is begun again as another message (`willRetry`), a reader of its own input is done: a stream of
 * the AI SDK is one message. One that resumes reads on: its clients begin anew with the id of another message.
 */
export class TurnReader {
  /** How the turn ended. */
  settled: Settled | undefined;
  /** Whether its input is answered once more, as another message. */
  willRetry = false;
  /** The input; undefined while the turn to resume is not known yet. */
  seq: number | undefined;
  /** Whether its turn has begun. */
  begun = false;
  #active = false;
  #messageId = "";
  #startedId: string | undefined;
  #failed = false;
  #held: WireChunk[] = [];
  #past: WireChunk[] | undefined;
  readonly #choice: TurnChoice;

  constructor(choice: TurnChoice) {
    this.#choice = choice;
    if ("seq" in choice) this.seq = choice.seq;
  }

  /** Take a record and return the chunks to show. */
  feed(record: OutRecord): WireChunk[] {
    if (this.settled) return [];
    const chunks: WireChunk[] = [];
    if (record.kind === "turn-start") this.#start(record.body, record.seq, chunks);
    else if (record.kind === "chunk") {
      if (this.#active) this.#chunk(record.body, chunks);
    } else if (record.kind === "turn-complete") this.#complete(record.body, chunks);
    if (this.#past && this.#isLive(record.seq)) this.#live(chunks);
    const { major } = this.#choice;
    return chunks.flatMap((chunk) => toMajor(chunk, major) ?? []);
  }

  #isLive(seq: number): boolean {
    return !("seen" in this.#choice) || seq >= this.#choice.seen.cursor || this.settled !== undefined;
  }

  #start(body: TurnStart, seq: number, chunks: WireChunk[]): void {
    if (this.seq === undefined && "settled" in this.#choice && body.inSeq > this.#choice.settled) this.seq = body.inSeq;
    this.#active = body.inSeq === this.seq;
    if (!this.#active) return;
    this.begun = true;
    this.#held = [];
    this.#messageId = body.messageId;
    if ("seq" in this.#choice || this.#startedId === body.messageId) {
      if (this.#past) this.#past = [];
      return;
    }
    if (body.message) {
      this.#push({ type: "start", messageId: body.messageId }, chunks);
      chunks.push(...this.#choice.retell.rebuildChunks(body.message));
    }
    // Another answer than the one that was seen: the log is not what it was.
    const { seen } = this.#choice;
    this.#past = seen.messageId === body.messageId && seq <= seen.cursor ? [] : undefined;
  }

  /** Everything up to the cursor was read before: from here on things are new. */
  #live(chunks: WireChunk[]): void {
    const past = "retell" in this.#choice ? this.#choice.retell.compactChunks(this.#past ?? []) : [];
    this.#past = undefined;
    const tail = chunks.splice(0, chunks.length);
    for (const chunk of past) this.#push(chunk, chunks);
    chunks.push(...tail);
  }

  #chunk(chunk: WireChunk, chunks: WireChunk[]): void {
    if (chunk.type === "error") this.#failed = true;
    if (this.#past) this.#past.push(chunk);
    else this.#push(chunk, chunks);
  }

  #push(chunk: WireChunk, chunks: WireChunk[]): void {
    if (chunk.type === "start") {
      const id: string = chunk["messageId"] ?? this.#messageId;
      if (this.#startedId !== id) chunks.push({ ...chunk, messageId: id });
      else if (chunk["messageMetadata"] != null) {
        chunks.push({ type: "message-metadata", messageMetadata: chunk["messageMetadata"] });
      }
      this.#startedId = id;
    } else if (chunk.type === "start-step") {
      // Shown with what follows it: a turn that dies before that begins anew, with another step.
      this.#held.push(chunk);
    } else {
      chunks.push(...this.#held.splice(0), chunk);
    }
  }

  #complete(body: TurnComplete, chunks: WireChunk[]): void {
    if (this.seq === undefined && "settled" in this.#choice && body.inSeq > this.#choice.settled) this.seq = body.inSeq;
    if (body.inSeq !== this.seq) {
      this.#active = false;
      return;
    }
    if (this.#past) this.#live(chunks);
    if (body.willRetry && "settled" in this.#choice && this.#choice.major > 5) {
      this.#active = false;
      return;
    }
    if (body.error && !this.#failed && !body.willRetry) chunks.push({ type: "error", errorText: body.error.message });
    this.willRetry = body.willRetry ?? false;
    this.settled = toSettled(body);
  }
}

/** What a `turn-complete` says about its input. */
export function toSettled({ inSeq, status, messageId, finishReason, error }: TurnComplete): Settled {
  return {
    seq: inSeq,
    status,
    ...(messageId === undefined ? {} : { messageId }),
    ...(finishReason === undefined ? {} : { finishReason }),
    ...(error === undefined ? {} : { error }),
  };
}
