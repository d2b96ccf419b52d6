// What every transport has to give the useChat hook. Usage: see hook_page.mjs.

import {
  ai, base, chatId, giveOutput, newTransport, open, posts, recordingFetch, requests, runScenario, stored, textOf, toolParts, until, version,
} from "./hook_page.mjs";

const answersTools = { sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls };
const answersApprovals = { sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses };

/** Ask for something that needs an approval, give or refuse it, and wait for the continued answer. */
async function approval(text, approved, expected) {
  const page = await open(`chat-${expected}`, answersApprovals);
  await page.say(text);
  await page.until("asked", (chat) => toolParts(chat.messages.at(-1))[0]?.approval);
  const [asked] = toolParts(page.last);
  const before = { state: asked.state, input: asked.input };
  await page.chat.addToolApprovalResponse({ id: asked.approval.id, approved });
  await page.until("continued", () => page.texts.at(-1) === expected);
  await page.settled();
  const [after] = toolParts(page.last);
  await page.say("history");
  return { before, after: { state: after.state, output: after.output }, texts: page.texts, posts: posts().length, errors: page.errors };
}

/** Ask, let the server die in its answer, and resume until it has answered anew. */
async function retried(name, options) {
  const page = await open(name, { transport: newTransport(options) });
  const asked = page.chat.sendMessage({ text: "question" });
  await page.until("the first answer", () => page.texts[1] === "half");
  await fetch(`${base}/die`, { method: "POST" }).catch(() => {});
  await asked;
  await page.until("broken off", (chat) => chat.status === "error");
  await until(() => fetch(`${base}/readyz`).then((response) => response.ok, () => false));
  const resumed = page.chat.resumeStream();
  await until(() => requests.at(-1).method === "GET" && requests.at(-1).body.includes("half"));
  await fetch(`${base}/go-on`, { method: "POST" });
  await page.until("the end of the first answer", (chat) => chat.status === "error" || page.texts.length === 3);
  const middle = page.chat.status;
  const again = middle === "error" && page.chat.resumeStream();
  await page.until("the second answer's beginning", () => page.texts[2] === "half");
  await fetch(`${base}/finish`, { method: "POST" });
  await Promise.all([resumed, again]);
  await page.until("the second answer", () => page.texts.at(-1).endsWith("whole"));
  await page.settled();
  const kept = (await stored(name)).map((message) => [textOf(message), message.id]);
  return { middle, texts: page.texts, ids: page.chat.messages.map((message) => message.id), status: page.chat.status, stored: kept };
}

