// The page: binds a conversation to what is on screen and to the keyboard.

import { Conversation } from "./conversation.js";
import { h } from "./markdown.js";
import { waitsForPerson } from "./parts.js";
import { isTool, stepStart } from "./reducer.js";
import { Transcript, textOf } from "./transcript.js";
import { newId } from "./wire.js";

const $ = (id) => document.getElementById(id);
const LINKS = { idle: "", connecting: "Connecting…", live: "Connected", reconnecting: "Reconnecting…", refused: "Refused" };
const RECENT_KEPT = 40;

let config = { title: "chatrt", suggestions: [], agents: [] };
let agent = null;
let chat = null;
let answers = new Map(); // toolCallId -> the part as answered, until all calls of the message are
let drawing = 0;
let atEnd = true;
let token = "";

// --- where we are ------------------------------------------------------------------------------------------------------

function address() {
  const query = new URLSearchParams(location.search);
  return { agentId: query.get("agent"), chatId: query.get("chat") };
}

function go(agentId, chatId, { replace = false } = {}) {
  const query = new URLSearchParams({ agent: agentId, chat: chatId });
  history[replace ? "replaceState" : "pushState"](null, "", `?${query}`);
  show();
}

function show() {
  const { agentId, chatId } = address();
  agent = config.agents.find((one) => one.id === agentId) ?? config.agents[0];
  $("agent").value = agent.id;
  localStorage.setItem(`chatrt.last.${agent.id}`, chatId);
  chat?.close();
  answers = new Map();
  atEnd = true;
  chat = new Conversation({ agent: agent.id, chatId, token });
  chat.addEventListener("change", draw);
  $("messages").replaceChildren();
  transcript = newTranscript();
  draw();
  void chat.open();
  closeSidebar();
  $("composer-input").focus();
}

function recent() {
  return JSON.parse(localStorage.getItem(`chatrt.recent.${agent.id}`) ?? "[]");
}

function remember(title) {
  const others = recent().filter((entry) => entry.id !== chat.chatId);
  const known = recent().find((entry) => entry.id === chat.chatId);
  const entry = { id: chat.chatId, title: known?.title ?? title.slice(0, 80) };
  localStorage.setItem(`chatrt.recent.${agent.id}`, JSON.stringify([entry, ...others].slice(0, RECENT_KEPT)));
}

// --- what people do ----------------------------------------------------------------------------------------------------

const actions = {
  answer(message, part) {
    answers.set(part.toolCallId, part);
    const step = message.parts.slice(stepStart(message.parts)).filter(isTool);
    const open = step.filter((one) => waitsForPerson(one, message, false) && !answers.has(one.toolCallId));
    if (!open.length) {
      const done = step.flatMap((one) => answers.get(one.toolCallId) ?? []);
      answers.clear();
      void chat.answer(message.id, done);
    }
    draw();
    $("composer-input").focus();
  },
  regenerate: (message) => void chat.regenerate(message.id),
  retry: () => void chat.regenerate(),
  rollback: (message) => void chat.act({ type: "rollback", targetMessageId: message.id }),
  edit: (message, text) => void chat.send(text, { messageId: message.id }),
  switchTo: (name) => void chat.switchTo(name),
  discard: (entry) => chat.discard(entry),
};

const newTranscript = () => new Transcript($("messages"), actions);
let transcript = newTranscript();

function say(text) {
  if (!text.trim()) return;
  remember(text.trim());
  atEnd = true;
  void chat.send(text.trim());
}

// --- drawing -----------------------------------------------------------------------------------------------------------

function draw() {
  if (drawing) return;
  drawing = requestAnimationFrame(drawNow);
}

function drawNow() {
  drawing = 0;
  const { messages, branches, waiting, running, busy, link, problem, endings } = chat;
  const entries = messages.map((message, index) => {
    const last = index === messages.length - 1;
    const live = running !== null && message.role === "assistant" && message.id === running.messageId;
    const ending = endings.get(message.id);
    const versions = branches[message.id] ?? [];
    return [message, { live, last, idle: !busy, ending, versions, answers, actions: agent.actions }];
  });
  const answering = running !== null && !entries.some(([, view]) => view.live);
  if (answering) entries.push([{ id: running.messageId, role: "assistant", parts: [] }, { live: true, answers, actions: [] }]);
  for (const entry of waiting) {
    const note = entry.failed ? "" : entry.seq === undefined ? "Sending…" : "Waiting for its turn";
    entries.push([entry.message, { answers, waiting: note, failed: entry.failed, entry, actions: [] }]);
  }
  transcript.render(entries);
  $("empty").hidden = entries.length > 0 || link === "connecting";
  $("link").textContent = LINKS[link];
  $("link").dataset.state = link;
  $("problem").hidden = !problem;
  $("problem").textContent = problem;
  $("stop").hidden = running === null;
  $("send").hidden = running !== null && !$("composer-input").value.trim();
  $("undo").hidden = busy || !agent.actions.includes("undo") || !messages.length;
  const first = messages.find((message) => message.role === "user");
  $("title").textContent = (first && textOf(first).slice(0, 80)) || "New chat";
  document.title = first ? `${textOf(first).slice(0, 40)} · ${config.title}` : config.title;
  drawRecent();
  if (atEnd) $("scroller").scrollTop = $("scroller").scrollHeight;
  announce(messages, running);
}

