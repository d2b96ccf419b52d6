// The chats of this browser: ids and titles, kept here only. All tabs share the list; the address says which is shown.

import { useSyncExternalStore } from "react";
import { inBrowser } from "./storage";

export interface ChatEntry {
  id: string;
  title: string;
}

const KEY = "guide.chats";
const KEPT = 50;

let text: string | null = null;
let entries: readonly ChatEntry[] = [];
const listeners = new Set<() => void>();

function read(): readonly ChatEntry[] {
  const now = inBrowser.get(KEY);
  if (now !== text) {
    text = now;
    entries = parse(now);
  }
  return entries;
}

function parse(value: string | null): ChatEntry[] {
  try {
    const found: unknown = JSON.parse(value ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one?.id === "string" && typeof one?.title === "string") : [];
  } catch {
    return [];
  }
}

function write(next: readonly ChatEntry[]) {
  inBrowser.set(KEY, JSON.stringify(next.slice(0, KEPT)));
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  window.addEventListener("storage", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", listener);
  };
}

export const useChats = () => useSyncExternalStore(subscribe, read);

/** Put a chat on top of the list, or give it another title. */
export function remember(id: string, title: string) {
  write([{ id, title: title.slice(0, 80) }, ...read().filter((entry) => entry.id !== id)]);
}

/** Take a chat from the list; on the server it stays. */
export function forget(id: string) {
  write(read().filter((entry) => entry.id !== id));
}

// --- which one is shown

/** Whoever has the id may read the chat, so it is one that nobody guesses. */
const newChatId = () => crypto.randomUUID();

const chatOf = (search: string) => new URLSearchParams(search).get("chat");

function current(): string {
  const known = chatOf(location.search);
  if (known) return known;
  const id = newChatId();
  history.replaceState(null, "", `?chat=${id}`);
  return id;
}

function subscribeToAddress(listener: () => void) {
  window.addEventListener("popstate", listener);
  return () => window.removeEventListener("popstate", listener);
}

export const useCurrentChat = () => useSyncExternalStore(subscribeToAddress, current);

export const addressOf = (id: string) => `?${new URLSearchParams({ chat: id })}`;

/** Show another chat; without an id, a new one. */
export function show(id: string = newChatId()) {
  history.pushState(null, "", addressOf(id));
  window.dispatchEvent(new PopStateEvent("popstate"));
}
