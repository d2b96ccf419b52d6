// When to try again: exponential backoff with full jitter, anew after every progress, and cut short when the way is free.

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;

/** Counts the failures in a row and waits between them. */
export class Patience {
  #failures = 0;
  #failingSince = 0;
  readonly #budgetMs: number;

  /** budgetMs: from the first failure in a row; after it, it is enough. */
  constructor(budgetMs: number) {
    this.#budgetMs = budgetMs;
  }

  /** Forget the failures: something worked. */
  progress(): void {
    this.#failures = 0;
  }

  /** How long to wait after one more failure; undefined when the budget is spent. */
  next(atLeastMs = 0): number | undefined {
    const now = Date.now();
    if (!this.#failures) this.#failingSince = now;
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    const delay = Math.max(atLeastMs, Math.random() * ceiling);
    this.#failures++;
    return now + delay - this.#failingSince > this.#budgetMs ? undefined : delay;
  }
}

/**
 * Wait, but no longer than until the network is back or the page is looked at again, and then at least `atLeastMs`.
 *
 * Rejects with the signal's reason when it is aborted.
 */
export function pause(ms: number, atLeastMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const began = Date.now();
    let timer = setTimeout(end, ms);
    const wake = (): void => {
      clearTimeout(timer);
      timer = setTimeout(end, Math.max(0, began + atLeastMs - Date.now()));
    };
    const forget = onWake(wake);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();

    function end(): void {
      forget();
      signal?.removeEventListener("abort", stop);
      resolve();
    }
    function stop(): void {
      clearTimeout(timer);
      forget();
      reject(signal?.reason);
    }
  });
}

/** Call back when the browser is online again or the page becomes visible; returns how to end that. */
export function onWake(callback: () => void): () => void {
  const page = typeof document === "undefined" ? undefined : document;
  const seen = (): void => {
    if (page?.visibilityState === "visible") callback();
  };
  const target = typeof globalThis.addEventListener === "function" ? globalThis : undefined;
  target?.addEventListener("online", callback);
  page?.addEventListener("visibilitychange", seen);
  return () => {
    target?.removeEventListener("online", callback);
    page?.removeEventListener("visibilitychange", seen);
  };
}
