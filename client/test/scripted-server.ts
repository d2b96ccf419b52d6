// The other end of the wire for tests: a `fetch` over one chat's log, whose answers a test can script.

import type { OutRecord } from "../src/types.js";

/** A request as it was made. */
export type Asked = { method: string; path: string; headers: Headers; body: any };

/** Answers one request in a way of its own, or leaves it to the server by returning undefined. */
export type Interceptor = (asked: Asked, signal: AbortSignal | undefined) => Response | Promise<Response> | undefined;

const encoder = new TextEncoder();

/** A record as a frame of the stream. */
export function frame({ seq, kind, body }: { seq: number; kind: string; body: unknown }): string {
  return `${kind === "chunk" ? "" : `event: ${kind}\n`}id: ${seq}\ndata: ${JSON.stringify(body)}\n\n`;
}

/** An answer in JSON. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

/** An error answer of the server. */
export function refusal(status: number, code: string, headers: Record<string, string> = {}): Response {
  return json(status, { error: { code, message: `refused: ${code}`, id: "err_1" } }, headers);
}

/** A server with one chat: appends are counted, and the outbox is what the test says. */
export class ScriptedServer {
  readonly asked: Asked[] = [];
  /** Inputs in their order, each under its key once. */
  readonly inputs: { key: string; body: any }[] = [];
  readonly log: OutRecord[] = [];
  exists = true;
  state: Record<string, unknown> = {};
  intercept: Interceptor | undefined;
  #readers = new Set<{ cursor: number; controller: ReadableStreamDefaultController<Uint8Array> }>();

  readonly fetch: typeof globalThis.fetch = async (url, init = {}) => {
    const { pathname, search } = new URL(String(url));
    const headers = new Headers(init.headers);
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as unknown) : undefined;
    const asked = { method: init.method ?? "GET", path: pathname + search, headers, body };
    this.asked.push(asked);
    init.signal?.throwIfAborted();
    return (await this.intercept?.(asked, init.signal ?? undefined)) ?? this.answer(asked, init.signal ?? undefined);
  };

  /** Say what the server says by itself. */
  answer({ method, path, headers, body }: Asked, signal?: AbortSignal): Response {
    const missing = refusal(404, "session-not-found");
    if (path === "/v1/sessions") {
      const status = this.exists ? 200 : 201;
      this.exists = true;
      return json(status, { chatId: body.chatId, agent: body.agent, status: "open" });
    }
    if (!this.exists) return missing;
    if (path.endsWith("/messages")) return json(200, { ...this.#messages(), ...this.state });
    if (path.endsWith("/in")) return this.#append(headers.get("idempotency-key") ?? "", body);
    if (path.endsWith("/out")) return this.#out(Number(headers.get("last-event-id")), signal);
    return method === "GET" ? json(200, { agent: "support", status: "open" }) : refusal(404, "not-found");
  }

  /** Append records to the outbox and send them to all who read. */
  say(...said: Omit<OutRecord, "seq">[]): void {
    for (const record of said) {
      const seq = (this.log.at(-1)?.seq ?? 0) + 1;
      this.log.push({ seq, ...record } as OutRecord);
    }
    for (const reader of this.#readers) this.#send(reader);
  }

  /** Chunks, as records. */
  chunks(...chunks: { type: string; [key: string]: unknown }[]): void {
    this.say(...chunks.map((body) => ({ kind: "chunk", body }) as Omit<OutRecord, "seq">));
  }

  /** Send bytes as they are to all who read. */
  sendRaw(text: string): void {
    for (const { controller } of this.#readers) controller.enqueue(encoder.encode(text));
  }

  /** End all open streams in good order, or break them. */
  cut(error?: Error): void {
    for (const { controller } of this.#readers) error ? controller.error(error) : controller.close();
    this.#readers.clear();
  }

  /** How many streams are open. */
  get readers(): number {
    return this.#readers.size;
  }

  /** The requests of a kind. */
  to(suffix: string): Asked[] {
    return this.asked.filter(({ path }) => path.endsWith(suffix));
  }

  #messages(): Record<string, unknown> {
    const last = this.inputs.length;
    return { messages: [], pending: [], cursor: 0, inCursor: last, lastInSeq: last, status: "idle" };
  }

  #append(key: string, body: unknown): Response {
    const known = this.inputs.findIndex((input) => input.key === key);
    if (known < 0) this.inputs.push({ key, body });
    return json(202, { seq: known < 0 ? this.inputs.length : known + 1, repeated: known >= 0 });
  }

  #out(cursor: number, signal: AbortSignal | undefined): Response {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const reader = { cursor, controller };
        this.#readers.add(reader);
        this.#send(reader);
        signal?.addEventListener("abort", () => {
          if (this.#readers.delete(reader)) controller.error(signal.reason);
        });
      },
    });
    return new Response(stream, { status: 200, headers: { "content-type": "text/event-stream" } });
  }

  #send(reader: { cursor: number; controller: ReadableStreamDefaultController<Uint8Array> }): void {
    for (const record of this.log) {
      if (record.seq <= reader.cursor && record.kind !== "gap") continue;
      if (record.kind === "gap" && record.seq < reader.cursor) continue;
      reader.controller.enqueue(encoder.encode(frame(record)));
      reader.cursor = record.seq;
    }
  }
}

/** The records of a whole turn that says a text. */
export function turn(inSeq: number, messageId: string, text: string): Omit<OutRecord, "seq">[] {
  const chunk = (body: { type: string; [key: string]: unknown }) => ({ kind: "chunk", body }) as Omit<OutRecord, "seq">;
  return [
    { kind: "turn-start", body: { inSeq, trigger: "message", messageId } } as Omit<OutRecord, "seq">,
    chunk({ type: "start", messageId }),
    chunk({ type: "start-step" }),
    chunk({ type: "text-start", id: "t" }),
    chunk({ type: "text-delta", id: "t", delta: text }),
    chunk({ type: "text-end", id: "t" }),
    chunk({ type: "finish-step" }),
    chunk({ type: "finish", finishReason: "stop" }),
    { kind: "turn-complete", body: { inSeq, trigger: "message", status: "completed", messageId } } as Omit<OutRecord, "seq">,
  ];
}

/** Wait until something holds, looking again in between. */
export async function until(holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !holds(); ) {
    if (Date.now() > end) throw new Error(`never: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Everything that a stream says. */
export async function collect<T>(stream: ReadableStream<T>): Promise<T[]> {
  const all: T[] = [];
  const reader = stream.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) all.push(read.value);
  return all;
}
