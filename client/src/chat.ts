// What a transport knows of one chat: its feed, how far it was shown, what is being sent, and who has it on screen.

import { ChatrtError } from "./errors.js";
import { Feed } from "./feed.js";
import { newId } from "./ids.js";
import { toSettled, TurnReader, type Seen, type TurnChoice } from "./turn.js";
import type { ChatState, ClientEvent, JsonObject, OutRecord, Settled, WireChunk } from "./types.js";
import type { RequestExtras, Wire } from "./wire.js";

/** What chats need of their transport. */
export type ChatContext = {
  wire: Wire;
  agent: string;
  /** Client data for the creation of the session. */
  clientData: () => unknown;
  seen: { get(chatId: string): Promise<Seen | undefined>; set(chatId: string, seen: Seen): void; flush(): void };
  onEvent: (event: ClientEvent) => void;
};

const HOLD_MS = 2_000;

/** One chat. */
export class Chat {
  readonly feed: Feed;
  /** Numbers of inputs whose answers are streamed to this page's own chat. */
  readonly own = new Set<number>();
  /** How many components show the chat; what is aborted after the last one left is not to be stopped. */
  shown = 0;
  isLeft = false;
  /** Counts resumes: an abort that makes room for another resume stops nothing. */
  resumes = 0;
  isClosed = false;
  readonly #context: ChatContext;
  readonly #chatId: string;
  #base: number | undefined; // a cursor that is known to be good; undefined before the session is known
  #sending: Promise<unknown> = Promise.resolve();
  readonly #unsure = new Map<string, string>(); // what may have been appended -> under which key

