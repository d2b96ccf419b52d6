// The way to the server: one transport for the page, and how its connections stand.

import { type ClientEvent, ChatrtTransport } from "@chatrt/client";
import { useCallback, useSyncExternalStore } from "react";
import type { Action, Message } from "./messages";
import { arrived } from "./unsent";

/** Ask for a session token; without a secret key the server needs none and gives none. */
async function token({ chatId }: { chatId: string }): Promise<string> {
  const response = await fetch(`/token?${new URLSearchParams({ chatId })}`, { method: "POST" });
  if (!response.ok) throw new TypeError(`The server gave no token (${response.status}).`); // the transport tries again
  const { token = "" } = (await response.json()) as { token?: string };
  return token;
}

class GuideTransport extends ChatrtTransport<Message, Action> {
  /** Resolves once the server has the message. */
  override async sendMessages(options: Parameters<ChatrtTransport<Message, Action>["sendMessages"]>[0]) {
    const stream = await super.sendMessages(options);
    arrived(options.chatId, options.messages.at(-1)?.id);
    return stream;
  }
}

export const transport = new GuideTransport({
  baseUrl: "",
  agent: "guide",
  aiSdk: 7,
  tabs: true,
  token,
  onEvent: hear,
});

/** `idle`: there is nothing to follow yet. `closed`: the chat takes no more messages. */
export type Link = "idle" | "connecting" | "live" | "reconnecting" | "offline" | "closed";

const links = new Map<string, Link>();
const listeners = new Set<() => void>();

function hear(event: ClientEvent) {
  if (event.type === "connected") set(event.chatId, "live");
  else if (event.type === "disconnected") set(event.chatId, "reconnecting");
  else if (event.type === "closed") set(event.chatId, "closed");
}

function set(chatId: string, link: Link) {
  const now = links.get(chatId);
  if (now === link || now === "closed") return; // what is closed can still be read, and stays closed
  links.set(chatId, link);
  for (const listener of listeners) listener();
}

export function useLink(chatId: string): Link {
  const subscribe = useCallback((listener: () => void) => {
    listeners.add(listener);
    window.addEventListener("online", listener);
    window.addEventListener("offline", listener);
    return () => {
      listeners.delete(listener);
      window.removeEventListener("online", listener);
      window.removeEventListener("offline", listener);
    };
  }, []);
  return useSyncExternalStore(subscribe, () => (navigator.onLine ? (links.get(chatId) ?? "idle") : "offline"));
}
