// The answer to one input, read in exactly one way: as chunks, as a text, as a result, or as a growing message.

import { ChatrtError, TurnFailedError } from "../errors.js";
import { readRecords } from "../records.js";
import { isToolPart } from "../slim.js";
import type { TurnError, TurnStart, TurnComplete, TurnStatus, WireChunk, WireMessage } from "../types.js";
import type { Wire } from "../wire.js";
import { cleanUp, MessageReducer } from "./reducer.js";
import { toResult, toolName, type ChatResult } from "./result.js";

/** Where an answer is found: the input it answers, a cursor before it, and up to where chunks were seen before. */
export type Place = { seq: number; after: number; shown?: number };

/** What a stream needs of its conversation. */
export type StreamContext = {
  wire: Wire;
  chatId: string;
  timeoutMs: number;
  onCursor: (seq: number) => void;
  begin: (signal: AbortSignal) => Promise<Place>;
};

/**
 * The answer to one input of an `AgentChat`.
 *
 * Nothing is sent before the first use. `await stream.sent` sends the input and resolves when it is durable; iterating,
 * `text()`, `result()` and `messages()` do the same first. Only one of these four may be used, once. Leaving an
 * iteration detaches: the turn goes on and its answer is in the history.
 *
 *     for await (const chunk of chat.sendMessage("Hello")) ...
 *     const text = await chat.sendMessage("Hello").text();
 */
export class ChatStream implements AsyncIterable<WireChunk> {
  /** How the turn ended; undefined before its end was read. */
  status: TurnStatus | undefined;
  /** What the model gave as its reason, if it did. */
  finishReason: string | undefined;
  /** Of a failed or interrupted turn. */
  error: TurnError | undefined;

  readonly #context: StreamContext;
  readonly #reading = new AbortController();
  #place: Promise<Place> | undefined;
  #mode = "";
  #reducer = new MessageReducer(undefined, "");
  #base: WireMessage | undefined;
  #chunks = 0;
  #isLost = false;

  constructor(context: StreamContext) {
    this.#context = context;
  }

  /** Send the input; resolves with its number when it is durable. */
  get sent(): Promise<number> {
    return this.#begin().then((place) => place.seq);
  }

  /** The chunks of the turn. A failed turn ends with an `error` chunk, a stopped one with `abort`. */
  [Symbol.asyncIterator](): AsyncGenerator<WireChunk, void> {
    this.#take("iteration");
    return this.#iterate();
  }

  /**
   * The message as it grows; each one is whole and independent of the next.
   *
   * Throws `TurnFailedError` after the last one, if the turn failed.
   */
  messages(): AsyncGenerator<WireMessage, void> {
    this.#take("messages()");
    return this.#snapshots();
  }

  /** The texts of this turn; of a stopped turn what there is. Throws `TurnFailedError` if it failed. */
  async text(): Promise<string> {
    const result = await this.#result("text()");
    this.#throwFailure();
    return result.text;
  }

  /** The whole answer; a failed turn has `status` and `error` and throws nothing. */
  result(): Promise<ChatResult> {
    return this.#result("result()");
  }

  /** Stop reading; the turn goes on. */
  close(): void {
    this.#mode ||= "close()";
    this.#reading.abort(new ChatrtError("client-closed", "The stream was closed."));
  }

  // --- inside

