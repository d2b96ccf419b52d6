// Runs scenarios with the published chat clients of Trigger.dev.
//
// Usage: node trigger.mjs <base URL> <secret key> <scenario>...   All at once; one JSON line for each, as it ends:
// {"scenario", "result"} or {"scenario", "failed"}. A scenario that needs the server killed prints {"at"} and goes on.

import { GlobalWindow } from "happy-dom";

const [base, key, ...wanted] = process.argv.slice(2);
process.env.TRIGGER_API_URL = base;
process.env.TRIGGER_SECRET_KEY = key;
process.env.NODE_ENV = "production";

// React needs a document; everything that talks to the network stays Node's own. The page comes after the SDK's import,
// which asks where it runs.
const { AgentChat, TriggerChatTransport } = await import("@trigger.dev/sdk/chat");
const { chat: chatActions } = await import("@trigger.dev/sdk/ai");
const { auth, sessions } = await import("@trigger.dev/sdk");
const { readUIMessageStream, ...ai } = await import("ai-v6");
const page = new GlobalWindow({ url: base });
globalThis.window = page;
globalThis.document = page.document;
const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useChat } = await import("react-v6");

const DEADLINE_MS = 25_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, what = String(condition)) {
  const end = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await pause(10);
  }
}

const textOf = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
const toolParts = (message) => message.parts.filter((part) => part.type.startsWith("tool-"));
const user = (text, id = crypto.randomUUID()) => ({ id, role: "user", parts: [{ type: "text", text }] });
const deltas = (chunks) => chunks.filter((chunk) => chunk.type === "text-delta").map((chunk) => chunk.delta).join("");
const types = (chunks) => chunks.map((chunk) => chunk.type);
const scopes = (chatId) => ({ read: { sessions: chatId }, write: { sessions: chatId } });

/** A fetch that remembers what was asked and what came back. */
function recorder() {
  const requests = [];
  const recording = async (url, options = {}) => {
    const entry = { method: options.method ?? "GET", url: String(url), part: new Headers(options.headers).get("x-part-id"), sent: options.body };
    requests.push(entry);
    const response = await fetch(url, options);
    entry.status = response.status;
    entry.settled = response.headers.get("x-session-settled");
    return response;
  };
  return { requests, fetch: recording };
}

/** Read a stream of chunks to its end, or until a condition holds of those that came. */
async function drain(stream, enough = () => false) {
  const chunks = [];
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return chunks;
    chunks.push(value);
    if (enough(chunks)) {
      reader.releaseLock();
      return chunks;
    }
  }
}

/** The transport as an application has it, with the stock server action behind it. */
class Browser {
  events = [];

  constructor(chatId, { agent = "playbook", ...options } = {}) {
    this.chatId = chatId;
    this.wire = recorder();
    this.transport = new TriggerChatTransport({
      task: agent,
      baseURL: base,
      startSession: chatActions.createStartSessionAction(agent),
      accessToken: () => auth.createPublicToken({ scopes: scopes(chatId) }),
      fetch: this.wire.fetch,
      onEvent: (event) => this.events.push(event),
      ...options,
    });
  }

  send(message, options = {}) {
    const { trigger = "submit-message", ...rest } = options;
    return this.transport.sendMessages({ trigger, chatId: this.chatId, messages: message ? [message] : [], ...rest });
  }

  async say(text, options) {
    return drain(await this.send(user(text), options));
  }

  reconnect(options) {
    return this.transport.reconnectToStream({ chatId: this.chatId, ...options });
  }

  get session() {
    return this.transport.getSession(this.chatId);
  }

  get settledBy() {
    return this.events.filter((event) => event.type === "turn-completed").map((event) => Number(event.sessionInEventId));
  }

}

/** What the server has, by the stock call. */
async function history(chatId) {
  const { messages } = await (await fetch(`${base}/api/v1/sessions/${encodeURIComponent(chatId)}/transcript`, { headers: { authorization: `Bearer ${key}` } })).json();
  return messages;
}

