// Runs the chat page's own scripts in a document without a browser, and goes back and forth between versions.
// Usage: node versions.mjs <base URL>. Prints one JSON line: what the page showed.

import { readFileSync } from "node:fs";
import { GlobalWindow } from "happy-dom";

const base = process.argv[2];
const STATIC = new URL("../../chatrt/playground/static/", import.meta.url);
const page = new GlobalWindow({ url: base });
const { document } = page;
document.write(readFileSync(new URL("index.html", STATIC), "utf8").replace(/<(script|link)[^>]*>(<\/script>)?/g, ""));
for (const name of ["document", "location", "history", "localStorage", "sessionStorage", "requestAnimationFrame"]) {
  globalThis[name] = name === "requestAnimationFrame" ? (draw) => setTimeout(draw, 0) : page[name];
}
globalThis.window = page;
const nodeFetch = globalThis.fetch;
globalThis.fetch = (path, options) => nodeFetch(new URL(path, base), options);

await import(new URL("app.js", STATIC));

const all = (selector) => [...document.querySelectorAll(selector)];
const texts = (selector) => all(selector).map((one) => one.textContent);
const users = () => texts(".message.user .text");
const places = () => texts(".versions .note");

/** Wait until something holds, looking again as the page draws. */
async function until(what, holds) {
  const end = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`${what} never came; the page shows ${document.body.textContent}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const idle = () => document.querySelector("#stop").hidden && !all(".waiting, .live").length;
const shows = (text) => until(text, () => idle() && texts(".message.assistant").at(-1)?.includes(text));

function press(label, index = 0) {
  all("button").filter((one) => label === (one.getAttribute("aria-label") ?? one.textContent))[index].click();
}

function submit(form, field, text) {
  field.value = text;
  form.dispatchEvent(new page.Event("submit", { cancelable: true }));
}

await until("the empty page", () => !document.querySelector("#empty").hidden);
submit(document.querySelector("#composer"), document.querySelector("#composer-input"), "What is 1 + 2?");
await shows("That makes 3.");
const alone = places();

press("Edit");
const form = document.querySelector("form.edit");
submit(form, form.querySelector("textarea"), "What is 20 + 3?");
await shows("That makes 23.");
await until("the versions of the question", () => places().length === 1);
const edited = [users(), places()];

press("Try again");
await until("the versions of the answer", () => idle() && places().length === 2);
const again = [users(), places()];

press("Earlier version");
await shows("That makes 3.");
const back = [users(), places()];

press("Later version");
await shows("That makes 23.");
const forth = [users(), places()];
const disabled = all(".versions button").map((one) => one.disabled);

press("Earlier version", 1);
await until("the earlier answer", () => idle() && places()[1] === "1/2");
const answer = [users(), places()];

console.log(JSON.stringify({ alone, edited, again, back, forth, disabled, answer }));
process.exit();
