// What a transport knows of one chat: its session, its feed, what is being sent, and who listens.

import { ChatrtError } from "./errors.js";
import { Feed, type FeedListener } from "./feed.js";
import { newId } from "./ids.js";
import { pause } from "./patience.js";
import { toSettled, type Seen } from "./turn.js";
import type { ChatState, ClientEvent, JsonObject, OutRecord, Settled } from "./types.js";
import type { RequestExtras, Wire } from "./wire.js";

/** What chats need of their transport. */
export type ChatContext = {
  wire: Wire;
  agent: string;
  /** Client data for the creation of the session. */
  clientData: () => unknown;
  seen: {
    get(chatId: string): Promise<Seen | undefined>;
    set(chatId: string, seen: Seen): void;
    delete(chatId: string): void;
    flush(): void;
  };
  onEvent: (event: ClientEvent) => void;
};

type Watcher = {
  hear: (record: OutRecord, own: boolean) => void;
  forget: (() => void) | undefined;
  /** Whether the turn that it hears is an own one. */
  own: boolean;
};

const HOLD_MS = 2_000;
const FOLLOW_AGAIN_MS = 5_000;
const OWN_KEPT = 100;

/** One chat. */
export class Chat {
  readonly id: string;
  /** How many components show the chat; an abort after the last one left is no person's stop. */
  shown = 0;
  isLeft = false;
  /** Counts resumes: an abort that makes room for another resume is no person's stop either. */
  resumes = 0;
  /** Counts answers that are streamed to what was sent here. */
  sends = 0;
  isClosed = false;
  readonly #context: ChatContext;
  readonly #feed: Feed;
  readonly #own = new Set<number>();
  readonly #watchers = new Set<Watcher>();
  readonly #unsure = new Map<string, string>(); // what may have been appended -> under which key
  #base: number | undefined; // a cursor that is known to be good; undefined before the session is known
  #sending: Promise<unknown> = Promise.resolve();

