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
  #isSilent = false;
  /** Whether the turn that runs is known to say something that is not streamed here yet. */
  #speaks = false;

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
    if (!this.#isNews(record, own)) return;
    this.#isSilent = false;
    this.#isStale = true;
    this.#speaks = record.kind !== "turn-complete";
    this.look();
  }

  #isNews(record: OutRecord, own: boolean): boolean {
    switch (record.kind) {
      case "turn-start":
        // Most commands say nothing, and why one failed is told to who sent it: only what one says is streamed.
        this.#isSilent = record.body.trigger === "action" || record.body.trigger === "switch";
        return !own && !this.#isSilent;
      case "chunk":
        return !own && this.#isSilent && record.body.type !== "error";
      case "turn-complete":
        return !own || record.body.status !== "completed";
      default:
        return record.kind === "gap";
    }
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
        if (state.status === "running" && this.#speaks) await chat.resumeStream();
      }
    } catch {
      // The next record, or the next turn, tries again.
      this.#isStale = true;
    } finally {
      this.#isSyncing = false;
    }
  }
}
