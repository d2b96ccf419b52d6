// One conversation over the native wire: what is said, what comes back, and how it goes on after a broken connection.

import { Reducer, emptyMessage } from "./reducer.js";
import { Refused, Wire, mayHeal, newId } from "./wire.js";

const SILENCE_MS = 45_000; // the server sends a heartbeat every 15 s
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5_000;
const ACK_MS = 2_000;
const ENDINGS = { stopped: "Stopped", interrupted: "Interrupted: the server went away during this answer" };

/**
 * The live state of one chat. Dispatches `change` when anything that is shown has changed.
 *
 * messages: what the history holds, with the answer under construction as it grows.
 * branches: message id -> the names of all versions at its place, its own among them; only where there are several.
 * outgoing: `{key, seq, message, failed}`: sent by this browser and not in the history yet.
 * running: `{inSeq, messageId}` while a turn runs, else null.
 * link: "idle" (nothing to follow yet) | "connecting" | "live" | "reconnecting" | "refused".
 */
export class Conversation extends EventTarget {
  messages = [];
  branches = {};
  outgoing = [];
  running = null;
  link = "idle";
  problem = "";
  endings = new Map(); // message id -> how its answer ended, when it was cut short
  #cursor = 0;
  #reducer = null;
  #settled = 0; // the highest input that is known to be settled
  #following = null;
  #sending = Promise.resolve();
  #attempt = new AbortController();
  #restarting = false;
  #branched = false; // whether something made, or may have made, another branch
  #foreign = false; // whether somebody else than this page sent the input of the running turn
  #wake = () => {};
  #closed = new AbortController();

  #wire;

  constructor({ agent, chatId, token = "" }) {
    super();
    Object.assign(this, { agent, chatId });
    this.#wire = new Wire({ chatId, token, signal: this.#closed.signal });
  }

  /** What waits for its turn and is not among the messages yet. */
  get waiting() {
    const known = new Set(this.messages.map((message) => message.id));
    return this.outgoing.filter((entry) => entry.message && !known.has(entry.message.id));
  }

  /** Whether a turn runs or something sent is still to be answered. */
  get busy() {
    return this.running !== null || this.outgoing.some((entry) => !entry.failed);
  }

  /** Load what is stored and follow what comes. A chat that does not exist yet stays empty. */
  async open() {
    this.outgoing = this.#stored();
    this.#setLink("connecting");
    if (await this.#retrying(() => this.#load())) this.#follow();
    else if (this.link !== "refused") this.#setLink("idle");
    for (const entry of this.outgoing) if (entry.seq === undefined) this.#line(entry);
  }

  /** Stop following, for good. The turn on the server goes on. */
  close() {
    this.#closed.abort();
  }

  /** Try again at once instead of waiting for the next attempt. */
  nudge() {
    this.#wake();
  }

  // --- what people do ------------------------------------------------------------------------------------------------

  /** Say something new, or with `messageId` say it differently: that message and what followed it are replaced. */
  async send(text, { messageId } = {}) {
    const message = { id: messageId ?? newId("user"), role: "user", parts: [{ type: "text", text }] };
    if (messageId) this.#cutFrom(messageId);
    this.#branched ||= messageId !== undefined;
    await this.#enqueue({ kind: "message", message }, message);
  }

  /** Ask for another answer in the place of that message. */
  async regenerate(messageId) {
    this.#cutFrom(messageId);
    await this.#enqueue({ kind: "regenerate", messageId });
  }

  /** Send the advanced tool parts (answers, approvals) of an assistant message. */
  async answer(messageId, parts) {
    const message = this.messages.find((one) => one.id === messageId);
    message.parts = message.parts.map((part) => parts.find((done) => done.toolCallId === part.toolCallId) ?? part);
    await this.#enqueue({ kind: "message", message: { id: messageId, role: "assistant", parts } });
  }

  /** Go to another version, by a name out of `branches`. */
  async switchTo(name) {
    await this.#enqueue({ kind: "switch", messageId: name });
  }

  async act(action) {
    await this.#enqueue({ kind: "action", action });
  }

  async stop() {
    if (!this.running) return;
    const body = { kind: "stop", inSeq: this.running.inSeq };
    await this.#retrying(() => this.#wire.append(body, newId("part")));
  }

  // --- sending -------------------------------------------------------------------------------------------------------

  async #enqueue(body, shown) {
    const entry = { key: newId("part"), body, message: shown, seq: undefined, failed: "" };
    this.problem = "";
    this.outgoing.push(entry);
    this.#save();
    this.#changed();
    await this.#line(entry);
  }

