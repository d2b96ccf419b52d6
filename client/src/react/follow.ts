// Shows in a `useChat` what was begun elsewhere: in another tab, on another device, by a server, or by a command.

import type { OutRecord } from "../types.js";
import type { AnyTransport } from "./state.js";

/** What is needed of the result of `useChat`. */
export type ChatLike = {
  readonly id: string;
  readonly status: string;
  readonly messages: readonly { id: string; role: string }[];
  setMessages: (messages: any) => void;
  resumeStream: () => Promise<void>;
};

/** Keeps one chat in step with its session. */
export class Follower {
  readonly #transport: AnyTransport;
  readonly #chatId: string;
  /** The newest result of `useChat`; set with every rendering. */
  chat: ChatLike | undefined;
  #isStale = false;
  #isSyncing = false;

  constructor(transport: AnyTransport, chatId: string) {
    this.#transport = transport;
    this.#chatId = chatId;
  }

  /** Begin; returns how to end. */
  start(): () => void {
    return this.#transport.watch(this.#chatId, (record, own) => this.#hear(record, own));
  }

  /** To be called when the chat may have become idle. */
  look(): void {
    if (this.#isStale && this.#isIdle()) void this.#sync();
  }

  #hear(record: OutRecord, own: boolean): void {
    const isNews =
      (record.kind === "turn-start" && !own) ||
      record.kind === "gap" ||
      (record.kind === "turn-complete" && (!own || record.body.status !== "completed"));
    if (!isNews) return;
    this.#isStale = true;
    this.look();
  }

  #isIdle(): boolean {
    return this.chat?.status === "ready" || this.chat?.status === "error";
  }

  async #sync(): Promise<void> {
    if (this.#isSyncing) return;
    this.#isSyncing = true;
    try {
      while (this.#isStale && this.#isIdle()) {
        this.#isStale = false;
        const state = await this.#transport.load(this.#chatId);
        const { chat } = this;
        if (!chat || !this.#isIdle()) {
          this.#isStale = true;
          return;
        }
        // A message that could not be sent stays on screen: nobody else has it.
        const known = new Set([...state.messages, ...state.pending.map((one) => one.message)].map((one) => one.id));
        const last = chat.messages.at(-1);
        const unsent = chat.status === "error" && last?.role === "user" && !known.has(last.id) ? [last] : [];
        chat.setMessages([...state.messages, ...unsent]);
        if (state.status === "running") await chat.resumeStream();
      }
    } catch {
      // The next record, or the next turn, tries again.
      this.#isStale = true;
    } finally {
      this.#isSyncing = false;
    }
  }
}