let recentDrawn = "";

function drawRecent() {
  const entries = recent();
  const key = JSON.stringify([entries, chat.chatId]);
  if (key === recentDrawn) return;
  recentDrawn = key;
  $("recent").replaceChildren(...entries.map((entry) => {
    const link = h("a", { href: `?${new URLSearchParams({ agent: agent.id, chat: entry.id })}`, textContent: entry.title });
    if (entry.id === chat.chatId) link.setAttribute("aria-current", "page");
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      go(agent.id, entry.id);
    });
    return h("li", {}, link);
  }));
}

let announced = "";

/** Screen readers hear that an answer begins, and then the whole answer, not every word of the stream. */
function announce(messages, running) {
  const last = messages.at(-1);
  const next = running ? `live:${running.inSeq}` : `done:${last?.id}`;
  if (next === announced) return;
  const was = announced;
  announced = next;
  if (running) $("announce").textContent = "Answering";
  else if (was.startsWith("live:") && last?.role === "assistant") $("announce").textContent = textOf(last);
}

function drawSuggestions() {
  $("hint").hidden = !config.suggestions.length;
  $("suggestions").replaceChildren(...config.suggestions.map((text) => {
    const button = h("button", { type: "button", textContent: text });
    button.addEventListener("click", () => {
      say(text);
      $("composer-input").focus();
    });
    return h("li", {}, button);
  }));
}

// --- the keyboard and the frame ------------------------------------------------------------------------------------------

function closeSidebar() {
  document.body.classList.remove("menu-open");
  $("menu").setAttribute("aria-expanded", "false");
}

function fit() {
  const field = $("composer-input");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, window.innerHeight * 0.4)}px`;
  $("send").disabled = !field.value.trim();
  if (chat) draw();
}

function listen() {
  const field = $("composer-input");
  field.addEventListener("input", fit);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("composer").requestSubmit();
    }
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    say(field.value);
    field.value = "";
    fit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || event.target.closest(".edit")) return;
    if (document.body.classList.contains("menu-open")) closeSidebar();
    else void chat.stop();
  });
  $("stop").addEventListener("click", () => {
    void chat.stop();
    field.focus();
  });
  $("undo").addEventListener("click", () => {
    void chat.act({ type: "undo" });
    field.focus();
  });
  $("new-chat").addEventListener("click", () => go(agent.id, newId("chat")));
  $("agent").addEventListener("change", () => go($("agent").value, newId("chat")));
  $("menu").addEventListener("click", () => {
    const open = document.body.classList.toggle("menu-open");
    $("menu").setAttribute("aria-expanded", String(open));
  });
  $("scrim").addEventListener("click", closeSidebar);
  const scroller = $("scroller");
  scroller.addEventListener("scroll", () => {
    atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
    $("to-end").hidden = atEnd;
  });
  $("to-end").addEventListener("click", () => {
    atEnd = true;
    scroller.scrollTo({ top: scroller.scrollHeight, behavior: "smooth" });
  });
  window.addEventListener("popstate", show);
  window.addEventListener("online", () => chat.nudge());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") chat.nudge();
  });
}

/** A server with a secret key wants a token: it is given as `#token=...` and kept for this tab. */
function readToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("chatrt.token", given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  token = sessionStorage.getItem("chatrt.token") ?? "";
}

async function begin() {
  readToken();
  const response = await fetch("/playground/config.json");
  config = await response.json();
  $("brand-title").textContent = config.title;
  $("agent").replaceChildren(...config.agents.map((one) => h("option", { value: one.id, textContent: one.id })));
  $("agent-label").hidden = config.agents.length < 2;
  drawSuggestions();
  listen();
  const { agentId, chatId } = address();
  const chosen = config.agents.find((one) => one.id === agentId) ?? config.agents[0];
  const known = chatId ?? localStorage.getItem(`chatrt.last.${chosen.id}`) ?? newId("chat");
  go(chosen.id, known, { replace: true });
}

await begin();
