// Runs one scenario with the published HttpAgent of @ag-ui/client. Usage: node ag_ui.mjs <scenario> <base URL>
//
// Prints one JSON line: what the agent holds in the end, and which events it let through. HttpAgent checks every event
// against the schemas of the protocol and against its rules of order, and ends the run at the first one that is wrong.

import { HttpAgent, runHttpRequest, transformHttpEventStream } from "@ag-ui/client";

const [scenario, base] = process.argv.slice(2);
const API = `${base}/api/ag-ui/playbook`;

const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));
console.error = () => {};
// When a connection breaks, the client's own clean-up rejects where nobody waits; a page would only log it.
process.on("unhandledRejection", () => {});

/** HttpAgent with the one thing it leaves to subclasses: where a thread is connected to. */
class ChatrtAgent extends HttpAgent {
  connect(input) {
    const url = `${this.url}/${encodeURIComponent(input.threadId)}/connect?runId=${encodeURIComponent(input.runId)}`;
    const request = () => fetch(url, { headers: this.headers, signal: this.abortController.signal });
    return transformHttpEventStream(runHttpRequest(request));
  }

  stop() {
    return fetch(`${this.url}/${encodeURIComponent(this.threadId)}/stop`, { method: "POST", headers: this.headers });
  }
}

let count = 0;

/** An agent of a thread that remembers its events. */
function thread(name, options = {}) {
  const agent = new ChatrtAgent({ url: API, threadId: name, ...options });
  agent.seen = [];
  agent.finished = [];
  agent.subscribe({
    onEvent: ({ event }) => void agent.seen.push(event),
    onRunFinishedEvent: ({ outcome, pendingToolCallIds }) => void agent.finished.push({ outcome, pendingToolCallIds }),
  });
  return agent;
}

async function say(agent, content, parameters = {}, subscriber = {}) {
  agent.addMessage({ id: `u${++count}`, role: "user", content });
  try {
    return await agent.runAgent(parameters, subscriber);
  } catch (error) {
    return { thrown: String(error.message), status: error.status, payload: error.payload };
  }
}

const texts = (agent) => agent.messages.filter((m) => m.role === "assistant" && m.content).map((m) => m.content);
const types = (agent) => agent.seen.map((event) => event.type);
const report = (agent, more = {}) => ({
  roles: agent.messages.map((m) => m.role),
  texts: texts(agent),
  types: types(agent),
  finished: agent.finished,
  interrupts: agent.pendingInterrupts,
  messages: agent.messages,
  state: agent.state,
  custom: agent.seen.filter((event) => event.type === "CUSTOM").map(({ name, value }) => ({ name, value })),
  errors: agent.seen.filter((event) => event.type === "RUN_ERROR").map(({ code, message }) => ({ code, message })),
  warnings,
  ...more,
});

/** Wait until the agent was told this many deltas, then do something. */
const after = (deltas, act) => {
  let told = 0;
  return { onTextMessageContentEvent: () => (++told === deltas ? void act() : undefined) };
};

const PAINT = {
  name: "paint",
  description: "Paints the page.",
  parameters: { type: "object", properties: { color: { type: "string" } }, required: ["color"] },
};

