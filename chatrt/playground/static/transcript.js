// The transcript: messages as a list of elements of which only what changed is drawn again.

import { h } from "./markdown.js";
import { renderPart } from "./parts.js";

/** The text of a message, as for copying and editing. */
export function textOf(message) {
  return message.parts.filter((part) => part.type === "text").map((part) => part.text).join("\n\n");
}

/** One message on screen. */
class Row {
  #drawn = []; // {part, key, element} in order
  #footer = "";

  constructor(message, actions) {
    this.actions = actions;
    this.body = h("div", { className: "body" });
    this.footer = h("div", { className: "footer" });
    this.element = h("li", { className: `message ${message.role}` }, this.body, this.footer);
    this.element.dataset.id = message.id;
  }

  update(message, view) {
    this.message = message;
    this.element.classList.toggle("live", view.live);
    this.element.classList.toggle("waiting", Boolean(view.waiting));
    if (this.editing) return;
    message.parts.forEach((part, index) => this.#part(index, part, message, view));
    for (const old of this.#drawn.splice(message.parts.length)) old.element?.remove();
    this.#thinking(view.live && !this.#drawn.some((one) => one.element));
    this.#foot(message, view);
  }

  #part(index, part, message, view) {
    const answered = view.answers.has(part.toolCallId);
    const key = `${view.live}${answered}`;
    const old = this.#drawn[index];
    if (old && old.part === part && old.key === key) return;
    const context = { live: view.live, answered, answer: (done) => this.actions.answer(message, done) };
    const element = message.role === "user" && part.type === "text"
      ? h("div", { className: "text", textContent: part.text })
      : renderPart(answered ? view.answers.get(part.toolCallId) : part, context);
    // What a person opened stays open while it is drawn again.
    if (element?.tagName === "DETAILS" && old?.element?.tagName === "DETAILS" && part.type !== "reasoning") {
      element.open = old.element.open;
    }
    this.#drawn[index] = { part, key, element };
    if (old?.element && element) old.element.replaceWith(element);
    else if (old?.element) old.element.remove();
    else if (element) {
      const next = this.#drawn.slice(index + 1).find((one) => one?.element)?.element;
      this.body.insertBefore(element, next ?? null);
    }
  }

  #thinking(show) {
    const dots = this.body.querySelector(":scope > .dots");
    if (show && !dots) this.body.append(h("div", { className: "dots", "aria-label": "Answering" }, h("i"), h("i"), h("i")));
    if (!show) dots?.remove();
  }

  #foot(message, view) {
    const key = JSON.stringify([view.live, view.last, view.idle, view.waiting, view.failed, view.ending, view.versions, view.actions]);
    if (key === this.#footer) return;
    this.#footer = key;
    this.footer.replaceChildren(...this.#buttons(message, view));
  }

  #buttons(message, view) {
    const button = (label, title, act) => {
      const element = h("button", { type: "button", className: "ghost", textContent: label, title });
      element.addEventListener("click", () => act(this.message));
      return element;
    };
    if (view.failed) {
      return [h("span", { className: "problem", textContent: `Not accepted: ${view.failed}` }),
        button("Dismiss", "Remove this message", () => this.actions.discard(view.entry))];
    }
    if (view.waiting) return [h("span", { className: "note", textContent: view.waiting })];
    const shown = [];
    if (view.ending) shown.push(h("span", { className: "note", textContent: view.ending }));
    if (view.live || !view.idle) return shown;
    if (view.versions?.length > 1) shown.push(this.#switcher(message, view.versions));
    if (message.role === "assistant") {
      shown.push(button("Copy", "Copy the text", (one) => navigator.clipboard?.writeText(textOf(one))));
      shown.push(button("Try again", "Ask for another answer", this.actions.regenerate));
      if (view.actions.includes("rollback") && !view.last) {
        shown.push(button("Back to here", "Forget everything after this", this.actions.rollback));
      }
    } else {
      shown.push(button("Edit", "Say it differently; what follows is replaced", () => this.#edit()));
      if (view.last) shown.push(button("Try again", "Ask for an answer again", this.actions.retry));
    }
    return shown;
  }

  /** Says which of the versions at this place is shown, and leads to the ones before and after it. */
  #switcher(message, versions) {
    const at = versions.indexOf(message.id);
    const step = (label, title, to) => {
      const properties = { type: "button", className: "ghost", textContent: label, title, "aria-label": title };
      const button = h("button", { ...properties, disabled: versions[to] === undefined });
      button.addEventListener("click", () => this.actions.switchTo(versions[to]));
      return button;
    };
    const place = h("span", { className: "note", textContent: `${at + 1}/${versions.length}` });
    return h("span", { className: "versions" }, step("‹", "Earlier version", at - 1), place, step("›", "Later version", at + 1));
  }

  #edit() {
    const field = h("textarea", { value: textOf(this.message), rows: 3, "aria-label": "Edit the message" });
    const save = h("button", { type: "submit", className: "primary", textContent: "Send" });
    const cancel = h("button", { type: "button", textContent: "Cancel" });
    const form = h("form", { className: "edit" }, field, h("div", { className: "buttons" }, cancel, save));
    const close = () => {
      this.editing = false;
      form.replaceWith(this.body);
      this.footer.hidden = false;
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (!text) return;
      close();
      this.actions.edit(this.message, text);
    });
    cancel.addEventListener("click", close);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.editing = true;
    this.footer.hidden = true;
    this.body.replaceWith(form);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

/** Keeps the rows of a list in step with messages. */
export class Transcript {
  #rows = new Map();

  constructor(list, actions) {
    this.list = list;
    this.actions = actions;
  }

  /** Show `[message, view]` pairs, in this order. */
  render(entries) {
    const wanted = new Set(entries.map(([message]) => message.id));
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let previous = null;
    for (const [message, view] of entries) {
      let row = this.#rows.get(message.id);
      if (!row) this.#rows.set(message.id, (row = new Row(message, this.actions)));
      const place = previous ? previous.nextSibling : this.list.firstChild;
      if (place !== row.element) this.list.insertBefore(row.element, place);
      row.update(message, view);
      previous = row.element;
    }
  }
}
