// Runs one scenario with the AgentChat of @chatrt/client/server. Usage: node agent_chat.mjs <scenario> <base URL>
//
// Prints one JSON line: what came of it.

import { AgentChat, pendingToolCalls } from "../../client/dist/server/index.js";

const [name, baseUrl] = process.argv.slice(2);
const token = process.env.SECRET_KEY;
const newChat = (options = {}) => new AgentChat("playbook", { baseUrl, ...(token ? { token } : {}), ...options });
const textOf = (message) => message.parts.map((part) => part.text ?? "").join("");

async function until(holds) {
  for (const end = Date.now() + 20_000; !(await holds()); ) {
    if (Date.now() > end) throw new Error(`never: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Return when the turn that runs has said something. */
async function firstWord(chat) {
  for await (const chunk of await chat.reconnect()) if (chunk.type === "text-delta") return;
}

const scenarios = {
  async read() {
    const chat = newChat();
    const text = await chat.sendMessage("echo one").text();
    const chunks = [];
    for await (const chunk of chat.sendMessage("echo two")) chunks.push(chunk.type);
    const result = await chat.sendMessage([{ type: "text", text: "tool 2+3" }]).result();
    const snapshots = [];
    for await (const message of chat.sendMessage("count 5").messages()) snapshots.push(textOf(message));
    return { text, chunks, result, snapshots, messages: (await chat.messages()).map(textOf), cursor: chat.cursor > 0 };
  },

  async "once-only"() {
    const stream = newChat().sendMessage("echo one");
    const seq = await stream.sent;
    const text = await stream.text();
    const again = await stream.result().catch((error) => error.code);
    return { seq, text, again };
  },

  async fail() {
    const chat = newChat();
    const result = await chat.sendMessage("fail").result();
    const thrown = await chat.sendMessage("fail").text().catch(({ name, code, id }) => ({ name, code, hasId: id.length > 0 }));
    return { status: result.status, code: result.error.code, thrown, after: await chat.sendMessage("echo on").text() };
  },

  async tools() {
    const chat = newChat();
    const asked = await chat.sendMessage("ask Which colour?").result();
    const [call] = asked.pendingToolCalls;
    const answered = await chat.addToolOutput(call.toolCallId, { output: "blue" }).result();
    const approval = (await chat.sendMessage("approve Ada").result()).pendingToolCalls[0];
    const sent = await chat.approve(approval.approvalId, true).result();
    const denial = (await chat.sendMessage("approve Eve").result()).pendingToolCalls[0];
    const denied = await chat.approve(denial.approvalId, false, { reason: "no" }).text();
    const unknown = await chat.addToolOutput("nowhere", { output: 1 }).text().catch((error) => error.code);
    const left = pendingToolCalls((await chat.messages()).at(-1));
    return { call: call.toolName, finish: asked.finishReason, answered: answered.text, results: answered.toolResults, sent: sent.text, denied, unknown, left };
  },

  async actions() {
    const chat = newChat();
    await chat.sendMessage("echo one").text();
    await chat.sendMessage("echo two", { messageId: "m2" }).text();
    await chat.sendAction({ type: "undo" }).result();
    const undone = (await chat.messages()).map(textOf);
    const refused = (await chat.sendAction({ type: "rollback", targetMessageId: "nowhere" }).result()).error.code;
    const again = await chat.regenerate().text();
    const [question, answer] = await chat.messages();
    const versions = await chat.siblings(answer.id);
    await chat.switchTo(versions[0]).result();
    const back = (await chat.messages())[1].id === versions[0];
    const missing = await chat.siblings("nowhere").catch((error) => error.code);
    return { undone, refused, again, versions: versions.length, back, missing, question: textOf(question) };
  },

  async running() {
    const chat = newChat();
    const idle = [await chat.stop(), await chat.steer("x"), await chat.reconnect(), await chat.pending()];
    const stream = chat.sendMessage("sleep");
    await stream.sent;
    const other = newChat({ id: chat.id });
    const steered = await other.steer("echo steered");
    const waiting = newChat({ id: chat.id }).sendMessage("echo waiting");
    const seq = await waiting.sent;
    await until(async () => (await chat.pending()).length === 2);
    await chat.editPending(seq, "echo edited");
    const gone = newChat({ id: chat.id }).sendMessage("echo gone");
    await chat.withdraw(await gone.sent);
    const pending = (await chat.pending()).map((one) => textOf(one.message));
    const again = await other.reconnect();
    const reading = Promise.all([stream, again, waiting, gone].map((one) => one.result()));
    await firstWord(newChat({ id: chat.id }));
    const stopped = await chat.stop("enough");
    const results = await reading;
    return { idle, steered, pending, stopped, statuses: results.map((one) => one.status), said: results.map((one) => one.text.length > 0), edited: results[2].text };
  },

  async session() {
    const chat = newChat();
    const before = await chat.close();
    await chat.preload();
    await chat.sendMessage("echo one").text();
    await chat.write({ type: "data-status", id: "s", data: { step: 9 } });
    await until(async () => JSON.stringify(await chat.messages()).includes('"step":9'));
    const closed = await chat.close("done");
    const refused = await chat.sendMessage("echo two").text().catch((error) => error.code);
    const other = await new AgentChat("nobody", { baseUrl, id: chat.id, ...(token ? { token } : {}) }).sendMessage("x").text().catch((error) => error.code);
    return { before, closed, refused, other };
  },

  async killed() {
    const chat = newChat();
    const stream = chat.sendMessage("count 300");
    for await (const chunk of stream) if (chunk.delta === "w9 ") console.log(JSON.stringify({ ask: "kill" }));
    return { status: stream.status, after: await chat.sendMessage("echo on").text() };
  },
};

try {
  console.log(JSON.stringify({ result: await scenarios[name]() }));
} catch (error) {
  console.log(JSON.stringify({ failed: String(error?.stack ?? error) }));
}
process.exit();
