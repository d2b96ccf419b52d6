// A `ChatTransport` for `useChat` over the native wire: durable, resumable, and one for all tabs.

import type { ChatRequestOptions, ChatTransport, UIDataTypes, UIMessage, UIMessageChunk } from "ai";
import { Chat } from "./chat.js";
import { ChatrtError } from "./errors.js";
import { newId } from "./ids.js";
import { Gossip } from "./gossip.js";
import { LazyLease, NoLease, type Holder, type Lease } from "./lease.js";
import type { Major } from "./majors.js";
import { newestMessage, slimMessage, userMessage } from "./slim.js";
import { Cursors, defaultStorage } from "./storage.js";
import { TurnStream } from "./turn-stream.js";
import type { Retell, Seen, TurnChoice } from "./turn.js";
import type {
  ChatState,
  ClientEvent,
  CursorStorage,
  HeadersOption,
  JsonObject,
  OutRecord,
  PendingMessage,
  Settled,
  Token,
  WireMessage,
} from "./types.js";
import { Wire } from "./wire.js";

type Field<T, KEY extends string, DEFAULT> = T extends { [K in KEY]: infer VALUE } ? VALUE : DEFAULT;
type ToolTypes = Record<string, { input: unknown; output: unknown }>;
type MadeMessage<T> = UIMessage<
  Field<T, "metadata", unknown>,
  Field<T, "data", UIDataTypes> extends infer DATA extends UIDataTypes ? DATA : UIDataTypes,
  Field<T, "tools", ToolTypes> extends infer TOOLS extends ToolTypes ? TOOLS : ToolTypes
>;

/** The messages of an agent: of an entry of `Agents`, or the message type itself. */
export type MessageOf<T> = T extends UIMessage ? T : MadeMessage<T>;
/** The actions of an agent. */
export type ActionOf<T> = Field<T, "action", unknown>;
/** The client data of an agent. */
export type ClientDataOf<T> = Field<T, "clientData", unknown>;

/** A user message to send: a text, or a message whose id and role may be left out. */
export type Said<MESSAGE extends UIMessage = UIMessage> =
  | string
  | { id?: string; role?: "user"; parts: MESSAGE["parts"]; metadata?: unknown };

/** What a transport is made of. */
export type ChatrtTransportOptions<ClientData = unknown> = {
  /** Where the server is mounted, without `/v1`; empty for the page's own origin. */
  baseUrl: string;
  /** The id of the agent. */
  agent: string;
  /** A session token, or a function that gives one: asked before the first request, and once more after each 401. */
  token?: Token;
  /** Goes along with every input; a function is asked each time. */
  clientData?: ClientData | (() => ClientData);
  headers?: HeadersOption;
  credentials?: RequestCredentials;
  fetch?: typeof globalThis.fetch;
  /** Where it is kept how far an answer was shown; the page's session storage by default. */
  storage?: CursorStorage;
  /** Whether only one tab at a time may send in a chat; see `canSend`. */
  tabs?: boolean;
  /** The major version of the `ai` package. 6, the default, sends what 6 and 7 both read. */
  aiSdk?: Major;
  /** What an abort of a stream means: `stop`, the default, ends the turn on the server; `leave` only ends the reading. */
  onAbort?: "stop" | "leave";
  /** Milliseconds to go on trying to send; streams are tried without end. */
  timeoutMs?: number;
  /** Hears what happens on the way. */
  onEvent?: (event: ClientEvent) => void;
  /** Called when records are missing: the messages are to be loaded again. */
  onGap?: (gap: { chatId: string; after: number; firstSeq: number }) => void;
};

type SendOptions<MESSAGE extends UIMessage> = {
  trigger: "submit-message" | "regenerate-message";
  chatId: string;
  messageId: string | undefined;
  messages: MESSAGE[];
  abortSignal: AbortSignal | undefined;
} & ChatRequestOptions;

