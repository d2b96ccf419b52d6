// The native wire as calls: one request with its retries and its one token refresh, and the opening of a stream.

import { ChatrtError } from "./errors.js";
import { Patience, pause } from "./patience.js";
import { Tokens } from "./tokens.js";
import type { ChatState, ClientEvent, HeadersOption, JsonObject, Token } from "./types.js";

/** How to reach a server. */
export type WireOptions = {
  /** Where the server is mounted, without `/v1`. */
  baseUrl: string;
  token?: Token | undefined;
  headers?: HeadersOption | undefined;
  fetch?: typeof globalThis.fetch | undefined;
  credentials?: RequestCredentials | undefined;
  /** Milliseconds to go on trying when the server cannot be reached. */
  timeoutMs?: number | undefined;
  onEvent?: ((event: ClientEvent) => void) | undefined;
};

/** What one request may have besides its body. */
export type RequestExtras = {
  headers?: Record<string, string> | Headers | undefined;
  signal?: AbortSignal | undefined;
};

const ATTEMPT_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const RETRYABLE_STATUSES = new Set([408, 425, 429, 502, 503, 504]);

/** A failure after which the same request may work; `atLeastMs` is what the server asked to wait. */
export class TryAgain extends Error {
  constructor(
    readonly failure: Error,
    readonly atLeastMs: number,
  ) {
    super(failure.message);
  }
}

/** Everything of the native wire that is not the reading of a stream. Every call may be repeated without harm. */
export class Wire {
  readonly #options: WireOptions;
  readonly #tokens: Tokens;

  constructor(options: WireOptions) {
    this.#options = options;
    this.#tokens = new Tokens(options.token);
  }

  /** The path of a chat, below the base URL. */
  path(chatId: string, ...rest: string[]): string {
    // URLs take these for steps along the path, however they are written.
    if (chatId === "" || chatId === "." || chatId === "..") {
      throw new ChatrtError("usage", `A chat cannot be named ${JSON.stringify(chatId)}.`);
    }
    return ["/v1/sessions", encodeURIComponent(chatId), ...rest].join("/");
  }

  /** Create the session if it is not there; returns whether it is new. */
  async create(chatId: string, agent: string, extra: JsonObject, extras: RequestExtras = {}): Promise<boolean> {
    try {
      const answer = await this.#call("POST", chatId, "/v1/sessions", { agent, chatId, ...extra }, extras);
      return answer.status === 201;
    } catch (error) {
      // The token of one chat may be unable to create sessions, and need not when its chat is there.
      if (!(error instanceof ChatrtError) || error.code !== "forbidden") throw error;
      const answer = await this.#call("GET", chatId, this.path(chatId), undefined, extras);
      const session = (await answer.json()) as { agent: string };
      if (session.agent === agent) return false;
      throw new ChatrtError("agent-mismatch", "The chat belongs to another agent.", { status: 409 });
    }
  }

  /** Append an input under the name `key`; a repeat of the same key appends nothing and gives the first number. */
  async append(
    chatId: string,
    body: JsonObject,
    key: string,
    extras: RequestExtras = {},
  ): Promise<{ seq: number; repeated: boolean }> {
    const headers = new Headers(extras.headers);
    headers.set("idempotency-key", key);
    const answer = await this.#call("POST", chatId, this.path(chatId, "in"), body, { ...extras, headers });
    return (await answer.json()) as { seq: number; repeated: boolean };
  }

  /** The messages and cursors. Throws `session-not-found` for a chat that has not begun. */
  async messages(chatId: string, extras: RequestExtras = {}): Promise<ChatState> {
    const answer = await this.#call("GET", chatId, this.path(chatId, "messages"), undefined, extras);
    const state = (await answer.json()) as ChatState;
    return { ...state, branches: state.branches ?? {} };
  }

  /** Close the session for good. */
  async closeSession(chatId: string, reason: string | undefined): Promise<void> {
    await this.#call("POST", chatId, this.path(chatId, "close"), reason === undefined ? {} : { reason }, {});
  }

  /**
   * Begin to read the outbox after a cursor.
   *
   * Throws `TryAgain` for what may heal, and `ChatrtError` for what does not.
   */
  async open(chatId: string, cursor: number, signal: AbortSignal): Promise<Response> {
    const headers = { accept: "text/event-stream", "last-event-id": String(cursor) };
    return this.#authorized("GET", chatId, this.path(chatId, "out"), undefined, { headers, signal });
  }

