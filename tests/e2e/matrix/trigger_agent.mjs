// The published `AgentChat` of Trigger.dev, by base URL and key alone.

import { AgentChat } from "@trigger.dev/sdk/chat";
import { readUIMessageStream } from "ai-v6";

import { AnswersClient } from "./answers.mjs";

process.env.TRIGGER_SECRET_KEY = "any";

/** The message that these chunks make, of an earlier one where that goes on. */
async function assembled(chunks, before) {
  let last;
  const message = structuredClone(before);
  const reading = readUIMessageStream({ message, stream: ReadableStream.from(chunks), onError: () => {} });
  for await (const snapshot of reading) last = snapshot;
  return last;
}

class Client extends AnswersClient {
  constructor(chat, again) {
    super();
    this.chat = chat;
    this.again = again;
  }

  /** Its streams tell of a failure by a chunk, and throw nothing. */
  async *snapshots(stream, before) {
    const chunks = [];
    for await (const chunk of await stream) {
      if (chunk.type === "error") {
        this.failed = true;
        this.seen.push(chunk.errorText);
      }
      chunks.push(chunk);
      if (chunk.type === "text-delta" || chunk.type === "finish") yield await assembled(chunks, before);
    }
  }

  async read(stream, before) {
    await this.attempt(this.show(this.snapshots(stream, before)));
  }

  async say(text) {
    this.ask(text);
    await this.read(this.chat.sendMessage(text));
  }

  stop() {
    return this.chat.stop();
  }

  /** Send the answered call as the page would: the message that holds it, and nothing else of it. */
  advance(call, answer) {
    const before = this.messages.at(-1);
    const part = { type: `tool-${call.name}`, toolCallId: call.id, input: call.input, ...answer };
    return this.read(this.chat.sendRaw([{ id: before.id, role: "assistant", parts: [part] }]), before);
  }

  answerTool(call, output) {
    return this.advance(call, { state: "output-available", output });
  }

  approve(call, approved) {
    return this.advance(call, { state: "approval-responded", approval: { id: call.approvalId, approved } });
  }

  async resume() {
    const client = this.again({ lastEventId: "0" }); // told from the beginning
    client.ask("count 150");
    void client.read(client.chat.reconnect());
    return client;
  }
}

export async function open({ chatId, base }) {
  process.env.TRIGGER_API_URL = base;
  const again = (session) => new Client(new AgentChat({ agent: "playbook", id: chatId, session }), again);
  return again();
}
