// What was said while an answer is made: what the server has of it, and what is on its way there.

import { usePendingMessages } from "@chatrt/client/react";
import { useCallback, useMemo, useState } from "react";
import { type Message, said } from "./messages";
import { transport } from "./transport";
import { arrived, sending } from "./unsent";

export interface Waiting {
  /** Its number on the server; none before it is there. */
  inSeq?: number;
  message: Message;
  state: "sending" | "waiting" | "steering" | "refused";
  reason?: string;
}

/** The waiting messages of a chat in their order, and what can be done with them. */
export function useWaiting(chatId: string) {
  const { pending, send, steer, edit, withdraw, refresh } = usePendingMessages<Message>({ transport, chatId });
  const [outgoing, setOutgoing] = useState<readonly Waiting[]>([]);
  const [steered, setSteered] = useState<ReadonlySet<string>>(new Set());

  const put = useCallback((entry: Waiting) => {
    setOutgoing((all) => [...all.filter((one) => one.message.id !== entry.message.id), entry]);
  }, []);
  const drop = useCallback((id: string) => setOutgoing((all) => all.filter((one) => one.message.id !== id)), []);

  const say = useCallback(
    async (text: string, how: "wait" | "steer") => {
      const message = said(text);
      put({ message, state: "sending" });
      sending(chatId, message);
      if (how === "steer") setSteered((all) => new Set(all).add(message.id));
      try {
        await (how === "steer" ? steer(message) : send(message));
        arrived(chatId, message.id);
        await refresh();
        drop(message.id);
      } catch (error) {
        put({ message, state: "refused", reason: `Not sent: ${(error as Error).message}` });
      }
    },
    [chatId, put, drop, send, steer, refresh],
  );

  const takeBack = useCallback(
    async ({ inSeq, message }: Waiting) => {
      if (inSeq !== undefined) return withdraw(inSeq);
      arrived(chatId, message.id);
      drop(message.id);
    },
    [chatId, drop, withdraw],
  );

  const change = useCallback(
    async ({ inSeq, message }: Waiting, text: string) => {
      if (inSeq === undefined) return;
      await edit(inSeq, said(text, message.id));
      await refresh();
    },
    [edit, refresh],
  );

  const waiting = useMemo<Waiting[]>(() => {
    const there = pending.map(({ inSeq, message }): Waiting => {
      return { inSeq, message, state: steered.has(message.id) ? "steering" : "waiting" };
    });
    const known = new Set(there.map((one) => one.message.id));
    return [...there, ...outgoing.filter((one) => !known.has(one.message.id))];
  }, [pending, outgoing, steered]);

  return { waiting, say, takeBack, change };
}
