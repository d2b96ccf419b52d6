// `AgentChat`: one conversation with an agent, from a server.

import { ChatrtError } from "../errors.js";
import { newId } from "../ids.js";
import { slimMessage, userMessage } from "../slim.js";
import type {
  ChatState,
  ClientEvent,
  HeadersOption,
  JsonObject,
  PendingMessage,
  Token,
  WireChunk,
  WireMessage,
  WirePart,
} from "../types.js";
import { Wire } from "../wire.js";
import { ChatStream, type Place } from "./chat-stream.js";
import { isToolPart } from "../slim.js";

type Field<T, KEY extends string> = T extends { [K in KEY]: infer VALUE } ? VALUE : unknown;

/** What a conversation is made of. */
export type AgentChatOptions<ClientData = unknown> = {
  /** Where the server is mounted, without `/v1`. */
  baseUrl: string;
  /** The chat id; a fresh one if none is given. */
  id?: string;
  /** The secret key or a session token, or a function that gives one and is asked again after a 401. */
  token?: Token;
  /** Sent along with each input that brings none of its own. */
  clientData?: ClientData;
  headers?: HeadersOption;
  fetch?: typeof globalThis.fetch;
  /** Milliseconds to go on trying when the server cannot be reached or breaks off. */
  timeoutMs?: number;
  onEvent?: (event: ClientEvent) => void;
};

/** What goes along with one input. */
export type InputOptions<ClientData = unknown> = { clientData?: ClientData };

/** How a message is sent. */
export type SendMessageOptions<ClientData = unknown> = InputOptions<ClientData> & {
  /** The id of the message. One that the history knows makes this an edit. */
  messageId?: string;
};

/** A text, the parts of a message, or a whole message. */
export type SaidMessage = string | WirePart[] | (Omit<WireMessage, "id" | "role"> & { id?: string; role?: "user" });

/**
 * One conversation with an agent.
 *
 *     const chat = new AgentChat("support", { baseUrl: "http://127.0.0.1:8000", token: process.env.CHATRT_SECRET_KEY });
 *     console.log(await chat.sendMessage("Hello").text());
 *     for await (const chunk of chat.sendMessage("And more?")) ...
 *
 * The session is created by the first input (or by `preload`). What sends an input returns a `ChatStream`.
 * `T` is an entry of the `Agents` that `chatrt types` writes.
 */
export class AgentChat<T = unknown, Action = Field<T, "action">, ClientData = Field<T, "clientData">> {
  readonly agent: string;
  readonly id: string;
  readonly #wire: Wire;
  readonly #clientData: ClientData | undefined;
  readonly #timeoutMs: number;
  #cursor: number | undefined;
  #lastSeq = 0;
  #starting: Promise<void> | undefined;

