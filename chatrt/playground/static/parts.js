// The parts of a message as elements: text, reasoning, tool calls with their cards, sources, files, data.

import { h, markdown, safeLink } from "./markdown.js";
import { isTool, toolName } from "./reducer.js";

const STATES = {
  "input-streaming": "preparing",
  "input-available": "running",
  "approval-requested": "needs your approval",
  "approval-responded": "answered",
  "output-available": "done",
  "output-error": "failed",
  "output-denied": "denied",
};

/** Whether a part waits for the person in front of the page. */
export function waitsForPerson(part, message, live) {
  if (!isTool(part)) return false;
  return part.state === "approval-requested" || (part.state === "input-available" && !live);
}

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function json(label, value) {
  return h("div", { className: "io" }, h("span", { textContent: label }), h("pre", { tabIndex: 0, textContent: shown(value) }));
}

/** Arguments as a list of names and values, or as they are. */
function facts(input) {
  if (input === null || typeof input !== "object" || Array.isArray(input)) return h("p", { textContent: shown(input ?? "") });
  const rows = Object.entries(input).flatMap(([name, value]) => [
    h("dt", { textContent: name.replaceAll("_", " ") }), h("dd", { textContent: shown(value) }),
  ]);
  return h("dl", {}, ...rows);
}

function reasoning(part) {
  const busy = part.state === "streaming";
  const summary = h("summary", { textContent: busy ? "Thinking…" : "Thoughts" });
  return h("details", { className: "reasoning", open: busy }, summary, h("div", {}, ...markdown(part.text)));
}

function approvalCard(part, answer) {
  const name = toolName(part).replaceAll("_", " ");
  const approve = h("button", { type: "button", className: "primary", textContent: "Approve" });
  const deny = h("button", { type: "button", textContent: "Deny" });
  const settle = (approved) => {
    approve.disabled = deny.disabled = true;
    answer({ ...part, state: "approval-responded", approval: { id: part.approval.id, approved } });
  };
  approve.addEventListener("click", () => settle(true));
  deny.addEventListener("click", () => settle(false));
  return h("section", { className: "card approval", "aria-label": `Approval: ${name}` },
    h("h3", {}, "May I ", h("b", { textContent: name }), "?"), facts(part.input),
    h("div", { className: "buttons" }, approve, deny));
}

function questionCard(part, answer) {
  const asked = typeof part.input?.question === "string";
  const field = h("input", { type: "text", autocomplete: "off", placeholder: "Your answer", required: true, "aria-label": "Your answer" });
  const send = h("button", { type: "submit", className: "primary", textContent: "Answer" });
  const reply = (output) => {
    field.disabled = send.disabled = true;
    answer({ ...part, state: "output-available", output });
  };
  const options = Array.isArray(part.input?.options) ? part.input.options.map(String) : [];
  const choices = options.map((option) => {
    const button = h("button", { type: "button", textContent: option });
    button.addEventListener("click", () => reply(option));
    return button;
  });
  const form = h("form", { className: "buttons" }, field, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) reply(field.value.trim());
  });
  const title = h("h3", { textContent: asked ? part.input.question : `${toolName(part)} asks you` });
  const card = h("section", { className: "card question", "aria-label": "Question" }, title);
  if (!asked) card.append(facts(part.input));
  if (choices.length) card.append(h("div", { className: "buttons" }, ...choices));
  card.append(form);
  return card;
}

function tool(part, { live, answered, answer }) {
  const waits = waitsForPerson(part, null, live) && !answered;
  if (waits && part.state === "approval-requested") return approvalCard(part, answer);
  if (waits) return questionCard(part, answer);
  const interrupted = part.state === "input-streaming" && !live;
  const state = interrupted ? "interrupted" : STATES[part.state] ?? part.state;
  const label = part.state === "approval-responded" ? (part.approval?.approved ? "approved" : "denied") : state;
  const details = h("details", { className: `tool ${part.state}` },
    h("summary", {}, h("span", { className: "tool-name", textContent: toolName(part) }), h("span", { className: "state", textContent: label })));
  if (part.input !== undefined) details.append(json("Input", part.input));
  else if (part.rawInput) details.append(json("Input", part.rawInput));
  if (part.output !== undefined) details.append(json("Output", part.output));
  if (part.errorText) details.append(json("Error", part.errorText));
  return details;
}

function source(part) {
  const text = part.title || part.filename || part.url || part.sourceId;
  return h("span", { className: "source" }, part.url ? safeLink(part.url, text) : text);
}

function file(part) {
  const name = part.filename ?? part.mediaType;
  if (part.mediaType.startsWith("image/") && /^(data:image\/|blob:)/.test(part.url)) {
    return h("img", { className: "picture", src: part.url, alt: part.filename ?? "A picture from the answer" });
  }
  return h("span", { className: "source" }, part.url.startsWith("data:")
    ? h("a", { href: part.url, download: part.filename ?? "file", textContent: name }) : safeLink(part.url, name));
}

function data(part) {
  return h("details", { className: "tool data" },
    h("summary", {}, h("span", { className: "tool-name", textContent: part.type.slice("data-".length) || "data" }),
      h("span", { className: "state", textContent: "data" })), json("Value", part.data));
}

/** Make the element of a part; null for parts that show nothing. */
export function renderPart(part, context) {
  if (part.type === "text") return part.text ? h("div", { className: "text" }, ...markdown(part.text)) : null;
  if (part.type === "reasoning") return part.text ? reasoning(part) : null;
  if (isTool(part)) return tool(part, context);
  if (part.type.startsWith("source-")) return source(part);
  if (part.type === "file") return file(part);
  if (part.type.startsWith("data-")) return data(part);
  return null;
}
