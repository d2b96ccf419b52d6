// Where cursors are kept: in the page's session storage, in memory, or wherever an application says.

import type { CursorStorage } from "./types.js";

/** Keeps cursors as long as the process or the page lives. */
export class MemoryStorage implements CursorStorage {
  readonly #values = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: string): void {
    this.#values.set(key, value);
  }

  delete(key: string): void {
    this.#values.delete(key);
  }
}

/** The session storage of the page as a cursor storage; memory where there is none, or where it is forbidden. */
export function defaultStorage(): CursorStorage {
  try {
    const session = globalThis.sessionStorage;
    if (!session) return new MemoryStorage();
    return {
      get: (key) => session.getItem(key),
      set: (key, value) => session.setItem(key, value),
      delete: (key) => session.removeItem(key),
    };
  } catch {
    return new MemoryStorage();
  }
}

const WRITE_AFTER_MS = 250;

/** Cursors by chat, in memory at once and in the storage a moment later: chunks come faster than it is worth to write. */
export class Cursors<T extends { cursor: number }> {
  readonly #storage: CursorStorage;
  readonly #prefix: string;
  readonly #held = new Map<string, T | undefined>();
  readonly #unwritten = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(storage: CursorStorage, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  async get(chatId: string): Promise<T | undefined> {
    if (!this.#held.has(chatId)) {
      const value = await this.#read(chatId);
      if (!this.#held.has(chatId)) this.#held.set(chatId, value);
    }
    return this.#held.get(chatId);
  }

  set(chatId: string, value: T): void {
    this.#held.set(chatId, value);
    this.#unwritten.add(chatId);
    this.#timer ??= setTimeout(() => this.flush(), WRITE_AFTER_MS);
  }

  delete(chatId: string): void {
    this.#held.set(chatId, undefined);
    this.#unwritten.add(chatId);
    this.flush();
  }

  /** Write what is not written yet: at the end of a turn, and before the page goes away. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const chatId of this.#unwritten) {
      const value = this.#held.get(chatId);
      const key = this.#prefix + chatId;
      quietly(() => (value ? this.#storage.set(key, JSON.stringify(value)) : this.#storage.delete(key)));
    }
    this.#unwritten.clear();
  }

  async #read(chatId: string): Promise<T | undefined> {
    try {
      const value = JSON.parse((await this.#storage.get(this.#prefix + chatId)) ?? "null") as T | null;
      return Number.isSafeInteger(value?.cursor) ? (value as T) : undefined;
    } catch {
      return undefined;
    }
  }
}

/** A full or forbidden storage costs a replay after the next reload, and nothing else. */
function quietly(write: () => void | Promise<void>): void {
  try {
    void Promise.resolve(write()).catch(() => {});
  } catch {
    // as above
  }
}