  /** Send until it is answered, or until the budget is spent. */
  async #call(
    method: string,
    chatId: string,
    path: string,
    body: JsonObject | undefined,
    extras: RequestExtras,
  ): Promise<Response> {
    const patience = new Patience(this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    for (;;) {
      const attempt = new AbortController();
      const cut = (): void => attempt.abort(extras.signal?.reason);
      if (extras.signal?.aborted) cut();
      extras.signal?.addEventListener("abort", cut, { once: true });
      const timer = setTimeout(() => attempt.abort(new TypeError("fetch took too long")), ATTEMPT_MS);
      try {
        const answer = await this.#authorized(method, chatId, path, body, { ...extras, signal: attempt.signal });
        // The body is read here, so that a connection that breaks in it counts as an attempt.
        return new Response((await answer.text()) || null, { status: answer.status });
      } catch (error) {
        extras.signal?.throwIfAborted();
        const { failure, atLeastMs } = toTryAgain(error);
        const delay = patience.next(atLeastMs);
        if (delay === undefined) throw failure;
        await pause(delay, atLeastMs, extras.signal);
      } finally {
        clearTimeout(timer);
        extras.signal?.removeEventListener("abort", cut);
      }
    }
  }

  /** One attempt with the token; a refused token is asked for anew, once. */
  async #authorized(
    method: string,
    chatId: string,
    path: string,
    body: JsonObject | undefined,
    extras: RequestExtras,
  ): Promise<Response> {
    for (let refreshed = false; ; refreshed = true) {
      const token = await this.#tokens.get(chatId);
      const answer = await this.#fetch(method, path, body, token, extras);
      if (answer.ok) return answer;
      const text = await answer.text().catch(() => "");
      if (answer.status === 401 && !refreshed && (await this.#tokens.refresh(chatId, token))) {
        this.#options.onEvent?.({ type: "token-refreshed", chatId });
        continue;
      }
      const failure = toError(answer.status, text);
      if (RETRYABLE_STATUSES.has(answer.status)) throw new TryAgain(failure, retryAfterMs(answer));
      throw failure;
    }
  }

  async #fetch(
    method: string,
    path: string,
    body: JsonObject | undefined,
    token: string | undefined,
    extras: RequestExtras,
  ): Promise<Response> {
    const { baseUrl, credentials, headers: own } = this.#options;
    const headers = new Headers(typeof own === "function" ? await own() : own);
    if (body !== undefined) headers.set("content-type", "application/json");
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    new Headers(extras.headers).forEach((value, name) => headers.set(name, value));
    // Looked up at each call: tests and instrumentation replace the global one.
    const fetch = this.#options.fetch ?? globalThis.fetch;
    const request: RequestInit = { method, headers, cache: "no-store" };
    if (body !== undefined) request.body = JSON.stringify(body);
    if (credentials) request.credentials = credentials;
    if (extras.signal) request.signal = extras.signal;
    return fetch(baseUrl.replace(/\/+$/, "") + path, request);
  }
}

/** What to do about a failed attempt: throws what does not heal. */
export function toTryAgain(error: unknown): TryAgain {
  if (error instanceof TryAgain) return error;
  if (ChatrtError.isInstance(error)) throw error;
  if (error instanceof TypeError) {
    const reason = `The server cannot be reached: ${error.message}`;
    return new TryAgain(new ChatrtError("server-unavailable", reason, { retryable: true, cause: error }), 0);
  }
  throw error;
}

function toError(status: number, text: string): ChatrtError {
  const error = errorObject(text);
  const healing = RETRYABLE_STATUSES.has(status);
  const facts = { status, retryable: healing || error.code === "session-busy", id: String(error.id ?? "") };
  const code = typeof error.code === "string" ? error.code : healing ? "server-unavailable" : "remote-error";
  const message = typeof error.message === "string" ? error.message : `The server answered ${status}.`;
  return new ChatrtError(code, message, facts);
}

function errorObject(text: string): JsonObject {
  try {
    return (JSON.parse(text) as { error?: JsonObject }).error ?? {};
  } catch {
    return {};
  }
}

function retryAfterMs(answer: Response): number {
  const value = answer.headers.get("retry-after") ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - Date.now());
}
