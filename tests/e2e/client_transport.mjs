// What only the transport of @chatrt/client gives the useChat hook. Usage: see hook_page.mjs; the last argument is chatrt.

import { createInterface } from "node:readline";
import {
  base, chatId, newTransport, open, posts, recordingFetch, rendered, requests, runScenario, stored, textOf, until,
  useActions, useBranches, useFollow, usePendingMessages,
} from "./hook_page.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Let the test do something to the server, and go on when it has. */
async function ask(what) {
  console.log(JSON.stringify({ ask: what }));
  await lines.next();
}

const saying = (text) => ({ role: "user", parts: [{ type: "text", text }] });
const middle = (page, word = "w9 ") => page.until("the middle", () => page.last?.role === "assistant" && page.texts.at(-1).includes(word));

/** Begin an answer, and wait until some of it is there. */
async function begin(page, text) {
  void page.chat.sendMessage({ text });
  await middle(page);
}

const scenarios = {
  async resume() {
    const events = [];
    const first = await open("kept");
    await begin(first, "count 200");
    const messages = structuredClone(first.chat.messages);
    await first.leave();
    const again = await open("kept", { messages, resume: true, transport: newTransport({ onEvent: (event) => events.push(event.type) }) });
    await again.until("resumed", () => again.texts[1].includes("w199 "));
    await again.settled();
    const appended = requests.filter((one) => one.sent?.includes('"kind"'));
    return { texts: again.texts, before: messages.map((one) => one.id), ids: again.chat.messages.map((one) => one.id), said: appended.length, errors: again.errors };
  },

  async "resume-idle"() {
    const unknown = await open("nobody", { resume: true });
    await until(() => requests.length === 1 && requests[0].status);
    await rendered();
    const page = await open("idle");
    await page.say("echo one");
    await page.chat.resumeStream();
    return { unknown: unknown.statuses.at(-1), status: page.chat.status, texts: page.texts, errors: [...page.errors, ...unknown.errors] };
  },

  async "first-paint"() {
    const page = await open("paint");
    await page.say("echo one");
    await begin(page, "count 100");
    await page.leave();
    const transport = newTransport();
    const state = await transport.load(chatId("paint"));
    const again = await open("paint", { transport, messages: state.messages, resume: true });
    await again.until("resumed", () => again.texts.at(-1)?.includes("w99 "));
    await again.settled();
    await again.say("history");
    return { loaded: state.messages.map(textOf), status: state.status, texts: again.texts, errors: again.errors };
  },

  async "stop-is-stop"() {
    const page = await open("stopped");
    void page.chat.sendMessage({ text: "sleep" });
    await page.until("the first word", () => page.texts[1]?.length > 0);
    await page.chat.stop();
    await until(async () => (await page.transport.load(page.id)).status === "idle");
    const messages = await stored("stopped");
    return { roles: messages.map((one) => one.role), errors: page.errors, status: page.chat.status };
  },

  async "transport-stop"() {
    const page = await open("stopped-here");
    void page.chat.sendMessage({ text: "sleep" });
    await page.until("the first word", () => page.texts[1]?.length > 0);
    await page.transport.stop(page.id, "enough");
    await page.settled();
    return { status: page.chat.status, errors: page.errors, server: (await page.transport.load(page.id)).status };
  },

  async "unmount-is-no-stop"() {
    const page = await open("left", { follow: true });
    await begin(page, "count 120");
    page.close();
    await until(async () => (await page.transport.load(page.id)).status === "idle");
    return { texts: (await stored("left")).map(textOf), stops: requests.filter((one) => one.sent?.includes('"stop"')).length };
  },

  async "stop-waiting"() {
    const page = await open("waiting");
    void page.chat.sendMessage({ text: "count 100" });
    await middle(page);
    const second = newTransport();
    const controller = new AbortController();
    const message = { id: "m-wait", ...saying("echo never") };
    const stream = await second.sendMessages({ trigger: "submit-message", chatId: page.id, messageId: undefined, messages: [message], abortSignal: controller.signal });
    controller.abort();
    const failed = await stream.getReader().read().then(() => "", (error) => error.name);
    await page.settled();
    await until(async () => (await second.load(page.id)).status === "idle");
    return { failed, texts: page.texts, stored: (await stored("waiting")).map(textOf) };
  },

  async pending() {
    const page = await open("pending", { follow: true, hooks: (transport) => ({ waiting: usePendingMessages({ transport, chatId: chatId("pending") }) }) });
    await begin(page, "count 150");
    await page.hooked.waiting.send("echo wrong");
    await page.hooked.waiting.send(saying("echo gone"));
    await page.until("both", () => page.hooked.waiting.pending.length === 2);
    const [first, second] = page.hooked.waiting.pending;
    const texts = page.hooked.waiting.pending.map((one) => textOf(one.message));
    await page.hooked.waiting.edit(first.inSeq, "echo right");
    await page.hooked.waiting.withdraw(second.inSeq);
    await page.until("one", () => page.hooked.waiting.pending.length === 1 && textOf(page.hooked.waiting.pending[0].message) === "echo right");
    await page.until("the answer", () => page.texts.at(-1) === "right" && page.hooked.waiting.pending.length === 0);
    await page.settled();
    return { texts, shown: page.texts, left: page.hooked.waiting.pending.length, errors: page.errors };
  },

  async steer() {
    const page = await open("steered", { follow: true });
    await begin(page, "count 100");
    await page.transport.steer(page.id, "echo steered");
    await page.until("the answer", () => page.texts.at(-1) === "steered");
    await page.settled();
    return { texts: page.texts, stored: (await stored("steered")).map(textOf), errors: page.errors };
  },

  async action() {
    const page = await open("acted", { follow: true, hooks: (transport, chat) => ({ actions: useActions({ transport, chat }) }) });
    await page.say("echo one");
    await page.say("echo two");
    const settled = await page.hooked.actions.send({ type: "undo" });
    await page.until("undone", () => page.texts.length === 2);
    const undone = page.texts;
    const refused = await page.hooked.actions.send({ type: "rollback", targetMessageId: "nowhere" }).catch((error) => error.code);
    const invalid = await page.hooked.actions.send({ type: "shout" }).catch((error) => error.code);
    await page.until("the reason", () => page.hooked.actions.error?.code === "invalid-action");
    await page.hooked.actions.send({ type: "regenerate" });
    await page.until("again", () => page.texts.length === 2 && page.chat.status === "ready");
    return { status: settled.status, undone, refused, invalid, texts: page.texts, errors: page.errors };
  },

  async branches() {
    const page = await open("branched", { follow: true, hooks: (transport, chat) => ({ branches: useBranches({ transport, chat }) }) });
    await page.say("echo one");
    await page.say("echo two", { messageId: page.chat.messages[0].id });
    const id = page.chat.messages[0].id;
    await page.until("the versions", () => page.hooked.branches.siblings(id).length === 2);
    const [first] = page.hooked.branches.siblings(id);
    await page.hooked.branches.switchTo(first);
    await page.until("the first", () => page.texts[0] === "echo one");
    const back = page.texts;
    const refused = await page.hooked.branches.switchTo("nowhere").catch((error) => error.code);
    return { names: page.hooked.branches.siblings(page.chat.messages[0].id).length, back, refused, errors: page.errors };
  },

  async tabs() {
    const one = await open("shared", { follow: true });
    await one.say("echo one");
    const messages = (await one.transport.load(one.id)).messages;
    const other = await open("shared", { follow: true, messages, transport: newTransport({ storage: undefined }) });
    await until(() => requests.filter((request) => request.url.endsWith("/out")).length >= 2);
    const partial = new Set();
    const watching = setInterval(() => partial.add(other.texts.at(-1)), 5);
    await one.say("count 250");
    await other.until("the answer", () => other.texts.length === 4 && other.texts[3].includes("w249 ") && other.chat.status === "ready");
    clearInterval(watching);
    await other.say("echo back");
    await one.until("the answer back", () => one.texts.at(-1) === "back" && one.chat.status === "ready");
    return { one: one.texts, other: other.texts, grew: partial.size > 3, posts: posts().length, errors: [...one.errors, ...other.errors] };
  },

  async lease() {
    const one = await open("leased", { follow: true, transport: newTransport({ tabs: true }) });
    const other = await open("leased", { follow: true, transport: newTransport({ tabs: true }) });
    await begin(one, "count 150");
    await other.until("read-only", () => other.followed.canSend === false);
    void other.chat.sendMessage({ text: "echo too early" });
    await other.until("refused", () => other.errors.length > 0);
    await one.settled();
    await other.until("free", () => other.followed.canSend && other.texts.some((text) => text.includes("w149 ")) && other.chat.status !== "streaming");
    await other.say("echo now");
    await one.until("free again", () => one.followed.canSend && one.texts.at(-1) === "now");
    return { texts: other.texts, refused: other.errors };
  },

  async "kill-server"() {
    const events = [];
    const page = await open("killed", { follow: true, transport: newTransport({ onEvent: (event) => events.push(event) }) });
    await begin(page, "count 400");
    await ask("kill");
    await page.until("an end", (chat) => chat.status !== "streaming" && chat.status !== "submitted");
    await page.until("closed parts", () => page.last.parts.every((part) => part.state !== "streaming"));
    const texts = page.texts;
    const status = page.chat.status;
    await page.say("echo after");
    const stored_ = (await stored("killed")).map(textOf);
    return { texts, status, stored: stored_, shown: page.texts, broke: events.some((event) => event.type === "disconnected"), errors: page.errors };
  },

  async "kill-server-while-sending"() {
    const page = await open("away");
    await page.say("echo one");
    await ask("kill");
    void page.chat.sendMessage({ text: "echo two" });
    await ask("start");
    await page.until("the answer", () => page.texts.at(-1) === "two");
    await page.settled();
    return { texts: page.texts, stored: (await stored("away")).map(textOf), errors: page.errors };
  },

  async refresh() {
    const asked = [];
    const token = async ({ chatId }) => {
      asked.push(chatId);
      const ttl = asked.length === 1 ? 1 : 60;
      const secret = { authorization: `Bearer ${process.env.SECRET_KEY}`, "content-type": "application/json" };
      await fetch(`${base}/v1/sessions`, { method: "POST", headers: secret, body: JSON.stringify({ agent: "playbook", chatId }) });
      const answer = await fetch(`${base}/v1/sessions/${encodeURIComponent(chatId)}/token`, { method: "POST", headers: secret, body: JSON.stringify({ ttl }) });
      return (await answer.json()).token;
    };
    const page = await open("refreshed", { transport: newTransport({ token }) });
    await page.say("count 700"); // longer than the token lasts, and the five seconds of grace
    await page.say("echo after");
    const refused = requests.filter((one) => one.status === 401).length;
    return { asked, texts: page.texts, refused, errors: page.errors };
  },

  async "refuse-token"() {
    const page = await open("refused", { transport: newTransport({ token: () => "nonsense" }) });
    await page.say("echo one");
    return { status: page.chat.status, code: page.chat.error?.code, tries: requests.map((one) => one.status) };
  },

  async closed() {
    const events = [];
    const page = await open("closed", { transport: newTransport({ onEvent: (event) => events.push(event.type) }) });
    await page.say("echo one");
    await fetch(`${base}/v1/sessions/${encodeURIComponent(page.id)}/close`, { method: "POST" });
    await page.say("echo two");
    return { code: page.chat.error?.code, events: events.filter((type) => type === "closed").length };
  },

  async "broken-connection"() {
    let cuts = 0;
    /** Cuts the first stream in the middle of a byte sequence, as a network does. */
    const cutting = async (url, options) => {
      const response = await recordingFetch(url, options);
      if (!String(url).endsWith("/out") || cuts > 2) return response;
      cuts++;
      let left = 700;
      const cut = new TransformStream({
        transform(bytes, out) {
          if (left <= 0) return out.error(new TypeError("network error"));
          out.enqueue(bytes.slice(0, left));
          left -= bytes.length;
        },
      });
      return new Response(response.body.pipeThrough(cut), { status: response.status, headers: response.headers });
    };
    const page = await open("cut", { transport: newTransport({ fetch: cutting }) });
    await page.say("count 120");
    return { texts: page.texts, cuts, errors: page.errors };
  },

  async preload() {
    const page = await open("preloaded");
    await page.transport.preload(page.id);
    await page.say("echo one");
    return { texts: page.texts, errors: page.errors };
  },
};

await runScenario(scenarios);
