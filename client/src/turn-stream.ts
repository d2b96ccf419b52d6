// One turn as a stream of chunks for `useChat`, and what an abort of that stream means.

import type { Chat, ChatContext } from "./chat.js";
import { TurnReader, type TurnChoice } from "./turn.js";
import type { OutRecord, WireChunk } from "./types.js";

/** How a turn is streamed. */
export type TurnStreamOptions = {
  chat: Chat;
  seen: ChatContext["seen"];
  /** A cursor before the turn. */
  after: number;
  /** Which turn; known when its input has its number. */
  choice: Promise<TurnChoice>;
  signal: AbortSignal | undefined;
  /** Called once, when nothing more comes. */
  onOver: () => void;
  /** Whether a person's abort ends the turn. */
  stops: boolean;
};

/** Streams one turn; it ends with the turn, with an error, with an abort, or when its reader leaves. */
export class TurnStream {
  readonly stream: ReadableStream<WireChunk>;
  readonly #options: TurnStreamOptions;
  readonly #early: OutRecord[] = [];
  readonly #resumes: number;
  #controller!: ReadableStreamDefaultController<WireChunk>;
  #forget: (() => void) | undefined;
  #reader: TurnReader | undefined;
  #messageId = "";
  #isOver = false;
  #heard = 0;
  #heardBy = Infinity;

  constructor(options: TurnStreamOptions) {
    this.#options = options;
    this.#resumes = options.chat.resumes;
    this.stream = new ReadableStream<WireChunk>({
      start: (controller) => void (this.#controller = controller),
      cancel: () => this.#end(() => {}),
    });
    const { chat, choice, signal } = options;
    // What is read already goes on while the input is on its way. Else there may be nothing to read before it is there.
    if (chat.cursor !== undefined) this.#listen(options.after);
    choice.then(
      (chosen) => this.#choose(chosen),
      (error: unknown) => this.fail(error),
    );
    signal?.addEventListener("abort", this.#abort, { once: true });
    if (signal?.aborted) this.#abort();
  }

  /** Break off with an error. */
  fail(error: unknown): void {
    this.#end(() => this.#controller.error(error));
  }

  #choose(chosen: TurnChoice): void {
    if (this.#isOver) return;
    this.#reader = new TurnReader(chosen);
    if ("seq" in chosen) this.#options.chat.own(chosen.seq);
    for (const record of this.#early.splice(0)) this.#hear(record);
    const { chat, after } = this.#options;
    if (!this.#forget) this.#listen(chat.since(after));
  }

  #listen(after: number): void {
    this.#forget = this.#options.chat.listen(after, {
      onRecord: (record) => this.#hear(record),
      onEnd: (error) => (error ? this.fail(error) : this.#end(() => this.#controller.close())),
    });
  }

  #hear(record: OutRecord): void {
    const reader = this.#reader;
    if (!reader) return void this.#early.push(record);
    if (this.#isOver) return;
    const { chat, seen } = this.#options;
    for (const chunk of reader.feed(record)) this.#controller.enqueue(chunk);
    if (record.kind === "turn-start" && record.body.inSeq === reader.seq) {
      this.#messageId = record.body.messageId;
      chat.own(reader.seq);
    }
    if (this.#messageId) seen.set(chat.id, { cursor: record.seq, messageId: this.#messageId });
    if (reader.settled) {
      // Another message answers the same input: whoever follows the chat is to be told of it.
      if (reader.willRetry) chat.own(reader.settled.seq, false);
      this.#end(() => this.#controller.close());
    } else if (record.kind === "gap") void this.#afterGap(record.seq, reader.seq ?? 0);
    else this.#lookForLoss(record.seq);
  }

  async #afterGap(heard: number, seq: number): Promise<void> {
    try {
      this.#heardBy = await this.#options.chat.heardBy(seq);
      this.#lookForLoss(Math.max(heard, this.#heard));
    } catch (error) {
      this.fail(error);
    }
  }

  /** A turn is kept or dropped as a whole: if it is over and nothing of it came, nothing will. */
  #lookForLoss(heard: number): void {
    this.#heard = heard;
    if (heard >= this.#heardBy && !this.#reader?.begun) this.#end(() => this.#controller.close());
  }

  #end(tell: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { chat, seen, signal, onOver } = this.#options;
    this.#forget?.();
    signal?.removeEventListener("abort", this.#abort);
    const seq = this.#reader?.seq;
    if (seq !== undefined && !this.#reader?.settled) chat.own(seq, false);
    seen.flush();
    onOver();
    tell();
  }

  readonly #abort = (): void => {
    const { chat, signal, stops } = this.#options;
    const wasLeft = chat.isLeft;
    const isOver = this.#isOver;
    this.fail(signal?.reason ?? new DOMException("The stream was aborted.", "AbortError"));
    if (isOver || wasLeft || !stops) return;
    // Who aborts to make room for another resume begins that in the same breath.
    setTimeout(() => {
      if (chat.resumes === this.#resumes) void this.#stopTurn();
    }, 0);
  };

  /** A person pressed stop: end the turn; if it has not begun, take its input back. */
  async #stopTurn(): Promise<void> {
    const { chat, choice } = this.#options;
    try {
      const chosen = await choice;
      const inSeq = this.#reader?.seq ?? ("seq" in chosen ? chosen.seq : undefined);
      if (inSeq !== undefined && !this.#reader?.begun) await chat.tell({ kind: "withdraw", inSeq });
      await chat.tell(inSeq === undefined ? { kind: "stop" } : { kind: "stop", inSeq });
    } catch {
      // Nothing was said, or the turn goes on and says so; there is nobody to tell.
    }
  }
}
