// A page with the real useChat hook of one ai version, on the stock transport or on that of @chatrt/client.
//
// Usage of the scripts that import this: node <script> <5|6|7> <scenario> <base URL> [chatrt]. Each prints one JSON line:
// what the hook showed, and what went over the wire.

import { register } from "node:module";
import { GlobalWindow } from "happy-dom";

export const [version, scenario, base, wire = "stock"] = process.argv.slice(2);

// React needs a document; everything that talks to the network stays Node's own.
const page = new GlobalWindow({ url: base });
globalThis.window = page;
globalThis.document = page.document;
Object.defineProperty(globalThis, "navigator", { value: page.navigator, configurable: true });
process.env.NODE_ENV = "production";

const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
export const ai = await import(`ai-v${version}`);
const { useChat } = await import(`react-v${version}`);

export const isStock = wire === "stock";
register("./one_react.mjs", import.meta.url);
const { ChatrtTransport, MemoryStorage } = isStock ? {} : await import("../../client/dist/index.js");
export const { useActions, useBranches, useChatrtTransport, useFollow, usePendingMessages } = isStock
  ? {}
  : await import("../../client/dist/react/index.js");

const API = `${base}/api/chat/playbook`;
const DEADLINE_MS = 20_000;
export const requests = []; // {method, url, status, body: what came back}

/** The versions share a server; every scenario of each has a chat of its own. */
export const chatId = (name) => `${name}-v${version}${isStock ? "" : "-native"}`;

/** What outlives a page that is loaded again, as the session storage of a tab does. */
const storage = isStock ? undefined : new MemoryStorage();

export const newTransport = (options = {}) =>
  isStock
    ? new ai.DefaultChatTransport({ api: API, fetch: recordingFetch, ...options })
    : new ChatrtTransport({ baseUrl: base, agent: "playbook", fetch: recordingFetch, storage, aiSdk: Number(version), ...options });

/** Node's fetch, which remembers every byte that came back. */
export async function recordingFetch(url, options = {}) {
  const entry = { method: options.method ?? "GET", url: String(url), sent: options.body, status: 0, body: "" };
  requests.push(entry);
  const response = await fetch(url, options);
  entry.status = response.status;
  if (!response.body) return response;
  const decoder = new TextDecoder();
  const tap = new TransformStream({
    transform(bytes, out) {
      entry.body += decoder.decode(bytes, { stream: true });
      out.enqueue(bytes);
    },
  });
  return new Response(response.body.pipeThrough(tap), { status: response.status, headers: response.headers });
}

/** Let React draw what has changed: it does so in microtasks, which are all done before the next timer. */
export const rendered = () => new Promise((resolve) => setTimeout(resolve, 0));

/** A component that uses the hook, mounted like a page. */
export class Page {
  statuses = [];
  data = [];
  errors = [];
  finishes = 0;
  calls = [];

  /** `transport` is an own one; `follow` keeps the chat in step with what is begun elsewhere; `hooks` are called along. */
  constructor(name, { transport, follow, hooks, ...options } = {}) {
    const id = chatId(name);
    this.id = id;
    this.transport = transport ?? newTransport();
    this.root = createRoot(document.body.appendChild(document.createElement("div")));
    const Chat = () => {
      this.chat = useChat({
        id,
        transport: this.transport,
        onData: (part) => void this.data.push(structuredClone(part)), // v5 changes it later
        onError: (error) => this.errors.push(error.message),
        onFinish: () => this.finishes++,
        onToolCall: ({ toolCall }) => void this.calls.push(toolCall.toolName),
        ...options,
      });
      if (follow) this.followed = useFollow({ transport: this.transport, chat: this.chat });
      this.hooked = hooks?.(this.transport, this.chat);
      if (this.statuses.at(-1) !== this.chat.status) this.statuses.push(this.chat.status);
      return null;
    };
    this.root.render(createElement(Chat));
  }

  async until(what, condition) {
    const end = Date.now() + DEADLINE_MS;
    while (!(this.chat && condition(this.chat))) {
      if (Date.now() > end) {
        throw new Error(`never: ${what}; ${JSON.stringify({ status: this.chat?.status, messages: this.chat?.messages, errors: this.errors })}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  mounted() {
    return this.until("mounted", () => true);
  }

  /** Wait for the answer of the request that was just made; what is shown then is newer than the call of this. */
  async settled(what = "settled") {
    await rendered();
    await this.until(what, (chat) => chat.status === "ready" || chat.status === "error");
  }

  async say(text, options) {
    await this.chat.sendMessage({ text, ...options });
    await this.settled(`answer to ${text}`);
  }

  get last() {
    return this.chat.messages.at(-1);
  }

  get texts() {
    return this.chat.messages.map(textOf);
  }

  close() {
    this.root.unmount();
  }

  /** Go away in the middle, as a page that is loaded again does: nothing is stopped, and nothing reads any more. */
  async leave() {
    if (isStock) await this.chat.stop();
    else this.transport.close();
    this.close();
  }
}

export function textOf(message) {
  return message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
}

export const toolParts = (message) => message.parts.filter((part) => part.type.startsWith("tool-"));
/** How often something was said. */
export const posts = () => requests.filter((one) => one.method === "POST" && (isStock || one.url.endsWith("/in")));

export async function open(id, options) {
  const opened = new Page(id, options);
  await opened.mounted();
  return opened;
}

export async function stored(name) {
  const response = await fetch(`${API}/${encodeURIComponent(chatId(name))}/messages`);
  return (await response.json()).messages;
}

export async function until(condition) {
  const end = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Give the output of a client tool, by the name the version has for it. */
export function giveOutput(chat, toolCallId, output) {
  const give = chat.addToolOutput ?? chat.addToolResult;
  return give({ tool: "ask_user", toolCallId, output });
}

/** Run the scenario that the command line names, and print what came of it. */
export async function runScenario(scenarios) {
  try {
    const result = await scenarios[scenario]();
    console.log(JSON.stringify({ result }));
  } catch (error) {
    console.log(JSON.stringify({ failed: String(error?.stack ?? error), requests }));
  }
  process.exit();
}
