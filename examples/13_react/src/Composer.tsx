// Where the person writes: Enter sends, Shift+Enter begins a line, Esc stops, arrow-up edits what was said last.

import { type KeyboardEvent, type RefObject, type SubmitEvent, useLayoutEffect, useState } from "react";
import type { Act } from "./conversation";

interface Props {
  chatId: string;
  busy: boolean;
  /** Whether what is said waits: an answer is being made, or another tab asks. */
  waits: boolean;
  /** Whether it can go into the answer instead: nothing that waits stands before it. */
  steers: boolean;
  closed: boolean;
  act: Act;
  field: RefObject<HTMLTextAreaElement | null>;
  onEditLast: () => boolean;
}

const draftKey = (chatId: string) => `guide.draft.${chatId}`;

export function Composer({ chatId, busy, waits, steers, closed, act, field, onEditLast }: Props) {
  // What was typed and not sent survives a reload of the tab.
  const [text, setText] = useState(() => sessionStorage.getItem(draftKey(chatId)) ?? "");

  useLayoutEffect(() => {
    const area = field.current;
    if (area) {
      area.style.height = "auto";
      area.style.height = `${Math.min(area.scrollHeight, window.innerHeight * 0.35)}px`;
    }
    if (text) sessionStorage.setItem(draftKey(chatId), text);
    else sessionStorage.removeItem(draftKey(chatId));
  }, [text, chatId, field]);

  const say = (how: (text: string) => void) => {
    if (!text.trim() || closed) return;
    how(text.trim());
    setText("");
    field.current?.focus();
  };
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    say(act.send);
  };
  const press = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      say(steers && (event.metaKey || event.ctrlKey) ? act.steer : act.send);
    } else if (event.key === "ArrowUp" && !text && onEditLast()) {
      event.preventDefault();
    }
  };
  return (
    <form className="composer" onSubmit={submit}>
      <label className="hidden" htmlFor="composer-input">
        Message
      </label>
      <textarea
        id="composer-input"
        ref={field}
        rows={1}
        autoFocus
        enterKeyHint="send"
        aria-describedby="keys"
        disabled={closed}
        placeholder={closed ? "This chat is closed" : waits ? "Add something, or ask the next question…" : "Where to?"}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={press}
      />
      <div className="row end">
        {steers && text.trim() && (
          <button type="button" title="Put it into the running answer (Ctrl+Enter)" onClick={() => say(act.steer)}>
            Steer
          </button>
        )}
        {busy && (
          <button
            type="button"
            className="stop"
            onClick={() => {
              act.stop();
              field.current?.focus();
            }}
          >
            Stop
          </button>
        )}
        {(!busy || text.trim()) && (
          <button type="submit" className="primary" disabled={!text.trim() || closed}>
            {waits ? "Queue" : "Send"}
          </button>
        )}
      </div>
    </form>
  );
}
