// The chats of this browser, a way to begin another one, and the theme.

import type { MouseEvent } from "react";
import { ThemeChoice } from "./Theme";
import { addressOf, forget, show, useChats } from "./chats";

interface Props {
  current: string;
  open: boolean;
  onClose: () => void;
}

export function Sidebar({ current, open, onClose }: Props) {
  const chats = useChats();
  const go = (event: MouseEvent, id?: string) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return; // a tab of its own
    event.preventDefault();
    show(id);
    onClose();
  };
  return (
    <>
      <aside id="sidebar" className="sidebar" aria-label="Chats" data-open={open || undefined}>
        <p className="brand">
          <img src="/icon.svg" alt="" width="28" height="28" /> Travel guide
        </p>
        <a className="button new-chat" href="?" onClick={(event) => go(event)}>
          <span aria-hidden="true">+</span> New chat
        </a>
        <nav aria-label="Recent chats">
          {chats.length === 0 && <p className="quiet">Your chats will be listed here.</p>}
          <ul className="chats">
            {chats.map((chat) => (
              <li key={chat.id}>
                <a
                  href={addressOf(chat.id)}
                  aria-current={chat.id === current ? "page" : undefined}
                  onClick={(event) => go(event, chat.id)}
                >
                  {chat.title}
                </a>
                <button
                  type="button"
                  className="ghost"
                  aria-label={`Remove “${chat.title}” from the list`}
                  title="Remove from the list"
                  onClick={() => {
                    forget(chat.id);
                    if (chat.id === current) show();
                  }}
                >
                  ×
                </button>
              </li>
            ))}
          </ul>
        </nav>
        <ThemeChoice />
      </aside>
      {open && <div className="scrim" onClick={onClose} />}
    </>
  );
}
