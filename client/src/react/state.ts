// What the hooks know of a chat beside its messages: loaded when something may have changed, once for all hooks of a page.

import type { ChatrtTransport } from "../transport.js";
import type { ChatState, OutRecord } from "../types.js";

/** A transport of whatever types. */
export type AnyTransport = ChatrtTransport<any, any, any>;

/** The loaded state, or why there is none. */
export type Loaded = { state: ChatState | undefined; error: Error | undefined };

const NOTHING: Loaded = { state: undefined, error: undefined };

/** The state of one chat as an external store: loaded while somebody subscribes. */
export class StateStore {
  readonly #transport: AnyTransport;
  readonly #chatId: string;
  readonly #listeners = new Set<() => void>();
  #loaded = NOTHING;
  #loading: Promise<void> | undefined;
  #isStale = false;
  #stop: (() => void) | undefined;

  constructor(transport: AnyTransport, chatId: string) {
    this.#transport = transport;
    this.#chatId = chatId;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    if (!this.#stop) {
      const forgetRecords = this.#transport.watch(this.#chatId, (record) => this.#hear(record));
      const forgetSaid = this.#transport.onSaid(this.#chatId, () => void this.refresh());
      this.#stop = () => {
        forgetRecords();
        forgetSaid();
      };
      void this.refresh();
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  };

  readonly snapshot = (): Loaded => this.#loaded;

  /** Load again; what changes while that is under way is loaded right after it. */
  readonly refresh = async (): Promise<void> => {
    this.#isStale = true;
    this.#loading ??= this.#load().finally(() => (this.#loading = undefined));
    await this.#loading;
  };

  async #load(): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false;
      try {
        this.#loaded = { state: (await this.#transport.load(this.#chatId)) as ChatState, error: undefined };
      } catch (error) {
        this.#loaded = { ...this.#loaded, error: error as Error };
      }
      for (const listener of [...this.#listeners]) listener();
    }
  }

  #hear(record: OutRecord): void {
    const isInjected = record.kind === "chunk" && record.body.type === "data-pending-message-injected";
    if (record.kind === "turn-start" || record.kind === "turn-complete" || record.kind === "gap" || isInjected) {
      void this.refresh();
    }
  }
}

const stores = new WeakMap<AnyTransport, Map<string, StateStore>>();

/** The one store of a chat. */
export function stateStore(transport: AnyTransport, chatId: string): StateStore {
  let chats = stores.get(transport);
  if (!chats) stores.set(transport, (chats = new Map()));
  let store = chats.get(chatId);
  if (!store) chats.set(chatId, (store = new StateStore(transport, chatId)));
  return store;
}