  constructor(chatId: string, context: ChatContext) {
    this.#chatId = chatId;
    this.#context = context;
    const onEvent = context.onEvent;
    this.feed = new Feed(context.wire, chatId, { onEvent }, () => this.#settle());
  }

  /** Load the messages; undefined for a chat that has not begun. */
  async load(extras: RequestExtras = {}): Promise<ChatState | undefined> {
    try {
      const state = await this.#context.wire.messages(this.#chatId, extras);
      this.#base = state.cursor;
      if (state.status === "closed") this.close();
      return state;
    } catch (error) {
      if (!ChatrtError.isInstance(error) || error.code !== "session-not-found") throw error;
      this.#base = undefined;
      return undefined;
    }
  }

  /** Make sure of the session; returns the cursor from which the next answer is looked for. */
  async start(extras: RequestExtras = {}): Promise<number> {
    const known = this.feed.cursor ?? this.#base;
    if (known !== undefined) return known;
    const { wire, agent, clientData } = this.#context;
    const data = clientData();
    const isNew = await wire.create(this.#chatId, agent, data === undefined ? {} : { clientData: data }, extras);
    this.#base = isNew ? 0 : ((await this.load(extras))?.cursor ?? 0);
    return this.#base;
  }

  /** Append an input, once however often it takes, and create the session if it is not there. */
  append(body: JsonObject, extras: RequestExtras = {}): Promise<number> {
    const appended = this.#append(body, extras);
    // Failures are told to who appends; others only wait for the end of it.
    this.#sending = Promise.allSettled([this.#sending, appended]);
    return appended;
  }

  async #append(body: JsonObject, extras: RequestExtras): Promise<number> {
    if (this.isClosed) throw new ChatrtError("session-closed", "The chat is closed.", { status: 409 });
    const { wire, onEvent } = this.#context;
    const name = JSON.stringify(body);
    // Said once more after nobody knew whether it arrived, it is the same input still.
    const key = this.#unsure.get(name) ?? newId("part");
    this.#unsure.set(name, key);
    try {
      await this.start(extras);
      const { seq, repeated } = await wire.append(this.#chatId, body, key, extras).catch(async (error: unknown) => {
        if (!ChatrtError.isInstance(error) || error.code !== "session-not-found") throw error;
        this.#base = undefined;
        await this.start(extras);
        return wire.append(this.#chatId, body, key, extras);
      });
      this.#unsure.delete(name);
      onEvent({ type: "sent", chatId: this.#chatId, kind: String(body["kind"]), seq, repeated });
      return seq;
    } catch (error) {
      if (ChatrtError.isInstance(error) && !error.retryable) this.#unsure.delete(name);
      if (ChatrtError.isInstance(error) && error.code === "session-closed") this.close();
      throw error;
    }
  }

  /** Wait until what is being sent has its number. */
  async #settle(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([this.#sending, new Promise((resolve) => (timer = setTimeout(resolve, HOLD_MS)))]);
    clearTimeout(timer);
  }

  /** Hear the records from a cursor on; the chat learns from them as well. */
  listen(
    after: number,
    hear: { onRecord: (record: OutRecord) => void; onEnd: (error: Error | undefined) => void; passive?: boolean },
  ): () => void {
    return this.feed.listen(after, {
      ...(hear.passive ? { passive: true } : {}),
      onRecord: (record) => {
        if (record.kind === "turn-complete" || record.kind === "gap") this.#base = record.seq;
        hear.onRecord(record);
      },
      onEnd: (error) => {
        if (!error) this.close();
        if (ChatrtError.isInstance(error) && error.code === "session-not-found") this.#base = undefined;
        hear.onEnd(error);
      },
    });
  }

  /** Wait until an input is settled. */
  settled(after: number, seq: Promise<number>, signal?: AbortSignal): Promise<Settled> {
    return new Promise((resolve, reject) => {
      const early: OutRecord[] = [];
      let known: number | undefined;
      const look = (record: OutRecord): void => {
        if (record.kind === "gap") void this.#afterGap(known ?? 0).then((end) => end && finish(() => resolve(end)), fail);
        if (record.kind !== "turn-complete" || record.body.willRetry || record.body.inSeq !== known) return;
        const { body } = record;
        finish(() => resolve(toSettled(body)));
      };
      const forget = this.listen(after, {
        onRecord: (record) => (known === undefined ? void early.push(record) : look(record)),
        onEnd: (error) => fail(error ?? new ChatrtError("session-closed", "The chat is closed.", { status: 409 })),
      });
      const abort = (): void => fail(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      seq.then((number) => {
        known = number;
        early.splice(0).forEach(look);
      }, fail);

      function finish(tell: () => void): void {
        forget();
        signal?.removeEventListener("abort", abort);
        tell();
      }
      function fail(error: unknown): void {
        finish(() => reject(error));
      }
    });
  }

  /** What became of an input whose records are no longer kept; undefined if it is still to come. */
  async #afterGap(seq: number): Promise<Settled | undefined> {
    const state = await this.load();
    return state && state.inCursor >= seq ? { seq, status: "completed" } : undefined;
  }

  /** The chunks of one turn as a stream. */
  stream(after: number, choice: TurnChoice | Promise<TurnChoice>, ends: TurnEnds): ReadableStream<WireChunk> {
    const { seen } = this.#context;
    let forget: () => void = () => {};
    let reader: TurnReader | undefined;
    const early: OutRecord[] = [];
    return new ReadableStream<WireChunk>({
      start: (controller) => {
        let isOver = false;
        const over = (tell: () => void): void => {
          if (isOver) return;
          isOver = true;
          forget();
          seen.flush();
          if (reader?.seq !== undefined) this.own.delete(reader.seq);
          ends.onOver(reader);
          tell();
        };
        let messageId = "";
        const hear = (record: OutRecord): void => {
          if (!reader) return void early.push(record);
          if (isOver) return;
          for (const chunk of reader.feed(record)) controller.enqueue(chunk);
          if (reader.seq !== undefined) this.own.add(reader.seq);
          if (record.kind === "turn-start" && record.body.inSeq === reader.seq) messageId = record.body.messageId;
          seen.set(this.#chatId, { cursor: record.seq, messageId });
          if (reader.settled) over(() => controller.close());
          else if (record.kind === "gap") {
            const seq = reader.seq ?? 0;
            const done = (end: Settled | undefined): void => {
              if (end && !reader?.begun) over(() => controller.close());
            };
            this.#afterGap(seq).then(done, (error: unknown) => over(() => controller.error(error)));
          }
        };
        const fail = (error: unknown): void => over(() => controller.error(error));
        ends.onAbort((reason) => fail(reason));
        forget = this.listen(after, {
          onRecord: hear,
          onEnd: (error) => (error ? fail(error) : over(() => controller.close())),
        });
        Promise.resolve(choice).then((chosen) => {
          reader = new TurnReader(chosen);
          if (reader.seq !== undefined) this.own.add(reader.seq);
          ends.onChosen(reader);
          early.splice(0).forEach(hear);
        }, fail);
      },
      cancel: () => {
        forget();
        seen.flush();
        if (reader?.seq !== undefined) this.own.delete(reader.seq);
        ends.onOver(reader);
      },
    });
  }

  /** The session takes no more inputs. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#context.onEvent({ type: "closed", chatId: this.#chatId });
  }
}

/** What a stream tells of itself, and how it is told to end. */
export type TurnEnds = {
  /** The turn is known. */
  onChosen(reader: TurnReader): void;
  /** The stream is over, whatever the reason. */
  onOver(reader: TurnReader | undefined): void;
  /** Hands over how to break the stream off. */
  onAbort(abort: (reason: unknown) => void): void;
};
