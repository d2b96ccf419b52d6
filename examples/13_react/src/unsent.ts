// What was said and is not known to have arrived: after a reload it is offered again instead of being lost.

import type { ChatState } from "@chatrt/client";
import { type Message, textOf } from "./messages";
import { inTab } from "./storage";

const key = (chatId: string) => `guide.unsent.${chatId}`;

function read(chatId: string): Message[] {
  try {
    return JSON.parse(inTab.get(key(chatId)) ?? "[]") as Message[];
  } catch {
    return [];
  }
}

function write(chatId: string, messages: Message[]) {
  inTab.set(key(chatId), messages.length ? JSON.stringify(messages) : null);
}

/** A message is on its way. */
export function sending(chatId: string, message: Message) {
  write(chatId, [...read(chatId).filter((one) => one.id !== message.id), message]);
}

/** It has arrived, or is not wanted any more. */
export function arrived(chatId: string, messageId: string | undefined) {
  if (read(chatId).some((one) => one.id === messageId)) write(chatId, read(chatId).filter((one) => one.id !== messageId));
}

/** The texts that never arrived, as far as the server knows. */
export function unsentTexts(chatId: string, { messages, pending }: ChatState<Message>): string[] {
  const known = new Set([...messages, ...pending.map((one) => one.message)].map((one) => one.id));
  return read(chatId)
    .filter((one) => !known.has(one.id))
    .map(textOf);
}

export function forgetUnsent(chatId: string) {
  write(chatId, []);
}
