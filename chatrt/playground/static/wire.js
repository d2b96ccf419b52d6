// The native wire as functions: create a session, append to its inbox, load its messages, read its outbox.

import { readEvents } from "./sse.js";

/** A refusal by the server: `code` and `message` are those of its error body. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.code = error?.code ?? "";
  }
}

/** Whether the same request may succeed later. */
export function mayHeal(refused) {
  return refused.status >= 500 || refused.status === 408 || refused.status === 429;
}

/** Make a fresh id; crypto.randomUUID is missing where the page is not on https or localhost. */
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `${prefix}_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** One session's endpoints. Everything throws `Refused`, or what `fetch` throws when there is no answer. */
export class Wire {
  constructor({ chatId, token, signal }) {
    this.chatId = chatId;
    this.token = token;
    this.signal = signal;
    this.path = `/v1/sessions/${encodeURIComponent(chatId)}`;
  }

  /** Create the session; one that exists stays as it is. */
  create(agent) {
    return this.#json("POST", "/v1/sessions", { body: { agent, chatId: this.chatId } });
  }

  /** Append to the inbox; the same key a second time changes nothing. */
  append(body, key) {
    return this.#json("POST", `${this.path}/in`, { body, key });
  }

  messages() {
    return this.#json("GET", `${this.path}/messages`);
  }

  /** Begin to read the outbox after a cursor; returns the events as they come. */
  async read(cursor, signal) {
    const headers = { accept: "text/event-stream", "last-event-id": String(cursor) };
    return readEvents(await this.#fetch("GET", `${this.path}/out`, { headers, signal }));
  }

  async #json(method, path, { body, key } = {}) {
    const headers = { accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    if (key) headers["idempotency-key"] = key;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const response = await this.#fetch(method, path, { headers, body: text, signal: this.signal });
    return response.json();
  }

  async #fetch(method, path, options) {
    const headers = { ...options.headers, ...(this.token && { authorization: `Bearer ${this.token}` }) };
    const response = await fetch(path, { method, ...options, headers });
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    throw new Refused(response.status, body.error);
  }
}
