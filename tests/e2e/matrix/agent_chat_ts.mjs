// `AgentChat` of @chatrt/client/server: the TypeScript twin of the Python client.

import { AgentChat } from "../../../client/dist/server/index.js";
import { AnswersClient } from "./answers.mjs";

class Client extends AnswersClient {
  constructor(chat, again) {
    super();
    this.chat = chat;
    this.again = again;
  }

  async read(stream) {
    await this.attempt(this.show(stream.messages()));
    if (stream.status === "failed") {
      this.failed = true;
      this.seen.push(stream.error);
    }
  }

  async say(text) {
    this.ask(text);
    await this.read(this.chat.sendMessage(text));
  }

  stop() {
    return this.chat.stop();
  }

  answerTool(call, output) {
    return this.read(this.chat.addToolOutput(call.id, { output }));
  }

  approve(call, approved) {
    return this.read(this.chat.approve(call.approvalId, approved));
  }

  async resume() {
    const client = this.again();
    client.messages = await client.chat.messages();
    void client.read(await client.chat.reconnect());
    return client;
  }
}

export async function open({ chatId, base }) {
  const again = () => new Client(new AgentChat("playbook", { id: chatId, baseUrl: base }), again);
  return again();
}