  /** Deliver one after another, in the order in which they were said. */
  #line(entry) {
    this.#sending = this.#sending.then(() => this.#deliver(entry));
    return this.#sending;
  }

  /** Append an input until the server acknowledges it; the same key makes a repeat harmless. */
  async #deliver(entry) {
    const attempt = async () => {
      if (!this.#following) await this.#wire.create(this.agent);
      return this.#wire.append(entry.body, entry.key);
    };
    const sent = await this.#retrying(attempt, (refused) => this.#refused(entry, refused));
    if (!sent) return;
    entry.seq = sent.seq;
    this.#save();
    if (sent.seq <= this.#settled) this.#drop(entry);
    this.#follow();
    this.#changed();
  }

  /** What was shown in advance is taken back; a message stays visible with the reason. */
  #refused(entry, refused) {
    if (entry.message) entry.failed = refused.message;
    else {
      this.problem = refused.message;
      this.#drop(entry);
    }
    this.#changed();
    void this.#restart();
  }

  #drop(entry) {
    this.outgoing = this.outgoing.filter((other) => other !== entry);
    this.#save();
  }

  /** Forget an input that the server refused. */
  discard(entry) {
    this.#drop(entry);
    this.#changed();
  }

  // --- following -----------------------------------------------------------------------------------------------------

  #follow() {
    this.#following ??= this.#followForEver().finally(() => {
      this.#following = null;
    });
  }

  async #followForEver() {
    let attempt = 0;
    while (!this.#closed.signal.aborted) {
      try {
        await this.#readOnce(() => {
          attempt = 0;
        });
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        if (error instanceof Refused && error.code === "cursor-ahead") await this.#retrying(() => this.#load());
        else if (error instanceof Refused && !mayHeal(error)) return this.#refuse(error);
        else if (!this.#restarting) this.#setLink("reconnecting");
      }
      if (this.#restarting) this.#restarting = false;
      else await this.#pause(attempt++);
    }
  }

  /** Load again and read on from there, whatever was under way. */
  async #restart() {
    if (!this.#following) return;
    this.#restarting = true;
    await this.#retrying(() => this.#load());
    this.#attempt.abort();
  }

  async #readOnce(progress) {
    const attempt = new AbortController();
    this.#attempt = attempt;
    const signal = AbortSignal.any([this.#closed.signal, attempt.signal]);
    let watchdog = setTimeout(() => attempt.abort(), SILENCE_MS);
    try {
      const events = await this.#wire.read(this.#cursor, signal);
      this.#setLink("live");
      for await (const event of events) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => attempt.abort(), SILENCE_MS);
        progress();
        if (!event.comment) await this.#record(event);
      }
    } finally {
      clearTimeout(watchdog);
      attempt.abort();
    }
  }

  /** Take in one record; what was read already (after a reload of the messages) is passed over. */
  async #record({ event, id, data }) {
    const seq = Number(id);
    const body = JSON.parse(data);
    if (event === "turn-complete") this.#ended(body);
    if (seq <= this.#cursor) return;
    if (event === "turn-start") await this.#turnStart(seq, body);
    else if (event === "turn-complete") await this.#turnComplete(body);
    else if (event === "gap") await this.#load();
    else if (event === "message") this.#chunk(body);
    // Only now: when a load in between fails, the record is read again.
    this.#cursor = Math.max(this.#cursor, seq);
    this.#changed();
  }

  async #turnStart(seq, { inSeq, messageId, message }) {
    // The answer may begin before the acknowledgement of the question is here.
    await Promise.race([this.#sending, new Promise((resolve) => setTimeout(resolve, ACK_MS))]);
    this.#foreign = !this.outgoing.some((entry) => entry.seq === inSeq);
    if (this.#foreign) {
      // Somebody else sent this: the history says what the turn stands on, and another window what was said.
      await this.#load();
      this.outgoing.push(...this.#stored().filter((entry) => entry.seq === inSeq));
      if (this.#cursor >= seq) return; // settled by now, and loaded
    }
    for (const entry of this.outgoing.filter((one) => one.seq === inSeq)) this.#merge(entry);
    this.running = { inSeq, messageId };
    this.#reducer = new Reducer(message ?? emptyMessage(messageId));
  }

  /** Do to the messages what this input does; it stays in `outgoing` until it is settled and thus in the history. */
  #merge({ body, message }) {
    if (body.kind === "regenerate") this.#cutFrom(body.messageId);
    if (!message) return;
    this.#cutFrom(message.id);
    this.messages.push(message);
  }

  /** Show the answer once there is something of it: in the place of an older form of it, or at the end. */
  #chunk(chunk) {
    if (!this.#reducer) return;
    const { message } = this.#reducer;
    this.#reducer.apply(chunk);
    if (this.messages.includes(message)) return;
    const index = this.messages.findIndex((one) => one.id === message.id);
    if (index >= 0) this.messages[index] = message;
    else this.messages.push(message);
  }

  /** Say how a turn ended; the messages themselves do not. */
  #ended({ status, error, messageId }) {
    if (messageId && ENDINGS[status]) this.endings.set(messageId, ENDINGS[status]);
    this.problem = status === "failed" ? (error?.message ?? "The answer failed.") : "";
    this.#changed();
  }

  async #turnComplete({ inSeq, trigger, status }) {
    this.#settled = Math.max(this.#settled, inSeq);
    this.#forgetUpTo(inSeq);
    this.running = null;
    this.#reducer = null;
    this.#branched ||= trigger !== "message";
    // The history decides what remains of an answer that did not end well, what an action did, and what versions there are.
    if (this.#foreign || this.#branched || status !== "completed") await this.#load();
  }

  /** Read messages and cursor as stored; what came after that cursor is read again from the stream. */
  async #load() {
    let state;
    try {
      state = await this.#wire.messages();
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return false;
      throw error;
    }
    this.messages = state.messages;
    this.branches = state.branches ?? {};
    this.#branched ||= state.branches !== undefined;
    this.#cursor = state.cursor;
    this.#reducer = null;
    this.running = null;
    this.#settled = Math.max(this.#settled, state.inCursor);
    this.#forgetUpTo(state.inCursor);
    this.#changed();
    return true;
  }

  #forgetUpTo(inSeq) {
    const kept = this.outgoing.filter((entry) => entry.seq === undefined || entry.seq > inSeq);
    if (kept.length === this.outgoing.length) return;
    this.outgoing = kept;
    this.#save();
  }

  // --- plumbing ------------------------------------------------------------------------------------------------------

  /** Run `attempt` until it succeeds or the server refuses for good; then `onRefused`, and undefined. */
  async #retrying(attempt, onRefused = (refused) => this.#refuse(refused)) {
    for (let count = 0; !this.#closed.signal.aborted; count++) {
      try {
        const result = await attempt();
        if (this.link === "reconnecting" && !this.#following) this.#setLink("live");
        return result;
      } catch (error) {
        if (this.#closed.signal.aborted) return undefined;
        if (error instanceof Refused && !mayHeal(error)) {
          onRefused(error);
          return undefined;
        }
        this.#setLink("reconnecting");
        await this.#pause(count);
      }
    }
    return undefined;
  }

  /** Wait between attempts: exponentially longer, with full jitter, cut short by `nudge`. */
  async #pause(count) {
    const delay = FIRST_DELAY_MS / 2 + Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** count);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#closed.signal.addEventListener("abort", this.#wake, { once: true });
    });
  }

  #refuse(refused) {
    this.problem = refused.message;
    this.#setLink("refused");
  }

  #setLink(link) {
    if (this.link === link) return;
    this.link = link;
    this.#changed();
  }

  #cutFrom(messageId) {
    const index = this.messages.findIndex((message) => message.id === messageId);
    if (index >= 0) this.messages = this.messages.slice(0, index);
  }

  #storageKey() {
    return `chatrt.outgoing.${this.agent}.${this.chatId}`;
  }

  /** Keep what was sent and is not in the history, so that a reload of the page still shows and delivers it. */
  #save() {
    const kept = this.outgoing.filter((entry) => !entry.failed);
    if (kept.length) localStorage.setItem(this.#storageKey(), JSON.stringify(kept));
    else localStorage.removeItem(this.#storageKey());
  }

  #stored() {
    return JSON.parse(localStorage.getItem(this.#storageKey()) ?? "[]");
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