const scenarios = {
  async send() {
    const agent = thread("send");
    const { result, newMessages } = await say(agent, "echo Hello, world");
    return report(agent, { result, added: newMessages.map((m) => m.id) });
  },
  async "second-turn"() {
    const agent = thread("second");
    await say(agent, "echo one");
    await say(agent, "history");
    return report(agent);
  },
  async "two-threads"() {
    const [one, two] = [thread("one of two"), thread("two/of two")];
    await Promise.all([say(one, "count 30"), say(two, "count 20")]);
    await Promise.all([say(one, "history"), say(two, "history")]);
    return { one: report(one), two: report(two) };
  },
  async tool() {
    const agent = thread("tool");
    await say(agent, "tool 2+3");
    return report(agent);
  },
  async client_tool() {
    const agent = thread("client-tool");
    await say(agent, "ask Why?");
    const call = agent.messages.at(-1).toolCalls[0];
    agent.addMessage({ id: "t1", role: "tool", toolCallId: call.id, content: "Because." });
    await agent.runAgent();
    return report(agent, { call });
  },
  async frontend_tool() {
    const agent = thread("frontend");
    await say(agent, 'call paint {"color": "red"}', { tools: [PAINT] });
    const call = agent.messages.at(-1).toolCalls[0];
    agent.addMessage({ id: "t2", role: "tool", toolCallId: call.id, content: '{"painted":true}' });
    await agent.runAgent({ tools: [PAINT] });
    return report(agent, { call });
  },
  async frontend_tool_then_message() {
    const agent = thread("frontend-then");
    await say(agent, 'call paint {"color": "red"}', { tools: [PAINT] });
    const call = agent.messages.at(-1).toolCalls[0];
    agent.addMessage({ id: "t3", role: "tool", toolCallId: call.id, content: "painted" });
    await say(agent, "echo and now");
    await agent.connectAgent();
    return report(agent, { call });
  },
  async approve() {
    const agent = thread("approve");
    await say(agent, "approve Ada");
    const [asked] = agent.pendingInterrupts;
    await agent.runAgent({ resume: [{ interruptId: asked.id, status: "resolved", payload: { approved: true } }] });
    return report(agent, { asked });
  },
  async deny() {
    const agent = thread("deny");
    await say(agent, "approve Ada");
    const [asked] = agent.pendingInterrupts;
    const payload = { approved: false, reason: "not now" };
    await agent.runAgent({ resume: [{ interruptId: asked.id, status: "resolved", payload }] });
    return report(agent, { asked });
  },
  async cancel_and_go_on() {
    const agent = thread("cancel");
    await say(agent, "approve Ada");
    const [asked] = agent.pendingInterrupts;
    await say(agent, "echo never mind", { resume: [{ interruptId: asked.id, status: "cancelled" }] });
    return report(agent);
  },
  async approve_and_go_on() {
    const agent = thread("approve-on");
    await say(agent, "approve Ada");
    const [asked] = agent.pendingInterrupts;
    const resume = [{ interruptId: asked.id, status: "resolved", payload: { approved: true } }];
    await say(agent, "echo and more", { resume });
    return report(agent);
  },
  async fail() {
    const agent = thread("fail");
    await say(agent, "fail");
    await say(agent, "echo again");
    return report(agent);
  },
  async refused() {
    const agent = thread("refused", { url: `${base}/api/ag-ui/nobody` });
    return await say(agent, "echo one");
  },
  async stop() {
    const agent = thread("stop");
    await say(agent, "sleep", {}, after(2, () => agent.stop()));
    await say(agent, "echo after");
    return report(agent);
  },
  async abort() {
    const agent = thread("abort");
    await say(agent, "sleep", {}, after(2, () => agent.abortRun()));
    const before = Date.now();
    await say(agent, "echo after");
    return report(agent, { took: Date.now() - before });
  },
  async data() {
    const agent = thread("data");
    await say(agent, "data");
    const other = thread("data");
    await other.connectAgent();
    return report(agent, { again: report(other) });
  },
  async state() {
    const agent = thread("state");
    await say(agent, "state");
    const other = thread("state");
    await other.connectAgent();
    return report(agent, { again: report(other) });
  },
  async source() {
    const agent = thread("source");
    await say(agent, "source");
    return report(agent);
  },
  async meta() {
    const agent = thread("meta");
    await say(agent, "meta");
    const other = thread("meta");
    await other.connectAgent();
    return report(agent, { again: report(other) });
  },
  async think() {
    const agent = thread("think");
    await say(agent, "think");
    return report(agent);
  },
  async regenerate() {
    const agent = thread("regenerate");
    await say(agent, "echo one");
    const first = agent.messages.at(-1).id;
    agent.setMessages(agent.messages.slice(0, -1));
    await agent.runAgent();
    const renewed = agent.messages.at(-1).id !== first;
    await say(agent, "history");
    return report(agent, { renewed });
  },
  async picture() {
    const agent = thread("picture");
    const source = { type: "data", value: "iVBORw0KGgo=", mimeType: "image/png" };
    await say(agent, [{ type: "text", text: "echo seen" }, { type: "image", source }]);
    const other = thread("picture");
    await other.connectAgent();
    return report(agent, { again: report(other) });
  },
  async reconnect() {
    const agent = thread("reconnect");
    let other;
    let joined;
    const join = () => {
      other = thread("reconnect");
      joined = other.connectAgent();
    };
    await say(agent, "count 60", {}, after(5, join));
    await joined;
    return report(agent, { other: report(other) });
  },
  async nothing() {
    const agent = thread("nobody-began-this");
    await agent.connectAgent();
    return report(agent);
  },
  /** Says something slow and goes on when the connection breaks; prints a line when the answer has begun. */
  async killed() {
    const agent = thread("killed");
    const broken = await say(agent, "count 300", {}, after(5, () => process.stdout.write("begun\n")));
    const other = thread("killed");
    for (let tries = 0; tries < 200 && !other.messages.length; tries++) {
      await other.connectAgent().catch(() => new Promise((resolve) => setTimeout(resolve, 50)));
    }
    await say(other, "echo alive");
    return report(other, { broken });
  },
};

const deadline = setTimeout(() => {
  process.stdout.write(`${JSON.stringify({ failed: "took too long" })}\n`, () => process.exit(1));
}, 40_000);
let said;
try {
  said = { result: await scenarios[scenario]() };
} catch (error) {
  said = { failed: String(error?.stack ?? error) };
}
clearTimeout(deadline);
process.stdout.write(`${JSON.stringify(said)}\n`, () => process.exit(0));
