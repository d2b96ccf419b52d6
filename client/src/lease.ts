// The right of one tab to send in a chat, as the transport sees it; how tabs agree on it is loaded when it is wanted.

/** Who may send, seen from this tab. */
export type Holder = "self" | "other" | "none";

/** One lease for each chat. */
export interface Lease {
  /** Take the lease; false while another tab holds it. */
  claim(chatId: string): Promise<boolean>;
  /** Let the next tab take it. */
  release(chatId: string): void;
  holder(chatId: string): Holder;
  /** Learn who holds the lease of a chat, and hear when that changes; returns how to end that. */
  watch(chatId: string, onChange: (holder: Holder) => void): () => void;
  /** Give everything back. */
  close(): void;
}

/** Where tabs cannot speak with one another, each may send; the server answers one after another. */
export class NoLease implements Lease {
  claim(): Promise<boolean> {
    return Promise.resolve(true);
  }

  release(): void {}

  holder(): Holder {
    return "none";
  }

  watch(): () => void {
    return () => {};
  }

  close(): void {}
}

/** A lease between tabs, whose code is no part of a page that does without. */
export class LazyLease implements Lease {
  readonly #name: string;
  #loading: Promise<Lease> | undefined;
  #loaded: Lease | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  async claim(chatId: string): Promise<boolean> {
    return (await this.#load()).claim(chatId);
  }

  release(chatId: string): void {
    this.#loaded?.release(chatId);
  }

  holder(chatId: string): Holder {
    return this.#loaded?.holder(chatId) ?? "none";
  }

  watch(chatId: string, onChange: (holder: Holder) => void): () => void {
    let isEnded = false;
    let stop: (() => void) | undefined;
    void this.#load().then((lease) => {
      if (!isEnded) stop = lease.watch(chatId, onChange);
    });
    return () => {
      isEnded = true;
      stop?.();
    };
  }

  close(): void {
    this.#loaded?.close();
  }

  #load(): Promise<Lease> {
    this.#loading ??= import("./tab-lease.js").then(
      ({ makeLease }) => (this.#loaded = makeLease(this.#name)),
      // Without it each tab may send, and the server answers one after another.
      () => new NoLease(),
    );
    return this.#loading;
  }
}
