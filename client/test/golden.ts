// Recorded conversations with a real server, and a `fetch` that plays them back.

import { readdirSync, readFileSync } from "node:fs";
import type { WireMessage } from "../src/types.js";

const GOLDEN = new URL("../golden/", import.meta.url);

/** One request with its answer. */
export type Exchange = {
  request: { method: string; path: string; headers?: Record<string, string>; body?: any };
  response: { status: number; body: string };
};

/** One conversation. */
export type Golden = { name: string; agent: string; chatId: string; exchanges: Exchange[] };

/** All recorded conversations. */
export const goldens: Golden[] = readdirSync(GOLDEN).map(
  (file) => JSON.parse(readFileSync(new URL(file, GOLDEN), "utf-8")) as Golden,
);

/** What a recorded conversation says: the inputs with their numbers, the whole outbox, and the loaded states. */
export class Playback {
  readonly inputs: { seq: number; body: any }[] = [];
  readonly asked: { method: string; path: string; body: any }[] = [];
  /** The bytes of the whole outbox, without the events that said that nothing more was to come. */
  readonly out: string;
  readonly states: { messages: WireMessage[]; cursor: number }[] = [];
  readonly #golden: Golden;

  constructor(golden: Golden) {
    this.#golden = golden;
    let out = "";
    for (const { request, response } of golden.exchanges) {
      if (request.path.endsWith("/in")) {
        this.inputs.push({ seq: (JSON.parse(response.body) as { seq: number }).seq, body: request.body });
      } else if (request.path.includes("/out")) out += response.body.replace(/event: idle\n.*\n\n/, "");
      else if (request.path.endsWith("/messages")) this.states.push(JSON.parse(response.body) as Playback["states"][0]);
    }
    this.out = out;
  }

  /** Answers as the server did: an input that was recorded has its number, and the outbox is whole from the beginning. */
  readonly fetch: typeof globalThis.fetch = async (url, init = {}) => {
    const path = new URL(String(url)).pathname;
    const method = init.method ?? "GET";
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as any) : undefined;
    this.asked.push({ method, path, body });
    if (path === "/v1/sessions") return this.#recorded((request) => request.method === "POST" && request.path === path);
    if (path.endsWith("/in")) return this.#recorded((request) => request.path === path && sameInput(request.body, body));
    if (path.endsWith("/out")) return this.#stream(Number(new Headers(init.headers).get("last-event-id")), init.signal);
    return this.#recorded((request) => request.path === path);
  };

  #recorded(isMeant: (request: Exchange["request"]) => boolean): Response {
    const found = this.#golden.exchanges.find(({ request }) => isMeant(request));
    if (!found) throw new Error(`not recorded: ${JSON.stringify(this.asked.at(-1))}`);
    return new Response(found.response.body, { status: found.response.status });
  }

  /** The recorded bytes after a cursor, in pieces that respect nothing. */
  #stream(cursor: number, signal: AbortSignal | null | undefined): Response {
    const from = cursor === 0 ? 0 : this.out.indexOf("\n\n", this.out.indexOf(`id: ${cursor}\n`)) + 2;
    const bytes = new TextEncoder().encode(this.out.slice(from));
    let at = 0;
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        if (at >= bytes.length) {
          signal?.addEventListener("abort", () => controller.error(signal.reason));
          return new Promise(() => {});
        }
        const size = 1 + ((at * 7919) % 97);
        controller.enqueue(bytes.slice(at, at + size));
        at += size;
        return undefined;
      },
    });
    return new Response(stream, { status: 200 });
  }
}

/** Whether an input is the recorded one; that it was to be read before the next step does not show in its answer. */
function sameInput({ steer: _, ...recorded }: any, { steer: __, ...said }: any): boolean {
  return JSON.stringify(recorded) === JSON.stringify(said);
}
