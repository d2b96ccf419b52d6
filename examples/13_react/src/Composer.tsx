// Where the person writes: Enter sends, Shift+Enter begins a line, Esc stops, arrow-up edits what was said last.

import { type KeyboardEvent, type RefObject, type SubmitEvent, useEffect, useLayoutEffect, useState } from "react";
import type { Act } from "./conversation";
import { inTab } from "./storage";
import { forgetUnsent } from "./unsent";

interface Props {
  chatId: string;
  /** What was said before and never arrived. */
  unsent: readonly string[];
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

export function Composer({ chatId, unsent, busy, waits, steers, closed, act, field, onEditLast }: Props) {
  // What was typed, or sent and did not arrive, survives a reload of the tab.
  const [text, setText] = useState(() => [inTab.get(draftKey(chatId)) ?? [], unsent].flat(2).join("\n\n"));
  useEffect(() => forgetUnsent(chatId), [chatId]);

  const placeholder = closed ? "This chat is closed" : waits ? "Add something…" : "Where to?";

  useLayoutEffect(() => {
    const area = field.current;
    if (area) {
      area.style.height = "auto";
      area.style.height = `${Math.min(area.scrollHeight, window.innerHeight * 0.35)}px`;
    }
  }, [text, placeholder, field]); // the placeholder takes room, too
  useEffect(() => inTab.set(draftKey(chatId), text || null), [text, chatId]);

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
        placeholder={placeholder}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={press}
      />
      <div className="row end">
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
        {steers && text.trim() && (
          <button type="button" title="Put it into the running answer (Ctrl+Enter)" onClick={() => say(act.steer)}>
            Steer
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
