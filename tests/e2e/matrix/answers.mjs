// A client that asks and reads answers, without a page: it keeps what a page would show of them.

import { callOf, textOf, until } from "./chat.mjs";

export class AnswersClient {
  messages = [];
  failed = false;
  seen = [];

  get texts() {
    return this.messages.map(textOf);
  }

  get last() {
    return this.texts.at(-1) ?? "";
  }

  get calls() {
    return (this.messages.at(-1)?.parts ?? []).filter((part) => part.type.startsWith("tool-")).map(callOf);
  }

  until(what, condition) {
    return until(what, condition, () => [this.failed, this.messages]);
  }

  /** Show a question. */
  ask(text) {
    this.failed = false;
    this.messages.push({ role: "user", parts: [{ type: "text", text }] });
  }

  /** Show an answer as it grows: snapshots of one message, which may be an earlier one that goes on. */
  async show(snapshots) {
    for await (const message of snapshots) {
      const place = this.messages.findIndex((known) => known.id && known.id === message.id);
      if (place < 0) this.messages.push(structuredClone(message));
      else this.messages[place] = structuredClone(message);
    }
  }

  /** Remember what went wrong; a person sees that something did. */
  async attempt(answering) {
    try {
      await answering;
    } catch (error) {
      this.failed = true;
      this.seen.push(String(error?.message ?? error));
    }
  }

  begin(text) {
    void this.say(text);
  }

  leave() {
    this.left = true;
  }
}
