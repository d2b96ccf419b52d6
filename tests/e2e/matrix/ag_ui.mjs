// The published `HttpAgent` of AG-UI, on the wire of its name.

import { HttpAgent, runHttpRequest, transformHttpEventStream } from "@ag-ui/client";

import { until } from "./chat.mjs";

console.warn = console.error = () => {};

/** HttpAgent with the one thing it leaves to subclasses: where a thread is connected to. */
class ConnectedAgent extends HttpAgent {
  connect(input) {
    const url = `${this.url}/${encodeURIComponent(input.threadId)}/connect?runId=${encodeURIComponent(input.runId)}`;
    return transformHttpEventStream(runHttpRequest(() => fetch(url, { signal: this.abortController.signal })));
  }
}

class Client {
  failed = false;
  errors = [];
  count = 0;

  constructor(agent, again) {
    this.agent = agent;
    this.again = again;
  }

  get texts() {
    return this.shown.map((message) => message.content);
  }

  /** What a page shows: questions, and what an answer says, in one piece however many messages it is told in. */
  get shown() {
    const shown = [];
    for (const { role, content } of this.agent.messages) {
      if (role === "user") shown.push({ role, content });
      else if (role === "assistant" && content) shown.push({ role, content });
    }
    return shown;
  }

  get last() {
    return this.texts.at(-1) ?? "";
  }

  get calls() {
    const approvals = new Map((this.agent.pendingInterrupts ?? []).map((one) => [one.toolCallId, one.id]));
    return this.agent.messages
      .flatMap((message) => message.toolCalls ?? [])
      .map((call) => ({
        name: call.function.name,
        id: call.id,
        input: JSON.parse(call.function.arguments),
        output: this.outputOf(call.id),
        approvalId: approvals.get(call.id),
      }));
  }

  outputOf(id) {
    const found = this.agent.messages.find((message) => message.role === "tool" && message.toolCallId === id);
    return found && JSON.parse(found.content);
  }

  get seen() {
    return [this.agent.messages, this.errors];
  }

  until(what, condition) {
    return until(what, condition, () => [this.failed, ...this.seen]);
  }

  async run(parameters) {
    const onRunErrorEvent = ({ event }) => {
      this.failed = true;
      this.errors.push(event.message);
    };
    try {
      await this.agent.runAgent(parameters, { onRunErrorEvent });
    } catch (error) {
      this.failed = true;
      this.errors.push(String(error.message));
    }
  }

  say(text) {
    this.failed = false;
    this.agent.addMessage({ id: `u${++this.count}`, role: "user", content: text });
    return this.run({});
  }

  begin(text) {
    this.running = this.say(text);
  }

  async stop() {
    await fetch(`${this.agent.url}/${encodeURIComponent(this.agent.threadId)}/stop`, { method: "POST" });
    await this.running;
  }

  answerTool(call, output) {
    this.agent.addMessage({ id: `t${call.id}`, role: "tool", toolCallId: call.id, content: output });
    return this.run({});
  }

  approve(call, approved) {
    return this.run({ resume: [{ interruptId: call.approvalId, status: "resolved", payload: { approved } }] });
  }

  leave() {
    this.left = true;
  }

  async resume() {
    const client = this.again();
    void client.agent.connectAgent();
    return client;
  }
}

export async function open({ chatId, base }) {
  const url = `${base}/api/ag-ui/playbook`;
  const again = () => new Client(new ConnectedAgent({ url, threadId: chatId }), again);
  return again();
}
