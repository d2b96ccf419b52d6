// Tells the other tabs that something was said in a chat: what waits there is nothing that the outbox tells of.

/** Hears what is said here and in other tabs. Where tabs cannot speak with one another, only what is said here. */
export class Gossip {
  readonly #name: string;
  readonly #listeners = new Map<string, Set<() => void>>();
  #channel: BroadcastChannel | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  /** Something was said. */
  tell(chatId: string): void {
    this.#hear(chatId);
    this.#open()?.postMessage(chatId);
  }

  /** Hear when something is said in a chat; returns how to end that. */
  listen(chatId: string, listener: () => void): () => void {
    this.#open();
    const listeners = this.#listeners.get(chatId) ?? new Set();
    this.#listeners.set(chatId, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  close(): void {
    this.#channel?.close();
    this.#channel = undefined;
  }

  #open(): BroadcastChannel | undefined {
    if (typeof BroadcastChannel !== "function" || this.#channel) return this.#channel;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = (event: MessageEvent<string>) => this.#hear(event.data);
    // In Node.js an open channel would keep the process alive.
    (this.#channel as { unref?: () => void }).unref?.();
    return this.#channel;
  }

  #hear(chatId: string): void {
    for (const listener of [...(this.#listeners.get(chatId) ?? [])]) listener();
  }
}