  #take(mode: string): void {
    if (this.#mode) {
      throw new ChatrtError("usage", `An answer is read once, in one way: it was already read by ${this.#mode}.`);
    }
    this.#mode = mode;
  }

  #begin(): Promise<Place> {
    this.#place ??= this.#context.begin(this.#reading.signal);
    return this.#place;
  }

  async *#iterate(): AsyncGenerator<WireChunk, void> {
    for await (const { chunk, isNew } of this.#read()) if (isNew) yield chunk;
  }

  async *#snapshots(): AsyncGenerator<WireMessage, void> {
    let last: WireMessage | undefined;
    for await (const { chunk } of this.#read()) {
      this.#chunks++;
      if (this.#reducer.apply(chunk)) yield (last = this.#reducer.snapshot());
    }
    const message = await this.#finalMessage();
    if (message && JSON.stringify(message) !== JSON.stringify(last)) yield message;
    this.#throwFailure();
  }

  async #result(mode: string): Promise<ChatResult> {
    this.#take(mode);
    for await (const { chunk } of this.#read()) {
      this.#chunks++;
      this.#reducer.apply(chunk);
    }
    const { finishReason, error, status = "interrupted" } = this;
    return toResult(await this.#finalMessage(), this.#base, { finishReason, error, status });
  }

  /** Send the input if that was not done, and yield the chunks of its turn, from its start to its end. */
  async *#read(): AsyncGenerator<{ chunk: WireChunk; isNew: boolean }, void> {
    const { seq, after, shown = 0 } = await this.#begin();
    const { wire, chatId, timeoutMs, onCursor } = this.#context;
    let isRunning = false;
    let heardBy = Infinity;
    for await (const batch of readRecords(wire, chatId, { after, signal: this.#reading.signal, timeoutMs })) {
      for (const record of batch) {
        onCursor(record.seq);
        if (record.kind === "chunk") {
          if (isRunning) yield { chunk: record.body, isNew: record.seq > shown };
        } else if (record.kind === "gap") {
          // Turns are kept or trimmed whole: either ours begins after the gap, or it is lost.
          isRunning = false;
          this.#isLost = true;
          heardBy = await this.#heardBy(seq);
        } else if (record.body.inSeq < seq) {
          isRunning = false;
        } else if (this.#isLost && record.body.inSeq > seq && heardBy < Infinity) {
          this.status = "completed"; // another turn already: ours is among what is no longer kept
          return;
        } else if (record.kind === "turn-start") {
          this.#start(record.body);
          isRunning = true;
        } else if (record.kind === "turn-complete" && !record.body.willRetry) {
          this.#settle(record.body);
          return;
        }
        if (record.seq >= heardBy && this.#isLost) {
          // Its end is no longer kept: it came, and nobody can say more.
          this.status = "completed";
          return;
        }
      }
    }
    throw new ChatrtError("session-closed", "The log ended before the turn did.", { status: 409 });
  }

  /** The cursor by which an input must have been heard of, after records were missed; Infinity while it is to come. */
  async #heardBy(seq: number): Promise<number> {
    const state = await this.#context.wire.messages(this.#context.chatId);
    return state.inCursor >= seq ? state.cursor : Infinity;
  }

  #start({ messageId, message }: TurnStart): void {
    this.#base = message;
    this.#reducer = new MessageReducer(message, messageId);
    this.#chunks = 0;
    this.#isLost = false;
  }

  #settle({ status, finishReason, error, messageId }: TurnComplete): void {
    this.status = status;
    this.finishReason = finishReason;
    this.error = error;
    if (messageId !== undefined) this.#reducer.message.id = messageId;
  }

  /** The message as the history has it, without asking for it unless chunks were missed. */
  async #finalMessage(): Promise<WireMessage | undefined> {
    if (this.#isLost) {
      const { messages } = await this.#context.wire.messages(this.#context.chatId);
      const id = this.#reducer.message.id;
      return messages.findLast((message) => message.id === id);
    }
    if (!this.#chunks) return this.#base;
    let message = this.#reducer.snapshot();
    if (this.status !== "completed") {
      // Calls that the server left open are the client's to answer; it has closed all others itself.
      message = cleanUp(message, new Set(message.parts.filter(isToolPart).map(toolName)));
    }
    return message.parts.length || message.metadata !== undefined ? message : undefined;
  }

  #throwFailure(): void {
    if (this.status !== "failed" && this.status !== "interrupted") return;
    const { code = "turn-interrupted", message = "The run that served the turn died.", id = "" } = this.error ?? {};
    throw new TurnFailedError(code, message, { id });
  }
}