  constructor(id: string, context: ChatContext) {
    this.id = id;
    this.#context = context;
    this.#feed = new Feed(context.wire, id, { onEvent: context.onEvent }, {
      beforeTurn: () => this.#numbered(),
      onRecord: (record) => this.#observe(record),
      onEnd: (error) => this.#end(error),
    });
  }

  // --- the session

  /** Load the messages; undefined for a chat that has not begun. */
  async load(extras: RequestExtras = {}): Promise<ChatState | undefined> {
    try {
      const state = await this.#context.wire.messages(this.id, extras);
      this.#base = state.cursor;
      if (state.status === "closed") this.#close();
      return state;
    } catch (error) {
      if (!isCode(error, "session-not-found")) throw error;
      this.#forgetSession();
      return undefined;
    }
  }

  /** Make sure of the session; returns the cursor from which the next answer is looked for. */
  async start(extras: RequestExtras = {}): Promise<number> {
    const known = this.#feed.cursor ?? this.#base ?? (await this.#context.seen.get(this.id))?.cursor;
    return known ?? this.#create(extras);
  }

  async #create(extras: RequestExtras): Promise<number> {
    const { wire, agent, clientData } = this.#context;
    const data = clientData();
    const isNew = await wire.create(this.id, agent, data === undefined ? {} : { clientData: data }, extras);
    this.#base = isNew ? 0 : ((await this.load(extras))?.cursor ?? 0);
    return this.#base;
  }

  #forgetSession(): void {
    this.#base = undefined;
    this.#context.seen.delete(this.id);
  }

  #close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#context.onEvent({ type: "closed", chatId: this.id });
  }

  // --- saying

  /** Append an input, once however often it takes, and create the session if it is not there. */
  append(body: JsonObject, extras: RequestExtras = {}): Promise<number> {
    const appended = this.#append(body, extras);
    // Failures are told to who appends; others only wait for the end of it.
    this.#sending = Promise.allSettled([this.#sending, appended]);
    return appended;
  }

  /** Tell the session something that only means something if it is there: a stop, an edit, a withdrawal. */
  async tell(body: JsonObject): Promise<void> {
    try {
      const { seq, repeated } = await this.#context.wire.append(this.id, body, newId("part"));
      this.#sent(body, seq, repeated);
    } catch (error) {
      if (!isCode(error, "session-not-found") && !isCode(error, "session-closed")) throw error;
    }
  }

  async #append(body: JsonObject, extras: RequestExtras): Promise<number> {
    if (this.isClosed) throw new ChatrtError("session-closed", "The chat is closed.", { status: 409 });
    const { wire } = this.#context;
    // A message that is sent once more, after nobody knew whether it arrived, is the same input still.
    const name = body["kind"] === "message" ? JSON.stringify(body) : "";
    const key = this.#unsure.get(name) ?? newId("part");
    try {
      await this.start(extras);
      const { seq, repeated } = await wire.append(this.id, body, key, extras).catch(async (error: unknown) => {
        if (!isCode(error, "session-not-found")) throw error;
        this.#forgetSession();
        await this.#create(extras);
        return wire.append(this.id, body, key, extras);
      });
      this.#unsure.delete(name);
      this.#sent(body, seq, repeated);
      return seq;
    } catch (error) {
      const isUnsure = !ChatrtError.isInstance(error) || error.code === "server-unavailable";
      if (name && isUnsure) this.#unsure.set(name, key);
      else this.#unsure.delete(name);
      if (isCode(error, "session-closed")) this.#close();
      throw error;
    }
  }

  #sent(body: JsonObject, seq: number, repeated: boolean): void {
    this.#context.onEvent({ type: "sent", chatId: this.id, kind: String(body["kind"]), seq, repeated });
    this.follow();
  }

  /** Wait until what is being sent has its number. */
  async #numbered(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([this.#sending, new Promise((resolve) => (timer = setTimeout(resolve, HOLD_MS)))]);
    clearTimeout(timer);
  }

  // --- hearing

  /** Where reading would go on without missing what was not heard; undefined while nobody reads. */
  get cursor(): number | undefined {
    return this.#feed.cursor;
  }

  /** A cursor that was good before an input was appended, or a better one: the session may have been begun anew. */
  since(after: number): number {
    return Math.min(after, this.#base ?? after);
  }

  /** Hear the records after a cursor; returns how to end that. */
  listen(after: number, listener: FeedListener): () => void {
    return this.#feed.listen(after, listener);
  }

  /** Hear every record from now on, over all turns; returns how to end that. */
  watch(hear: Watcher["hear"]): () => void {
    const watcher: Watcher = { hear, forget: undefined, own: false };
    this.#watchers.add(watcher);
    void this.#follow(watcher);
    return () => {
      this.#watchers.delete(watcher);
      watcher.forget?.();
    };
  }

  /** The chat may have begun by now: those who watch it and found nothing look again. */
  follow(): void {
    for (const watcher of this.#watchers) if (!watcher.forget) void this.#follow(watcher);
  }

  /** Say that the answer to an input is streamed to this page's own chat, or that it is no longer. */
  own(seq: number, isOwn = true): void {
    this.#own.delete(seq);
    if (isOwn) this.#own.add(seq);
    if (this.#own.size > OWN_KEPT) this.#own.delete(Math.min(...this.#own));
  }

  /** Wait until an input is settled. */
  settled(after: number, seq: Promise<number>): Promise<Settled> {
    return new Promise((resolve, reject) => {
      const early: OutRecord[] = [];
      let known: number | undefined;
      let heard = after;
      let heardBy = Infinity;
      const lookForLoss = (): void => {
        // Its end is no longer kept: it came, and nobody can say more.
        if (known !== undefined && heard >= heardBy) end(() => resolve({ seq: known as number, status: "completed" }));
      };
      const look = (record: OutRecord): void => {
        const { kind, body } = record;
        heard = record.seq;
        if (kind === "turn-complete" && body.inSeq === known && !body.willRetry) end(() => resolve(toSettled(body)));
        else if (kind === "gap") this.heardBy(known ?? 0).then((cursor) => ((heardBy = cursor), lookForLoss()), fail);
        else lookForLoss();
      };
      const forget = this.listen(after, {
        onRecord: (record) => (known === undefined ? void early.push(record) : look(record)),
        onEnd: (error) => fail(error ?? new ChatrtError("session-closed", "The chat is closed.", { status: 409 })),
      });
      const end = (tell: () => void): void => {
        forget();
        tell();
      };
      const fail = (error: unknown): void => end(() => reject(error));
      seq.then((number) => {
        known = number;
        early.splice(0).forEach(look);
      }, fail);
    });
  }

  /**
   * The cursor by which an input must have been heard of, after records were missed: it is settled, and what is kept of it
   * comes before. Infinity while it is still to come.
   */
  async heardBy(seq: number): Promise<number> {
    const state = await this.load();
    if (!state) return 0;
    return state.inCursor >= seq ? state.cursor : Infinity;
  }

  /** End the connection and every stream. */
  disconnect(): void {
    this.#feed.close(new DOMException("The transport was closed.", "AbortError"));
  }

  async #follow(watcher: Watcher): Promise<void> {
    const isWanted = (): boolean => !watcher.forget && this.#watchers.has(watcher);
    while (isWanted()) {
      try {
        const after = this.#feed.cursor ?? (await this.load())?.cursor;
        if (after === undefined || !isWanted()) return;
        watcher.forget = this.listen(after, {
          passive: true,
          onRecord: (record) => {
            if ("inSeq" in record.body) watcher.own = this.#isOwn(record);
            watcher.hear(record, watcher.own);
          },
          onEnd: () => (watcher.forget = undefined),
        });
      } catch (error) {
        // What does not heal is tried again when something was sent: that needs the same token and the same server.
        if (ChatrtError.isInstance(error) && !error.retryable) return;
        await pause(FOLLOW_AGAIN_MS, 0);
      }
    }
  }

  #isOwn({ body }: OutRecord): boolean {
    return "inSeq" in body && this.#own.has(body["inSeq"] as number);
  }

  #observe(record: OutRecord): void {
    const { onEvent } = this.#context;
    const own = this.#isOwn(record);
    const chatId = this.id;
    if (record.kind === "turn-start") {
      const { inSeq, messageId } = record.body;
      onEvent({ type: "turn-start", chatId, inSeq, messageId, own });
    } else if (record.kind === "turn-complete") {
      this.#base = record.seq;
      const willRetry = record.body.willRetry ?? false;
      onEvent({ type: "turn-complete", chatId, own, settled: toSettled(record.body), willRetry });
    } else if (record.kind === "gap") {
      this.#base = record.seq;
      onEvent({ type: "gap", chatId, ...record.body });
    }
  }

  #end(error: Error | undefined): void {
    if (!error) this.#close();
    else if (isCode(error, "session-not-found")) this.#forgetSession();
  }
}

function isCode(error: unknown, code: string): boolean {
  return ChatrtError.isInstance(error) && error.code === code;
}
