// A client of the AI SDK, whatever its transport: the `Chat` that `useChat` is made of, without a page around it.

const DEADLINE_MS = 20_000;
const PAUSE_MS = 5;

/** Wait until a condition holds; `describe` says what was there instead. */
export async function until(what, condition, describe) {
  const end = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never: ${what}; ${JSON.stringify(describe())}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

export const textOf = (message) => message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

/** What a person sees of a tool part. */
export const callOf = (part) => ({
  name: part.type.slice("tool-".length),
  id: part.toolCallId,
  state: part.state,
  input: part.input,
  output: part.output,
  approvalId: part.approval?.id,
});

export class ChatClient {
  /** @param make gives a `Chat` with these initial messages @param load gives the messages that a reload would show */
  constructor({ make, load, messages = [] }) {
    this.make = make;
    this.load = load;
    this.chat = make(messages);
  }

  get texts() {
    return this.chat.messages.map(textOf);
  }

  get last() {
    return this.texts.at(-1) ?? "";
  }

  get calls() {
    return (this.chat.messages.at(-1)?.parts ?? []).filter((part) => part.type.startsWith("tool-")).map(callOf);
  }

  get failed() {
    return this.chat.status === "error";
  }

  get seen() {
    return [this.chat.messages, this.chat.error?.message];
  }

  until(what, condition) {
    return until(what, condition, () => [this.chat.status, ...this.seen]);
  }

  begin(text) {
    void this.chat.sendMessage({ text });
  }

  async say(text) {
    await this.chat.sendMessage({ text });
    await this.settled();
  }

  settled() {
    return this.until("settled", () => ["ready", "error"].includes(this.chat.status));
  }

  stop() {
    return this.chat.stop();
  }

  leave() {
    this.left = true; // a page that is closed says nothing; its process goes away, and so does this object
  }

  async resume() {
    const again = new ChatClient({ make: this.make, load: this.load, messages: await this.load() });
    void again.chat.resumeStream();
    return again;
  }

  async answerTool(call, output) {
    const give = this.chat.addToolOutput ?? this.chat.addToolResult;
    await give.call(this.chat, { tool: call.name, toolCallId: call.id, output });
  }

  async approve(call, approved) {
    await this.chat.addToolApprovalResponse({ id: call.approvalId, approved });
  }
}

/** Send by itself once every open call has an answer. */
export const sendsItself = (ai) => (state) =>
  ai.lastAssistantMessageIsCompleteWithToolCalls(state) ||
  (ai.lastAssistantMessageIsCompleteWithApprovalResponses?.(state) ?? false);