  constructor(agent: string, options: AgentChatOptions<ClientData>) {
    this.agent = agent;
    this.id = options.id ?? newId("chat");
    this.#wire = new Wire(options);
    this.#clientData = options.clientData;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  /** The last record of the outbox that any stream of this object has read; 0 before the first. */
  get cursor(): number {
    return this.#cursor ?? 0;
  }

  // --- inputs that are answered

  /** Send a user message. */
  sendMessage(said: SaidMessage, options: SendMessageOptions<ClientData> = {}): ChatStream {
    const message = toMessage(said);
    if (options.messageId !== undefined) message.id = options.messageId;
    return this.#send({ kind: "message", message }, options);
  }

  /** Send what a `useChat` transport would: the last of the messages, slimmed, or a wish for another answer. */
  sendRaw(
    messages: readonly WireMessage[],
    options: InputOptions<ClientData> & { trigger?: "submit-message" | "regenerate-message" } = {},
  ): ChatStream {
    if (options.trigger === "regenerate-message") return this.#send({ kind: "regenerate" }, options);
    const last = messages.at(-1);
    if (!last) throw new ChatrtError("usage", "sendRaw needs at least one message to submit.");
    return this.#send({ kind: "message", message: slimMessage(last) }, options);
  }

  /** Ask for another answer in place of the last one, or of the one with that id. */
  regenerate(messageId?: string, options: InputOptions<ClientData> = {}): ChatStream {
    return this.#send({ kind: "regenerate", ...(messageId === undefined ? {} : { messageId }) }, options);
  }

  /** Send an action. The stream ends when it is settled; a refused one has the status `failed`. */
  sendAction(action: Action, options: InputOptions<ClientData> = {}): ChatStream {
    return this.#send({ kind: "action", action }, options);
  }

  /** Make the branch active that holds a message, or what `siblings` named, down to what was said last on it. */
  switchTo(messageId: string, options: InputOptions<ClientData> = {}): ChatStream {
    return this.#send({ kind: "switch", messageId }, options);
  }

  /** Send JSON to an agent that is served by a loop of its own; no part of the conversation. */
  sendData(data: unknown, options: InputOptions<ClientData> = {}): ChatStream {
    return this.#send({ kind: "data", data }, options);
  }

  /**
   * Answer a call of a tool that has no body on the server; the agent goes on in the same message.
   *
   * When several calls wait, the agent goes on with the answer to the last of them. Throws a `usage` error, when sent, if
   * the history holds no such call.
   */
  addToolOutput(
    toolCallId: string,
    answer: { output: unknown } | { errorText: string },
    options: InputOptions<ClientData> = {},
  ): ChatStream {
    const said: JsonObject =
      "errorText" in answer
        ? { state: "output-error", errorText: answer.errorText }
        : { state: "output-available", output: answer.output };
    return this.#advance((part) => part["toolCallId"] === toolCallId, said, toolCallId, options);
  }

  /** Approve or deny a call that waits for it; the agent goes on in the same message. */
  approve(
    approvalId: string,
    approved: boolean,
    options: InputOptions<ClientData> & { reason?: string } = {},
  ): ChatStream {
    const { reason } = options;
    const approval = { id: approvalId, approved, ...(reason === undefined ? {} : { reason }) };
    const said = { state: "approval-responded", approval };
    return this.#advance((part) => part["approval"]?.id === approvalId, said, approvalId, options);
  }

  // --- the running turn

  /**
   * Send a message into the turn that runs: it is part of what the model reads before its next step.
   *
   * Returns whether it was sent: false, and nothing is sent, when no turn is running.
   */
  async steer(said: SaidMessage, options: InputOptions<ClientData> = {}): Promise<boolean> {
    if ((await this.#findState())?.status !== "running") return false;
    // No input of its own to reconnect to: what is said to it is said by the turn it goes into.
    await this.#append(this.#withData({ kind: "message", message: toMessage(said), steer: true }, options));
    return true;
  }

  /** The user messages that wait while a turn runs. */
  async pending(): Promise<PendingMessage[]> {
    return (await this.#findState())?.pending ?? [];
  }

  /** Put another text or message in the place of one that waits; nothing happens if its turn has begun. */
  async editPending(inSeq: number, said: SaidMessage): Promise<void> {
    await this.#append({ kind: "edit", inSeq, message: toMessage(said) });
  }

  /** Take back a message that waits; nothing happens if its turn has begun. */
  async withdraw(inSeq: number): Promise<void> {
    await this.#append({ kind: "withdraw", inSeq });
  }

  /** Stop the turn that runs; its partial answer is kept. Returns whether there was one to stop when asked. */
  async stop(reason?: string): Promise<boolean> {
    if ((await this.#findState())?.status !== "running") return false;
    await this.#append(reason === undefined ? { kind: "stop" } : { kind: "stop", reason });
    return true;
  }

  /**
   * A stream of the turn that runs or waits, or null if there is none.
   *
   * Its chunks are those after the cursor; `text()`, `result()` and `messages()` have the answer from its beginning.
   *
   * after: the cursor up to which chunks were seen; by default this object's own.
   */
  async reconnect(after?: number): Promise<ChatStream | null> {
    const state = await this.#findState();
    if (state?.status !== "running") return null;
    const shown = after ?? this.cursor;
    const seq = this.#lastSeq > state.inCursor ? this.#lastSeq : state.inCursor + 1;
    return this.#stream(async () => ({ seq, after: state.cursor, shown }));
  }

  /** Put data chunks into the answer that runs, or into the last one. Needs the secret key. */
  async write(...chunks: WireChunk[]): Promise<void> {
    await this.#start();
    await this.#append({ kind: "write", chunks });
  }

  // --- the session

  /** Create the session, if it is not there, and start its run before the first input. */
  async preload(): Promise<void> {
    await this.#start();
    await this.#append(this.#withData({ kind: "preload" }, {}));
  }

  /** Close the session for good: it takes no more inputs. False if there is none. Needs the secret key. */
  async close(reason?: string): Promise<boolean> {
    try {
      await this.#wire.closeSession(this.id, reason);
      return true;
    } catch (error) {
      if (ChatrtError.isInstance(error) && error.code === "session-not-found") return false;
      throw error;
    }
  }

  /** The messages of the chat as the server has them; none of a chat that has not begun. */
  async messages(): Promise<WireMessage[]> {
    return (await this.#findState())?.messages ?? [];
  }

  /**
   * The names of what stands at the place of a message of the active branch, in order of creation; `switchTo` takes them.
   *
   * The message itself is among them by its own id, alone when it has no alternatives. Throws `message-not-found`.
   */
  async siblings(messageId: string): Promise<string[]> {
    const state = await this.#findState();
    if (!state?.messages.some((message) => message.id === messageId)) {
      throw new ChatrtError("message-not-found", "There is no such message.", { status: 404 });
    }
    return state.branches[messageId] ?? [messageId];
  }

  // --- inside

  async #findState(): Promise<ChatState | undefined> {
    try {
      return await this.#wire.messages(this.id);
    } catch (error) {
      if (ChatrtError.isInstance(error) && error.code === "session-not-found") return undefined;
      throw error;
    }
  }

  /** Make sure of the session and return the cursor from which the next answer is looked for. */
  async #start(): Promise<number> {
    if (this.#cursor === undefined) {
      this.#starting ??= this.#create().finally(() => (this.#starting = undefined));
      await this.#starting;
    }
    return this.cursor;
  }

  async #create(): Promise<void> {
    const isNew = await this.#wire.create(this.id, this.agent, this.#withData({}, {}));
    this.#onCursor(isNew ? 0 : (await this.#wire.messages(this.id)).cursor);
  }

  #onCursor(seq: number): void {
    this.#cursor = Math.max(seq, this.cursor);
  }

  async #append(body: JsonObject, key = newId("part")): Promise<number> {
    const { seq } = await this.#wire.append(this.id, body, key);
    return seq;
  }

  #withData(input: JsonObject, options: InputOptions<ClientData>): JsonObject {
    const clientData = "clientData" in options ? options.clientData : this.#clientData;
    return clientData === undefined ? input : { ...input, clientData };
  }

  #send(body: JsonObject, options: InputOptions<ClientData>): ChatStream {
    return this.#input(async () => body, options);
  }

