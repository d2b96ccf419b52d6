// The tokens of the chats: asked for when first needed, and once more when a request was refused.

import type { Token } from "./types.js";

/** Keeps one token for each chat. Requests that are refused at the same time share one new token. */
export class Tokens {
  readonly #source: Token | undefined;
  readonly #held = new Map<string, Promise<string>>();

  constructor(source: Token | undefined) {
    this.#source = source;
  }

  /** The token to send; undefined without credentials. */
  async get(chatId: string): Promise<string | undefined> {
    const source = this.#source;
    if (typeof source !== "function") return source;
    let token = this.#held.get(chatId);
    if (!token) {
      token = (async () => source({ chatId }))();
      this.#held.set(chatId, token);
      // A failure to get one is not kept: the next request asks again.
      token.catch(() => this.#forget(chatId, token));
    }
    return token;
  }

  /** Ask for another token after this one was refused; false when there is nobody to ask. */
  async refresh(chatId: string, refused: string | undefined): Promise<boolean> {
    if (typeof this.#source !== "function") return false;
    const held = this.#held.get(chatId);
    if (held && (await held.catch(() => undefined)) === refused) this.#forget(chatId, held);
    await this.get(chatId);
    return true;
  }

  #forget(chatId: string, token: Promise<string> | undefined): void {
    if (this.#held.get(chatId) === token) this.#held.delete(chatId);
  }
}
