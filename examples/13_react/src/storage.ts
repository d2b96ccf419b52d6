// What this browser keeps, and what this tab keeps; in memory where storage is forbidden or full.

class Kept {
  readonly #memory = new Map<string, string>();
  readonly #find: () => Storage;

  constructor(find: () => Storage) {
    this.#find = find;
  }

  get(key: string): string | null {
    if (this.#memory.has(key)) return this.#memory.get(key) ?? null;
    try {
      return this.#find().getItem(key);
    } catch {
      return null;
    }
  }

  /** Keep a value; null takes it away. */
  set(key: string, value: string | null) {
    try {
      if (value === null) this.#find().removeItem(key);
      else this.#find().setItem(key, value);
      this.#memory.delete(key);
    } catch {
      if (value === null) this.#memory.delete(key);
      else this.#memory.set(key, value);
    }
  }
}

export const inBrowser = new Kept(() => localStorage);
export const inTab = new Kept(() => sessionStorage);