  #advance(
    isMeant: (part: WirePart) => boolean,
    answer: JsonObject,
    name: string,
    options: InputOptions<ClientData>,
  ): ChatStream {
    const build = async (): Promise<JsonObject> => {
      for (const message of [...(await this.messages())].reverse()) {
        const part = message.parts.find((one) => isToolPart(one) && isMeant(one));
        if (!part) continue;
        const { type, toolCallId, toolName } = part;
        const call = { type, toolCallId, ...(toolName === undefined ? {} : { toolName }), ...answer };
        return { kind: "message", message: { id: message.id, role: message.role, parts: [call] } };
      }
      throw new ChatrtError("usage", `No tool call of this chat is known by ${JSON.stringify(name)}.`);
    };
    return this.#input(build, options);
  }

  #input(build: () => Promise<JsonObject>, options: InputOptions<ClientData>): ChatStream {
    // One name for this input, so that sending it again after a failure cannot double it.
    const key = newId("part");
    return this.#stream(async () => {
      const after = await this.#start();
      const seq = await this.#append(this.#withData(await build(), options), key);
      this.#lastSeq = Math.max(this.#lastSeq, seq);
      return { seq, after };
    });
  }

  #stream(begin: () => Promise<Place>): ChatStream {
    const onCursor = (seq: number): void => this.#onCursor(seq);
    return new ChatStream({ wire: this.#wire, chatId: this.id, timeoutMs: this.#timeoutMs, onCursor, begin });
  }
}

function toMessage(said: SaidMessage): WireMessage {
  return userMessage(Array.isArray(said) ? { parts: said } : said, newId("msg"));
}