function post(chatId, body, { token = key, part } = {}) {
  return fetch(`${base}/realtime/v1/sessions/${encodeURIComponent(chatId)}/in/append`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}`, ...(part ? { "x-part-id": part } : {}) },
    body: JSON.stringify(body),
  });
}

/** A component that uses the hook, mounted like a page. */
class Page {
  statuses = [];
  errors = [];
  data = [];

  constructor(chatId, { browser, ...options } = {}) {
    this.browser = browser ?? new Browser(chatId);
    const Chat = () => {
      this.chat = useChat({
        id: chatId,
        transport: this.browser.transport,
        onError: (error) => this.errors.push(error.message),
        onData: (part) => this.data.push(part),
        ...options,
      });
      if (this.statuses.at(-1) !== this.chat.status) this.statuses.push(this.chat.status);
      return null;
    };
    this.root = createRoot(document.body.appendChild(document.createElement("div")));
    this.root.render(createElement(Chat));
  }

  static async open(chatId, options) {
    const opened = new Page(chatId, options);
    await until(() => opened.chat, "mounted");
    return opened;
  }

  until(what, condition) {
    return until(() => condition(this.chat), `${what}: ${JSON.stringify({ status: this.chat.status, texts: this.texts, errors: this.errors })}`);
  }

  async settled() {
    await pause(0);
    await this.until("settled", (chat) => chat.status === "ready" || chat.status === "error");
  }

  async say(text, options) {
    await this.chat.sendMessage({ text, ...options });
    await this.settled();
  }

  get last() {
    return this.chat.messages.at(-1);
  }

  get texts() {
    return this.chat.messages.map(textOf);
  }

  get appends() {
    return this.browser.wire.requests.filter((request) => request.method === "POST").length;
  }

  close() {
    this.root.unmount();
  }
}

const answersTools = { sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls };
const answersApprovals = { sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses };

async function approval(chatId, approved) {
  const opened = await Page.open(chatId, answersApprovals);
  await opened.say("confirm the move");
  const asked = toolParts(opened.last)[0];
  const id = opened.last.id;
  await opened.chat.addToolApprovalResponse({ id: asked.approval.id, approved });
  await opened.until("continued", () => opened.texts.at(-1) !== "");
  await opened.settled();
  await pause(200);
  const [after] = toolParts(opened.last);
  return { before: asked.state, after: { state: after.state, output: after.output }, sameMessage: opened.last.id === id, texts: opened.texts, appends: opened.appends, errors: opened.errors };
}

const scenarios = {
  // --- TriggerChatTransport

  async turns(chatId) {
    const browser = new Browser(chatId);
    const first = await browser.say("echo Hello");
    const second = await browser.say("history");
    return { first: types(first), texts: [deltas(first), deltas(second)], settledBy: browser.settledBy, events: browser.events.map((event) => event.type), streaming: browser.session.isStreaming };
  },

  async everything(chatId) {
    const browser = new Browser(chatId);
    const kinds = {};
    for (const word of ["data", "meta", "think", "source", "file", "tool 2+3"]) {
      let message;
      for await (message of readUIMessageStream({ stream: await browser.send(user(word)) }));
      kinds[word] = message.parts.map((part) => part.type).filter((type) => type !== "step-start");
    }
    return kinds;
  },

  async action(chatId) {
    const browser = new Browser(chatId);
    await browser.say("echo one");
    await browser.say("echo two");
    let settled;
    const undo = await drain(await browser.transport.sendAction(chatId, { type: "undo" }, { onSettled: (event) => (settled = event) }));
    const again = await drain(await browser.send(user("unused"), { body: { action: { type: "regenerate" } } }));
    const bad = await drain(await browser.transport.sendAction(chatId, { type: "explode" }));
    const after = await browser.say("history");
    return { undo: types(undo), settled: typeof settled?.inputSeq, again: deltas(again), bad: types(bad), after: deltas(after), stored: (await history(chatId)).map(textOf) };
  },

  async regenerate(chatId) {
    const opened = await Page.open(chatId);
    await opened.say("echo one");
    await opened.say("history");
    const before = opened.last.id;
    await opened.chat.regenerate();
    await opened.settled();
    const renewed = opened.last.id !== before;
    const texts = opened.texts;
    await opened.chat.regenerate({ messageId: opened.chat.messages[1].id });
    await opened.settled();
    return { texts, renewed, afterEarlier: opened.texts, errors: opened.errors };
  },

  async edit(chatId) {
    const opened = await Page.open(chatId);
    await opened.say("echo one");
    await opened.say("echo two");
    await opened.say("history", { messageId: opened.chat.messages[0].id });
    return { texts: opened.texts, errors: opened.errors };
  },

  async reconnect(chatId) {
    const browser = new Browser(chatId);
    await browser.say("echo first");
    const running = await browser.send(user("count 100"));
    await drain(running, (chunks) => deltas(chunks).includes("w9 "));
    const session = browser.session;
    browser.transport.dispose(); // the page goes away; nothing is stopped
    const again = new Browser(chatId, { sessions: { [chatId]: session } });
    const chunks = await drain(await again.reconnect());
    return { streaming: session.isStreaming, starts: types(chunks).filter((type) => type === "start").length, text: deltas(chunks), after: again.session.isStreaming };
  },

  async "reconnect-settled"(chatId) {
    const browser = new Browser(chatId);
    await browser.say("echo first");
    const { activeInputSeq, ...session } = { ...browser.session, isStreaming: true };
    const again = new Browser(chatId, { sessions: { [chatId]: session } });
    const started = Date.now();
    const chunks = await drain(await again.reconnect());
    const chat = new AgentChat({ agent: "playbook", id: chatId, session: { lastEventId: session.lastEventId } });
    const server = await drain(await chat.reconnect());
    const idle = new Browser(chatId, { sessions: { [chatId]: browser.session } });
    return { chunks: types(chunks), server: types(server), took: Date.now() - started, settled: again.wire.requests.map((request) => request.settled), idle: await idle.reconnect() };
  },

  async "reconnect-peeking"(chatId) {
    const browser = new Browser(chatId);
    await browser.say("echo first");
    const running = await browser.send(user("count 200"));
    await drain(running, (chunks) => deltas(chunks).includes("w3 "));
    const { activeInputSeq, ...session } = browser.session;
    browser.transport.dispose();
    const again = new Browser(chatId, { sessions: { [chatId]: session } });
    return { text: deltas(await drain(await again.reconnect())), settled: again.wire.requests.map((request) => request.settled) };
  },

  async stop(chatId) {
    const browser = new Browser(chatId);
    const seen = {};
    for (const way of ["abort", "stopGeneration", "both"]) {
      const controller = new AbortController();
      const running = await browser.send(user("sleep"), { abortSignal: controller.signal });
      await drain(running, (chunks) => deltas(chunks).includes("w1 "));
      if (way !== "stopGeneration") controller.abort();
      if (way !== "abort") await browser.transport.stopGeneration(chatId);
      const started = Date.now();
      const next = await browser.say(`echo after ${way}`);
      seen[way] = { text: deltas(next), soon: Date.now() - started < 5000 };
    }
    return { seen, stored: (await history(chatId)).map((message) => [message.role, textOf(message).length > 0]) };
  },

  async "stop-idle"(chatId) {
    const browser = new Browser(chatId);
    await browser.say("echo first");
    const chat = new AgentChat({ agent: "playbook", id: chatId, session: { lastEventId: browser.session.lastEventId } });
    await browser.transport.stopGeneration(chatId);
    await browser.transport.stopGeneration(chatId);
    const server = await (await chat.sendMessage("echo second")).text();
    const next = await browser.say("history");
    return { server, next: deltas(next) };
  },

  async preload(chatId) {
    const browser = new Browser(chatId, { agent: "greeter", clientData: { name: "Ada" } });
    await Promise.all([browser.transport.preload(chatId), browser.transport.preload(chatId)]);
    const first = await browser.say("hi");
    const chat = new AgentChat({ agent: "greeter", id: `${chatId}-server`, clientData: { name: "Bo" } });
    await chat.preload();
    const server = await (await chat.sendMessage("hi")).text();
    return { first: deltas(first), starts: types(first).filter((type) => type === "start").length, data: first.filter((chunk) => chunk.type === "data-ready"), server };
  },

  async "per-call-metadata"(chatId) {
    const browser = new Browser(chatId, { agent: "greeter", clientData: { name: "Ada" } });
    const first = await browser.say("hi", { metadata: { name: "Grace" }, body: { anything: ["else"] } });
    const second = await browser.say("hi");
    const bad = await browser.say("hi", { metadata: { name: 7 } });
    const after = await browser.say("hi");
    return { first: deltas(first), second: deltas(second), bad: types(bad), after: deltas(after) };
  },

  async failure(chatId) {
    const browser = new Browser(chatId);
    const chunks = await browser.say("fail");
    const after = await browser.say("echo after");
    const opened = await Page.open(`${chatId}-page`);
    await opened.say("fail");
    const status = opened.chat.status;
    await opened.say("echo after");
    const chat = new AgentChat({ agent: "playbook", id: `${chatId}-server` });
    const server = await (await chat.sendMessage("fail")).text();
    const serverAfter = await (await chat.sendMessage("echo after")).text();
    return { chunks: types(chunks), errorText: chunks.find((chunk) => chunk.type === "error").errorText, after: deltas(after), status, page: opened.texts.at(-1), message: opened.errors[0], server, serverAfter };
  },

  async pending(chatId) {
    const browser = new Browser(chatId);
    const running = await browser.send(user("count 40"));
    const all = drain(running);
    await until(() => browser.events.some((event) => event.type === "first-chunk"));
    const accepted = await browser.transport.sendPendingMessage(chatId, user("echo queued"));
    const first = deltas(await all);
    await until(async () => (await history(chatId)).length === 4);
    const next = await browser.say("history");
    return { accepted, first, next: deltas(next).endsWith("5") };
  },

  async steering(chatId) {
    const chat = new AgentChat({ agent: "busy", id: chatId });
    const stream = await chat.sendMessage("look it up");
    const injected = [];
    let text = "";
    for await (const chunk of stream) {
      if (chunk.type === "tool-input-available") await chat.steer("be brief");
      if (chunk.type === "data-pending-message-injected") injected.push(...chunk.data.messages.map((message) => message.text));
      if (chunk.type === "text-delta") text += chunk.delta;
    }
    const next = await (await chat.sendMessage("thanks")).text();
    return { injected, text, next };
  },

  async "two-tabs"(chatId) {
    const one = new Browser(chatId);
    await one.say("echo hello");
    const watcher = new Browser(chatId, { watch: true, sessions: { [chatId]: one.session } });
    const stop = new AbortController();
    const watched = [];
    const watching = (async () => {
      for await (const chunk of await watcher.reconnect({ abortSignal: stop.signal })) watched.push(chunk);
    })().catch(() => {});
    const first = await one.say("count 20");
    const chat = new AgentChat({ agent: "playbook", id: chatId, session: { lastEventId: one.session.lastEventId } });
    const second = await (await chat.sendMessage("echo from a server")).text();
    await until(() => deltas(watched).includes("from a server") && watcher.settledBy.length === 2);
    stop.abort();
    await watching;
    const posts = watcher.wire.requests.filter((request) => request.method === "POST").length;
    return { first: deltas(first), second, watched: deltas(watched), turns: watcher.settledBy.length, posts };
  },

  async "odd-ids"(chatId) {
    const seen = [];
    for (const odd of [`${chatId}/a/b:c %25 % +`, `${chatId} дом/猫 ☂ ?#&`, `${chatId}..`]) {
      const browser = new Browser(odd, {
        accessToken: () => auth.createPublicToken({ scopes: scopes(odd) }),
      });
      browser.transport.setSession(odd, { publicAccessToken: "expired" });
      await sessions.start({ type: "chat.agent", externalId: odd, taskIdentifier: "playbook", triggerConfig: { basePayload: { trigger: "preload", chatId: odd } } });
      const first = await browser.say("echo one");
      const chat = new AgentChat({ agent: "playbook", id: odd, session: { lastEventId: browser.session.lastEventId } });
      const item = await sessions.retrieve(odd);
      const byId = await sessions.retrieve(item.id);
      seen.push({ first: deltas(first), second: await (await chat.sendMessage("history")).text(), same: byId.externalId === odd });
    }
    return seen;
  },

  // --- tokens

  async refresh(chatId) {
    let asked = 0;
    const expired = () => auth.createPublicToken({ scopes: scopes(chatId), expirationTime: Math.floor(Date.now() / 1000) - 60 });
    const start = chatActions.createStartSessionAction("playbook");
    const browser = new Browser(chatId, {
      startSession: async (parameters) => ({ ...(await start(parameters)), publicAccessToken: await expired() }),
      accessToken: async () => (asked++, auth.createPublicToken({ scopes: scopes(chatId) })),
    });
    const first = await browser.say("echo fresh");
    const appends = browser.wire.requests.filter((request) => request.method === "POST");
    const session = { ...browser.session, publicAccessToken: await expired(), isStreaming: true };
    const again = new Browser(chatId, { sessions: { [chatId]: session }, accessToken: async () => (asked++, auth.createPublicToken({ scopes: scopes(chatId) })) });
    const reading = await drain(await again.reconnect());
    return { text: deltas(first), asked, statuses: appends.map((request) => request.status), samePart: appends[0].part === appends[1].part, stored: (await history(chatId)).length, reading: types(reading), outs: again.wire.requests.map((request) => request.status) };
  },

  async tokens(chatId) {
    const start = chatActions.createStartSessionAction("playbook", { tokenTTL: "10m" });
    const { publicAccessToken, runId, sessionId } = await start({ chatId });
    await start({ chatId: `${chatId}-other` });
    const body = { kind: "stop" };
    const status = async (id, options) => (await post(id, body, options)).status;
    const readOnly = await auth.createPublicToken({ scopes: { read: { sessions: chatId } } });
    const own = await status(chatId, { token: publicAccessToken });
    return {
      own,
      byId: await status(sessionId, { token: publicAccessToken }),
      other: await status(`${chatId}-other`, { token: publicAccessToken }),
      unknown: await status(`${chatId}-nobody`, { token: publicAccessToken }),
      unknownByServer: await status(`${chatId}-nobody`),
      readOnly: await status(chatId, { token: readOnly }),
      wrong: await status(chatId, { token: "nonsense" }),
      native: (await fetch(`${base}/v1/sessions/${chatId}`, { headers: { authorization: `Bearer ${publicAccessToken}` } })).status,
      server: (await fetch(`${base}/api/v1/sessions/${chatId}`, { headers: { authorization: `Bearer ${publicAccessToken}` } })).status,
      runId: runId.startsWith("run_"),
    };
  },

  async recreate(chatId) {
    const gone = new Browser(chatId, {
      sessions: { [chatId]: { publicAccessToken: await auth.createPublicToken({ scopes: scopes(chatId) }), lastEventId: "4711" } },
    });
    const first = await gone.say("echo made again");
    return { text: deltas(first), statuses: gone.wire.requests.map((request) => request.status) };
  },

  // --- idempotence, closing

  async idempotent(chatId) {
    const browser = new Browser(chatId);
    await browser.transport.preload(chatId);
    const body = { kind: "message", payload: { message: user("echo once", "m1"), chatId, trigger: "submit-message" } };
    const answers = await Promise.all([post(chatId, body, { part: "p1" }), post(chatId, body, { part: "p1" }), post(chatId, body, { part: "p1" })]);
    const late = await post(chatId, body, { part: "p1" });
    const seqs = [];
    for (const answer of [...answers, late]) seqs.push((await answer.json()).seq);
    await until(async () => (await history(chatId)).length >= 2);
    return { statuses: [...answers, late].map((answer) => answer.status), one: new Set(seqs).size, texts: (await history(chatId)).map(textOf) };
  },

  async closed(chatId) {
    const browser = new Browser(chatId);
    await browser.say("echo before");
    const watcher = new Browser(chatId, { watch: true, sessions: { [chatId]: browser.session } });
    const watching = drain(await watcher.reconnect());
    await sessions.close(chatId, { reason: "solved" });
    const item = await sessions.close(chatId, { reason: "too late" });
    await watching;
    const refused = await browser.say("echo after").then(() => "answered", (error) => ({ status: error.status, code: error.code, reason: error.closedReason }));
    const started = Date.now();
    const restart = await sessions.start({ type: "chat.agent", externalId: chatId, taskIdentifier: "playbook", triggerConfig: { basePayload: { trigger: "preload", chatId } } }).then(() => 200, (error) => error.status);
    const chat = new AgentChat({ agent: "playbook", id: chatId, session: { lastEventId: browser.session.lastEventId } });
    const server = await chat.sendMessage("echo after").then(() => "answered", (error) => error.status);
    return { reason: item.closedReason, dated: item.closedAt instanceof Date, refused, status: browser.transport.sessionStatus(chatId), watcher: watcher.transport.sessionStatus(chatId), watcherReason: watcher.transport.sessionClosedReason(chatId), restart, soon: Date.now() - started < 3000, server, stored: (await history(chatId)).map(textOf) };
  },

  async "closed-in-mid-turn"(chatId) {
    const browser = new Browser(chatId);
    const running = await browser.send(user("sleep"));
    await drain(running, (chunks) => deltas(chunks).includes("w1 "));
    const rest = drain(running);
    await sessions.close(chatId, { reason: "enough" });
    const last = types(await rest).at(-1);
    return { last, roles: (await history(chatId)).map((message) => message.role) };
  },

  // --- AgentChat

  async server(chatId) {
    let triggered = 0;
    const turns = [];
    const chat = new AgentChat({ agent: "playbook", id: chatId, onTriggered: () => void triggered++, onTurnComplete: (event) => void turns.push(event.lastEventId) });
    const first = await (await chat.sendMessage("tool 2+3")).result();
    const second = await (await chat.sendMessage("history")).text();
    const restored = new AgentChat({ agent: "playbook", id: chatId, session: chat.session, onTriggered: () => void triggered++ });
    const third = await (await restored.sendMessage("history")).text();
    const undone = await (await restored.sendAction({ type: "undo" })).text();
    const fourth = await (await restored.sendMessage("history")).text();
    const again = deltas(await drain(await restored.sendRaw([], { trigger: "regenerate-message" })));
    const item = await sessions.retrieve(chatId);
    return { first, second, third, undone, fourth, again, triggered, turns: turns.length, item: { externalId: item.externalId, agent: item.taskIdentifier, type: item.type } };
  },

  async "server-tools"(chatId) {
    const chat = new AgentChat({ agent: "playbook", id: chatId });
    let message;
    for await (message of (await chat.sendMessage("ask Which colour?")).messages());
    const part = toolParts(message)[0];
    const answered = { ...message, parts: message.parts.map((one) => (one === part ? { ...part, state: "output-available", output: "blue" } : one)) };
    const chunks = await drain(await chat.sendRaw([answered]));
    return { text: deltas(chunks), sameMessage: chunks[0].messageId === message.id, types: types(chunks).slice(0, 2), messages: (await history(chatId)).length };
  },

  async "server-stop"(chatId) {
    const chat = new AgentChat({ agent: "playbook", id: chatId });
    const running = await chat.sendMessage("sleep");
    const reading = running.text();
    await until(async () => (await history(chatId)).length === 1);
    await pause(300);
    await chat.stop();
    await reading;
    const next = await (await chat.sendMessage("echo after stop")).text();
    const controller = new AbortController();
    const aborted = await chat.sendMessage("sleep", { abortSignal: controller.signal });
    await drain(aborted.stream, (chunks) => deltas(chunks).includes("w1 "));
    controller.abort();
    const last = await (await chat.sendMessage("echo after abort")).text();
    return { next, last };
  },

  async "server-reconnect"(chatId) {
    const chat = new AgentChat({ agent: "playbook", id: chatId });
    await (await chat.sendMessage("echo first")).text();
    const session = chat.session;
    const running = await chat.sendMessage("count 200");
    await drain(running.stream, (chunks) => deltas(chunks).includes("w3 "));
    const again = new AgentChat({ agent: "playbook", id: chatId, session });
    return { text: deltas(await drain(await again.reconnect())) };
  },

  async "server-close"(chatId) {
    const chat = new AgentChat({ agent: "playbook", id: chatId });
    await (await chat.sendMessage("echo first")).text();
    const closed = await chat.close();
    const item = await sessions.retrieve(chatId);
    const next = await (await chat.sendMessage("history")).text();
    return { closed, open: item.closedAt === null, next };
  },

  // --- the rest of the SDK

  async sessions(chatId) {
    const names = [1, 2, 3].map((number) => `${chatId}-${number}`);
    for (const name of names) {
      const made = await sessions.start({ type: "chat.agent", externalId: name, taskIdentifier: "playbook", tags: [`tag-${chatId}`], metadata: { plan: "pro" }, triggerConfig: { basePayload: { trigger: "preload", chatId: name }, tags: ["a"] } });
      if (made.isCached) throw new Error("cached");
    }
    await sessions.close(names[1]);
    const listed = [];
    for await (const item of sessions.list({ tag: `tag-${chatId}`, limit: 2 })) listed.push(item.externalId);
    const first = await sessions.list({ tag: `tag-${chatId}`, limit: 2 });
    const second = await first.getNextPage();
    const open = [];
    for await (const item of sessions.list({ tag: `tag-${chatId}`, status: "ACTIVE" })) open.push(item.externalId);
    const item = await sessions.update(names[0], { metadata: { plan: "free" } });
    return { listed: listed.length, pages: [first.data.length, second.data.length], more: second.hasNextPage(), open: open.length, metadata: item.metadata, tags: item.tags.length };
  },

  async handle(chatId) {
    const chat = new AgentChat({ agent: "playbook", id: chatId });
    await (await chat.sendMessage("echo first")).text();
    const handle = sessions.open(chatId);
    await handle.in.send({ kind: "message", payload: { message: user("echo second"), chatId, trigger: "submit-message" } });
    const controls = [];
    const stop = new AbortController();
    const chunks = [];
    const stream = await handle.out.read({ signal: stop.signal, onControl: (event) => controls.push(event.subtype) });
    const reader = stream.getReader();
    while (controls.filter((one) => one === "turn-complete").length < 2) {
      const next = await Promise.race([reader.read(), pause(50)]);
      if (next?.value) chunks.push(next.value);
    }
    stop.abort();
    return { text: deltas(chunks), controls: new Set(controls).size };
  },

  async transcript(chatId) {
    const { defaultStorage } = await import("@trigger.dev/sdk/ai");
    const browser = new Browser(chatId);
    for (const word of ["one", "two", "three"]) await browser.say(`echo ${word}`);
    const load = chatActions.createLoadTranscriptAction(defaultStorage, { limit: 4 });
    const newest = await load({ chatId });
    const older = await load({ chatId, before: newest.nextCursor });
    const whole = await chatActions.createLoadTranscriptAction(defaultStorage)({ chatId });
    const again = new Browser(chatId);
    again.transport.seedResumeCursor(chatId, newest.cursors.lastOutEventId);
    const next = await again.say("history");
    return { newest: newest.messages.map(textOf), older: older.messages.map(textOf), more: older.nextCursor ?? null, whole: whole.messages.length, next: deltas(next) };
  },

  // --- useChat

  async page(chatId) {
    const opened = await Page.open(chatId);
    await opened.say("echo Hello");
    const first = { texts: opened.texts, id: opened.last.id.length > 0 };
    opened.statuses.length = 0;
    await opened.say("count 30");
    return { ...first, statuses: opened.statuses, errors: opened.errors };
  },

  async "page-reload"(chatId) {
    const opened = await Page.open(chatId);
    await opened.say("echo first");
    void opened.chat.sendMessage({ text: "count 100" });
    await opened.until("the middle", () => opened.texts.at(-1).includes("w9 "));
    const session = opened.browser.session;
    const messages = await history(chatId); // as a page that is loaded anew has them
    opened.browser.transport.dispose();
    opened.close();
    const again = await Page.open(chatId, { messages, resume: true, browser: new Browser(chatId, { sessions: { [chatId]: session } }) });
    await again.until("resumed", () => again.texts.at(-1).includes("w99 "));
    await again.settled();
    return { texts: again.texts, errors: again.errors, appends: again.appends };
  },

  async "page-stop"(chatId) {
    const opened = await Page.open(chatId);
    void opened.chat.sendMessage({ text: "sleep" });
    await opened.until("a word", () => opened.chat.messages.length === 2 && opened.texts[1].length > 0);
    await opened.chat.stop();
    await opened.settled();
    await opened.say("echo after");
    return { last: opened.texts.at(-1), count: opened.chat.messages.length, errors: opened.errors };
  },

  async "page-tool"(chatId) {
    const opened = await Page.open(chatId, answersTools);
    await opened.say("ask Which colour?");
    const id = opened.last.id;
    const [asked] = toolParts(opened.last);
    await opened.chat.addToolOutput({ tool: "ask_user", toolCallId: asked.toolCallId, output: "blue" });
    await opened.until("continued", () => opened.texts.at(-1) === "answer: blue");
    await opened.settled();
    await opened.say("history");
    return { sameMessage: opened.chat.messages[1].id === id, texts: opened.texts, appends: opened.appends, errors: opened.errors };
  },

  async "page-tool-plain"(chatId) {
    const opened = await Page.open(chatId, { ...answersTools, browser: new Browser(chatId, { agent: "plain" }) });
    await opened.say("ask");
    await opened.chat.addToolOutput({ tool: "pick", toolCallId: "call-1", output: "blue" });
    await opened.until("continued", () => opened.texts.at(-1) === "picked blue");
    await opened.settled();
    await pause(300);
    return { texts: opened.texts, appends: opened.appends, errors: opened.errors };
  },

  "approve-yes": (chatId) => approval(chatId, true),
  "approve-no": (chatId) => approval(chatId, false),

  // --- the server dies in the middle

  async killed(chatId) {
    const opened = await Page.open(chatId);
    void opened.chat.sendMessage({ text: "sleep" });
    await opened.until("the middle", () => (opened.texts[1] ?? "").includes("w2 "));
    const chat = new AgentChat({ agent: "playbook", id: `${chatId}-server` });
    const stream = await chat.sendMessage("sleep");
    await drain(stream.stream, (chunks) => deltas(chunks).includes("w2 "));
    const reading = drain(stream.stream);
    console.log(JSON.stringify({ at: "the middle" }));
    await opened.settled();
    const seen = opened.texts[1];
    const rest = types(await reading);
    await opened.say("echo alive");
    const server = await (await chat.sendMessage("echo alive")).text();
    const stored = await history(chatId);
    return { seen: seen.length > 0, kept: textOf(stored[1]).startsWith(seen), last: rest.at(-1), after: opened.texts.at(-1), server, errors: opened.errors };
  },
};

// What is told at once waits for nothing; scenarios have chats of their own.
await Promise.all(
  wanted.map(async (scenario) => {
    const chatId = `${scenario}-${crypto.randomUUID().slice(0, 8)}`;
    try {
      const result = await Promise.race([
        scenarios[scenario](chatId),
        pause(DEADLINE_MS + 5000).then(() => Promise.reject(new Error("took too long"))),
      ]);
      console.log(JSON.stringify({ scenario, result }));
    } catch (error) {
      console.log(JSON.stringify({ scenario, failed: String(error?.stack ?? error) }));
    }
  }),
);
process.exit();