const scenarios = {
  async send() {
    // Nothing comes back before the page has drawn that something was asked: no two states fall into one rendering.
    const fetch = async (...request) => {
      const response = await recordingFetch(...request);
      await until(() => page.statuses.length > 0);
      return response;
    };
    const page = await open("chat-send", { transport: newTransport({ fetch }) });
    await page.say("echo Hello, world");
    const first = { texts: page.texts, finishes: page.finishes, role: page.last.role, id: page.last.id };
    page.statuses.length = 0;
    await page.say("count 30");
    return { ...first, statuses: page.statuses };
  },

  async "second-turn"() {
    const page = await open("chat/odd: %c");
    await page.say("echo one");
    await page.say("history");
    return { texts: page.texts };
  },

  async edit() {
    const page = await open("chat-edit");
    await page.say("echo one");
    await page.say("echo two");
    await page.say("history", { messageId: page.chat.messages[0].id });
    return { texts: page.texts };
  },

  async regenerate() {
    const page = await open("chat-regenerate");
    await page.say("echo one");
    await page.say("history");
    const first = page.last.id;
    await page.chat.regenerate();
    await page.settled();
    const second = page.last.id;
    const texts = page.texts;
    await page.chat.regenerate({ messageId: page.chat.messages[1].id });
    await page.settled();
    return { texts, renewed: first !== second, afterEarlier: page.texts };
  },

  async resume() {
    const page = await open("chat-resume");
    void page.chat.sendMessage({ text: "count 200" });
    await page.until("the middle", () => page.last?.role === "assistant" && page.texts[1].includes("w9 "));
    const seen = page.texts[1];
    await page.leave();
    const messages = [...(await stored("chat-resume"))];
    const again = await open("chat-resume", { messages, resume: true });
    await again.until("resumed", () => again.texts.some((text) => text.includes("w0 ")));
    await again.settled();
    return { seen, texts: again.texts.filter((text) => text.includes("w")), errors: again.errors, statuses: again.statuses };
  },

  async "resume-with-history"() {
    const page = await open("chat-resume-kept");
    void page.chat.sendMessage({ text: "count 200" });
    await page.until("the middle", () => page.last?.role === "assistant" && page.texts[1].includes("w9 "));
    const messages = structuredClone(page.chat.messages);
    await page.leave();
    const again = await open("chat-resume-kept", { messages, resume: true });
    await again.until("resumed", () => again.texts[1].includes("w199 "));
    await again.settled();
    return { texts: again.texts, ids: again.chat.messages.map((message) => message.id), before: messages.map((one) => one.id), errors: again.errors };
  },

  async "resume-idle"() {
    const unknown = await open("chat-nobody", { resume: true });
    await until(() => requests.length === 1 && requests[0].status);
    const page = await open("chat-idle");
    await page.say("echo one");
    await page.chat.resumeStream();
    const resumes = requests.filter((request) => request.method === "GET").map((request) => request.status);
    return { resumes, statuses: page.statuses, unknown: unknown.statuses, texts: page.texts, errors: [...page.errors, ...unknown.errors] };
  },

  async stop() {
    const page = await open("chat-stop");
    void page.chat.sendMessage({ text: "sleep" });
    await page.until("the first word", () => page.last?.role === "assistant" && page.texts[1].length > 0);
    await page.chat.stop();
    await page.settled("stopped");
    const started = Date.now();
    await page.say("echo after");
    const took = Date.now() - started;
    const messages = await stored("chat-stop");
    return { texts: page.texts, took, stored: messages.map((message) => [message.role, textOf(message).length > 0]), errors: page.errors };
  },

  retried: () => retried("chat-retried"),
  "retried-told": () => retried("chat-retried", { headers: { "x-chatrt-ai-sdk": version } }),

  async "client-tool"() {
    const page = await open("chat-tool", answersTools);
    await page.say("ask Which colour?");
    const [asked] = toolParts(page.last);
    const before = { type: asked.type, state: asked.state, input: asked.input, calls: [...page.calls] };
    const id = page.last.id;
    await giveOutput(page.chat, asked.toolCallId, "blue");
    await page.until("continued", () => page.texts.at(-1) === "answer: blue");
    await page.settled();
    const [after] = toolParts(page.last);
    await page.say("history");
    return { before, after: { state: after.state, output: after.output }, sameMessage: page.chat.messages[1].id === id, texts: page.texts, posts: posts().length, errors: page.errors };
  },

  async "client-tool-object"() {
    const page = await open("chat-object", answersTools);
    await page.say("ask Which colour?");
    await giveOutput(page.chat, toolParts(page.last)[0].toolCallId, { colour: "blue", shades: [1, 2] });
    await page.until("continued", () => page.texts.at(-1)?.startsWith("answer: "));
    await page.settled();
    return { texts: page.texts, posts: posts().length };
  },

  async "resume-continuation"() {
    const page = await open("chat-long", answersTools);
    await page.say("asklong 200");
    const id = page.last.id;
    await giveOutput(page.chat, toolParts(page.last)[0].toolCallId, "go on");
    await page.until("the middle", () => page.texts[1].includes("w9 "));
    const messages = structuredClone(page.chat.messages);
    await page.leave();
    const again = await open("chat-long", { messages, resume: true });
    await again.until("resumed", () => again.texts[1].includes("w199 "));
    await again.settled();
    const [tool] = toolParts(again.last);
    return { texts: again.texts, sameMessage: again.last.id === id, tool: { state: tool.state, output: tool.output }, tools: toolParts(again.last).length, errors: again.errors, calls: again.calls };
  },

  "approve-yes": () => approval("approve ada@example.com", true, "sent"),
  "approve-no": () => approval("approve ada@example.com", false, "not sent"),
  "confirm-yes": () => approval("confirm the move", true, "done: the move"),
  "confirm-no": () => approval("confirm the move", false, "denied"),

  async "server-tool"() {
    const page = await open("chat-add");
    await page.say("tool 2+3");
    const [tool] = toolParts(page.last);
    return { tool: { type: tool.type, state: tool.state, input: tool.input, output: tool.output }, texts: page.texts };
  },

  async fail() {
    const page = await open("chat-fail");
    await page.say("fail");
    const status = page.chat.status;
    const message = page.chat.error?.message;
    await page.say("echo after");
    const everything = requests.map((request) => request.body).join("") + JSON.stringify(await stored("chat-fail"));
    return { status, message, leaked: everything.includes("boom-secret"), last: page.texts.at(-1), bytes: everything.length };
  },

  async data() {
    const page = await open("chat-data");
    await page.say("data");
    const parts = page.last.parts.filter((part) => part.type.startsWith("data-")).map(({ type, id, data }) => ({ type, id, data }));
    const heard = page.data.map(({ type, data }) => ({ type, data }));
    return { parts, heard };
  },

  async meta() {
    const page = await open("chat-meta");
    await page.say("meta");
    return { metadata: page.last.metadata };
  },

  async think() {
    const page = await open("chat-think");
    await page.say("think");
    const parts = page.last.parts.filter((part) => ["reasoning", "text"].includes(part.type));
    return { parts: parts.map(({ type, state, text }) => ({ type, state, some: text.length > 0 })) };
  },

  async source() {
    const page = await open("chat-source");
    await page.say("source");
    return { parts: page.last.parts.filter((part) => part.type !== "step-start") };
  },

  async file() {
    const page = await open("chat-file");
    await page.say("file");
    return { parts: page.last.parts.filter((part) => part.type !== "step-start") };
  },
  async attach() {
    const page = await open("chat-attach");
    await page.say("echo hello");
    const bytes = Uint8Array.from("GIF89a\x01\x00\x01\x00\x00\x00\x00;", (letter) => letter.charCodeAt(0));
    const attachments = `${base}/v1/sessions/${chatId("chat-attach")}/attachments`;
    const headers = { "content-type": "image/gif", "x-filename": encodeURIComponent("ž.gif") };
    const sent = await (await fetch(attachments, { method: "POST", headers, body: bytes })).json();
    const url = new URL(sent.url, base).href; // as a page of another origin would need it
    await page.say("echo seen", { files: [{ type: "file", mediaType: sent.mediaType, filename: sent.filename, url }] });
    const message = (await stored("chat-attach")).at(-2);
    const shown = await fetch(new URL(message.parts.find((part) => part.type === "file").url, base));
    const same = (await shown.arrayBuffer()).byteLength === bytes.byteLength;
    await page.say("echo again", { files: [{ type: "file", mediaType: "image/gif", url: "https://example.com/a.gif" }] });
    return { texts: page.texts, part: message.parts.find((part) => part.type === "file"), path: sent.url, same, errors: page.errors };
  },
};

await runScenario(scenarios);