/**
 * The way of `useChat` to a chatrt server.
 *
 *     const transport = new ChatrtTransport({ baseUrl: "https://chat.example.com", agent: "support", token });
 *     const chat = useChat({ id, transport, messages: (await transport.load(id)).messages, resume: true });
 *
 * `T` is an entry of the `Agents` that `chatrt types` writes, or a message type.
 */
export class ChatrtTransport<T = unknown, Action = ActionOf<T>, ClientData = ClientDataOf<T>>
  implements ChatTransport<MessageOf<T>>
{
  /** A resumed answer is told from its beginning: what is on screen of it is replaced. */
  readonly resumeStreamIsReplay = true;
  readonly #options: ChatrtTransportOptions<ClientData>;
  readonly #wire: Wire;
  readonly #chats = new Map<string, Chat>();
  readonly #seen: Cursors<Seen>;
  readonly #lease: Lease;
  readonly #gossip: Gossip;
  readonly #onPageHide = (event: PageTransitionEvent): void => {
    this.#seen.flush();
    // What the browser aborts from here on is not a person's stop.
    if (!event.persisted) for (const chat of this.#chats.values()) chat.isLeft = true;
  };

  constructor(options: ChatrtTransportOptions<ClientData>) {
    this.#options = options;
    const onEvent = (event: ClientEvent): void => this.#tell(event);
    this.#wire = new Wire({ ...options, onEvent });
    const name = `${options.baseUrl} ${options.agent}`;
    this.#seen = new Cursors(options.storage ?? defaultStorage(), `chatrt ${name} `);
    this.#gossip = new Gossip(`chatrt said ${name}`);
    this.#lease = options.tabs ? new LazyLease(name) : new NoLease();
    globalThis.addEventListener?.("pagehide", this.#onPageHide as (event: Event) => void);
  }

  // --- what useChat calls

  /** Send what is new and stream its answer. Called by `useChat`. */
  async sendMessages(options: SendOptions<MessageOf<T>>): Promise<ReadableStream<UIMessageChunk>> {
    const { chatId, abortSignal, headers } = options;
    const chat = this.#chat(chatId);
    const input = this.#withData(toInput(options), options.body);
    if (!(await this.#lease.claim(chatId))) {
      throw new ChatrtError("tab-busy", "Another tab is sending in this chat.", { retryable: true });
    }
    chat.isLeft = false;
    chat.sends++;
    const release = (): void => {
      if (--chat.sends === 0) this.#lease.release(chatId);
    };
    let after: number;
    try {
      after = await chat.start({ headers });
    } catch (error) {
      release();
      throw error;
    }
    const appended = chat.append(input, { headers });
    const choice = appended.then((seq) => ({ seq, major: this.#major }));
    const answer = this.#stream(chat, after, choice, abortSignal, release);
    await appended;
    // A stream that breaks is resumed: what that needs is here by then, though the network may not be.
    retelling().catch(() => {});
    return answer.stream as ReadableStream<any>;
  }

  /** Stream the turn that runs or waits, from its beginning; null when there is none. Called by `useChat`. */
  async reconnectToStream(
    options: { chatId: string; abortSignal?: AbortSignal | undefined } & ChatRequestOptions,
  ): Promise<ReadableStream<UIMessageChunk> | null> {
    const { chatId, abortSignal, headers } = options;
    const chat = this.#chat(chatId);
    chat.resumes++;
    chat.isLeft = false;
    const state = await chat.load({ headers, signal: abortSignal });
    if (state?.status !== "running") return null;
    const seen = (await this.#seen.get(chatId)) ?? { cursor: 0, messageId: "" };
    const choice = Promise.resolve({ settled: state.inCursor, seen, major: this.#major, retell: await retelling() });
    return this.#stream(chat, state.cursor, choice, abortSignal).stream as ReadableStream<any>;
  }

  // --- the running turn

  /** Stop the turn that runs; its partial answer is kept, and its stream ends with it. */
  async stop(chatId: string, reason?: string): Promise<void> {
    await this.#chat(chatId).tell(reason === undefined ? { kind: "stop" } : { kind: "stop", reason });
  }

  /** Say something that waits for its turn; returns its number. What it leads to is seen by `watch` and by resuming. */
  async sendPendingMessage(chatId: string, said: Said<MessageOf<T>>): Promise<number> {
    return this.#append(chatId, { kind: "message", message: toUserMessage(said) });
  }

  /** Say something that the model reads before the next step of the turn that runs; returns its number. */
  async steer(chatId: string, said: Said<MessageOf<T>>): Promise<number> {
    return this.#append(chatId, { kind: "message", message: toUserMessage(said), steer: true });
  }

  /** Put something else in the place of a message that waits; nothing happens once its turn has begun. */
  async editPending(chatId: string, inSeq: number, said: Said<MessageOf<T>>): Promise<void> {
    await this.#chat(chatId).tell({ kind: "edit", inSeq, message: toUserMessage(said) });
  }

  /** Take back a message that waits; nothing happens once its turn has begun. */
  async withdraw(chatId: string, inSeq: number): Promise<void> {
    await this.#chat(chatId).tell({ kind: "withdraw", inSeq });
  }

  // --- commands

  /** Send an action and wait until it is settled. Throws a `ChatrtError` with the reason's code if it failed. */
  async sendAction(chatId: string, action: Action): Promise<Settled> {
    return this.#settled(chatId, this.#withData({ kind: "action", action }));
  }

  /** Make the branch active that holds a message, or what `branches` named, and wait until it is. */
  async switchTo(chatId: string, messageId: string): Promise<Settled> {
    return this.#settled(chatId, this.#withData({ kind: "switch", messageId }));
  }

  /** Create the session, if it is not there, and start its run ahead of the first message. */
  async preload(chatId: string): Promise<void> {
    await this.#append(chatId, { kind: "preload" });
  }

  // --- looking

  /** The messages of a chat for the first paint, and what belongs to them; nothing of a chat that has not begun. */
  async load(chatId: string): Promise<ChatState<MessageOf<T>>> {
    const state = await this.#chat(chatId).load();
    const none = { messages: [], pending: [], cursor: 0, inCursor: 0, lastInSeq: 0, status: "idle", branches: {} };
    return (state ?? none) as unknown as ChatState<MessageOf<T>>;
  }

  /** The user messages that wait. */
  async pending(chatId: string): Promise<PendingMessage<MessageOf<T>>[]> {
    return (await this.load(chatId)).pending;
  }

  /**
   * Hear every record of a chat from now on, whoever began its turn; returns how to end that.
   *
   * A chat that has not begun is heard of once this page or another tab says something in it. `own` says whether the turn is streamed
   * to this page's own chat already. A hidden page holds no connection for it and catches up when it is looked at.
   */
  watch(chatId: string, listener: (record: OutRecord, own: boolean) => void): () => void {
    const chat = this.#chat(chatId);
    const forget = chat.watch((record, own) => hear(() => listener(record, own)));
    const forgetSaid = this.#gossip.listen(chatId, () => chat.follow());
    return () => {
      forget();
      forgetSaid();
    };
  }

  /** Another name of `watch`. */
  subscribe(chatId: string, listener: (record: OutRecord, own: boolean) => void): () => void {
    return this.watch(chatId, listener);
  }

  /** Whether this tab may send, with `tabs: true`: another one may hold the chat. */
  canSend(chatId: string): boolean {
    return this.#lease.holder(chatId) !== "other";
  }

  /** Hear when another tab takes the chat or lets it go; returns how to end that. */
  onCanSend(chatId: string, listener: (canSend: boolean) => void): () => void {
    return this.#lease.watch(chatId, (holder: Holder) => {
      this.#tell({ type: "lease", chatId, holder });
      listener(holder !== "other");
    });
  }

  /** Hear when anything was said in a chat, here or in another tab; returns how to end that. */
  onSaid(chatId: string, listener: () => void): () => void {
    return this.#gossip.listen(chatId, listener);
  }

  /**
   * Say that a component shows a chat, or any chats if none is named; returns how to say that it has left.
   *
   * `useChat` aborts its stream both when a person stops it and when its component goes away. An abort after the last
   * component has left stops nothing. The hooks of `@chatrt/client/react` call this.
   */
  show(chatId?: string): () => void {
    const chats = (): Iterable<Chat> => (chatId === undefined ? this.#chats.values() : [this.#chat(chatId)]);
    for (const chat of chats()) chat.isLeft = false;
    if (chatId !== undefined) this.#chat(chatId).shown++;
    return () => {
      if (chatId !== undefined) this.#chat(chatId).shown--;
      for (const chat of chats()) if (chat.shown <= 0) chat.isLeft = true;
    };
  }

  /** End every connection and stream of this transport and give back its leases. Turns go on; later calls begin anew. */
  close(): void {
    for (const chat of this.#chats.values()) chat.disconnect();
    this.#chats.clear();
    this.#seen.flush();
    this.#lease.close();
    this.#gossip.close();
    globalThis.removeEventListener?.("pagehide", this.#onPageHide as (event: Event) => void);
  }

  // --- inside

  get #major(): Major {
    return this.#options.aiSdk ?? 6;
  }

  #chat(chatId: string): Chat {
    let chat = this.#chats.get(chatId);
    if (!chat) {
      const clientData = (): unknown => this.#clientData();
      const onEvent = (event: ClientEvent): void => this.#tell(event);
      chat = new Chat(chatId, { wire: this.#wire, agent: this.#options.agent, clientData, seen: this.#seen, onEvent });
      this.#chats.set(chatId, chat);
    }
    return chat;
  }

  #tell(event: ClientEvent): void {
    if (event.type === "sent") this.#gossip.tell(event.chatId);
    else if (event.type === "gap") {
      const { chatId, after, firstSeq } = event;
      hear(() => this.#options.onGap?.({ chatId, after, firstSeq }));
    }
    hear(() => this.#options.onEvent?.(event));
  }

  #clientData(): unknown {
    const { clientData } = this.#options;
    return typeof clientData === "function" ? (clientData as () => ClientData)() : clientData;
  }

  #withData(input: JsonObject, body?: object): JsonObject {
    const data = body && "clientData" in body ? body.clientData : this.#clientData();
    return data === undefined ? input : { ...input, clientData: data };
  }

  #append(chatId: string, input: JsonObject): Promise<number> {
    return this.#chat(chatId).append(this.#withData(input));
  }

  async #settled(chatId: string, input: JsonObject): Promise<Settled> {
    const chat = this.#chat(chatId);
    const after = await chat.start();
    const settled = await chat.settled(after, chat.append(input));
    const { error } = settled;
    if (error) throw new ChatrtError(error.code, error.message, { id: error.id });
    return settled;
  }

  #stream(
    chat: Chat,
    after: number,
    choice: Promise<TurnChoice>,
    signal: AbortSignal | undefined,
    onOver: () => void = () => {},
  ): TurnStream {
    const stops = (this.#options.onAbort ?? "stop") === "stop";
    return new TurnStream({ chat, seen: this.#seen, after, choice, signal, stops, onOver });
  }
}

/** A listener that throws is its own trouble, never that of the stream it listens to. */
function hear(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    console.error(error);
  }
}

/** Only who resumes needs it. */
const retelling = (): Promise<Retell> => import("./retell.js");

function toInput({ trigger, messages, messageId }: SendOptions<UIMessage>): JsonObject {
  if (trigger === "regenerate-message") return { kind: "regenerate", ...(messageId === undefined ? {} : { messageId }) };
  const message = newestMessage(messages as WireMessage[], messageId);
  if (!message) throw new ChatrtError("usage", "There is no message to send.");
  return { kind: "message", message: slimMessage(message) };
}

function toUserMessage(said: Said): WireMessage {
  return userMessage(said as string | WireMessage, newId("msg"));
}
