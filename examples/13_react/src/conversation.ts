// One chat as the page draws it: `useChat` over the transport, in step with other tabs, and what a person can do.

import { useChat } from "@ai-sdk/react";
import { ChatrtError, type ChatState } from "@chatrt/client";
import { useActions, useBranches, useFollow } from "@chatrt/client/react";
import { lastAssistantMessageIsCompleteWithApprovalResponses, lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import { useEffect, useMemo, useRef, useState } from "react";
import { type Action, type Message, said } from "./messages";
import { type Link, transport, useLink } from "./transport";
import { sending } from "./unsent";
import { type Waiting, useWaiting } from "./waiting";

export interface Act {
  /** Say something: now, or, while an answer is made, next. */
  send: (text: string) => void;
  /** Say something that goes into the answer that is being made. */
  steer: (text: string) => void;
  stop: () => void;
  edit: (messageId: string, text: string) => void;
  regenerate: (messageId?: string) => void;
  undo: () => void;
  rollback: (messageId: string) => void;
  switchTo: (name: string) => void;
  approve: (approvalId: string, approved: boolean) => void;
  answer: (tool: string, toolCallId: string, output: string) => void;
  editPending: (entry: Waiting, text: string) => void;
  withdraw: (entry: Waiting) => void;
  /** Try again what failed. */
  retry: () => void;
}

export interface Conversation {
  messages: Message[];
  /** Whether an answer is being made, or was asked for. */
  busy: boolean;
  /** Whether the history may be changed: nothing runs or waits, and no other tab is asking. */
  free: boolean;
  /** Whether another tab is asking. */
  elsewhere: boolean;
  /** The answer that is being made, once there is something of it. */
  liveId: string | null;
  waiting: Waiting[];
  link: Link;
  versions: Record<string, string[]>;
  /** How answers ended that were cut short. */
  endings: ReadonlyMap<string, string>;
  /** What went wrong last; `retry`: whether it can be tried again as it was. */
  problem: { text: string; retry: boolean } | null;
  act: Act;
}

const ENDINGS: Record<string, string> = { stopped: "Stopped", interrupted: "Interrupted: the server went away" };

/** Load a chat for the first paint; goes on trying while the server cannot be reached. */
export function useInitial(chatId: string) {
  const [loaded, setLoaded] = useState<ChatState<Message> | null>(null);
  const [refused, setRefused] = useState<string | null>(null);
  useEffect(() => {
    let left = false;
    const load = async (): Promise<void> => {
      try {
        const state = await transport.load(chatId);
        if (!left) setLoaded(state);
      } catch (error) {
        if (left) return;
        if (ChatrtError.isInstance(error) && error.retryable) return load();
        setRefused(explain(error as Error));
      }
    };
    void load();
    return () => {
      left = true;
    };
  }, [chatId]);
  return { loaded, refused };
}

export function useConversation(chatId: string, initial: ChatState<Message>): Conversation {
  const [failure, setFailure] = useState<string | null>(null);
  const { waiting, say, takeBack, change } = useWaiting(chatId);
  const chat = useChat<Message>({
    id: chatId,
    transport,
    messages: initial.messages,
    resume: true,
    throttle: 40,
    sendAutomaticallyWhen: (options) =>
      lastAssistantMessageIsCompleteWithToolCalls(options) ||
      lastAssistantMessageIsCompleteWithApprovalResponses(options),
  });
  const { canSend } = useFollow({ transport, chat });
  const { send: sendAction } = useActions<Message, Action>({ transport, chat });
  const { branches, switchTo } = useBranches<Message>({ transport, chat });
  const endings = useEndings(chatId);
  const link = useLink(chatId);

  const busy = chat.status === "submitted" || chat.status === "streaming";
  const again = useRef(false); // whether another answer was asked for last, and nothing was said
  const now = useRef({ chat, busy, canSend });
  now.current = { chat, busy, canSend };

  const act = useMemo<Act>(() => {
    /** Do something that may be refused; the person is told, and what was told before is over. */
    const attempt = (doing: () => Promise<unknown>) => {
      setFailure(null);
      again.current = false;
      doing().catch((error: Error) => setFailure(explain(error)));
    };
    return {
      send: (text) => {
        if (now.current.busy || !now.current.canSend) attempt(() => say(text, "wait"));
        else {
          const message = said(text);
          sending(chatId, message);
          attempt(() => now.current.chat.sendMessage(message));
        }
      },
      steer: (text) => attempt(() => say(text, "steer")),
      stop: () => {
        if (now.current.busy) attempt(() => now.current.chat.stop());
      },
      edit: (messageId, text) => attempt(() => now.current.chat.sendMessage({ text, messageId })),
      regenerate: (messageId) => {
        attempt(() => now.current.chat.regenerate(messageId ? { messageId } : {}));
        again.current = true;
      },
      undo: () => attempt(() => sendAction({ type: "undo" })),
      rollback: (messageId) => attempt(() => sendAction({ type: "rollback", messageId })),
      switchTo: (name) => attempt(() => switchTo(name)),
      approve: (id, approved) =>
        attempt(async () => now.current.chat.addToolApprovalResponse({ id, approved })),
      answer: (tool, toolCallId, output) =>
        attempt(async () => now.current.chat.addToolOutput({ tool: tool as never, toolCallId, output: output as never })),
      editPending: (entry, text) => attempt(() => change(entry, text)),
      withdraw: (entry) => attempt(() => takeBack(entry)),
      retry: () => {
        const { error, regenerate, sendMessage } = now.current.chat;
        // What never reached the server is sent again as it is; what failed there is answered anew.
        const unsent = ChatrtError.isInstance(error) && !again.current;
        attempt(() => (unsent ? sendMessage() : regenerate()));
        again.current = !unsent;
      },
    };
  }, [chatId, say, takeBack, change, sendAction, switchTo]);

  const last = chat.messages.at(-1);
  const shown = new Set(chat.messages.map((message) => message.id));
  const stillWaiting = waiting.filter(({ message }) => !shown.has(message.id));
  return {
    messages: chat.messages,
    busy,
    free: !busy && canSend && stillWaiting.length === 0 && link !== "closed",
    elsewhere: !canSend,
    liveId: busy && last?.role === "assistant" ? last.id : null,
    waiting: stillWaiting,
    link,
    versions: branches,
    endings,
    problem: failure !== null ? { text: failure, retry: false } : chat.error ? { text: explain(chat.error), retry: true } : null,
    act,
  };
}

/** Remember how answers ended while the page was open: the messages themselves do not say it. */
function useEndings(chatId: string): ReadonlyMap<string, string> {
  const [endings, setEndings] = useState<ReadonlyMap<string, string>>(new Map());
  useEffect(
    () =>
      transport.watch(chatId, (record) => {
        if (record.kind !== "turn-complete") return;
        const { messageId, status } = record.body;
        const ending = ENDINGS[status];
        if (messageId && ending) setEndings((all) => new Map(all).set(messageId, ending));
      }),
    [chatId],
  );
  return endings;
}

function explain(error: Error): string {
  if (!ChatrtError.isInstance(error)) return error.message;
  if (error.code === "server-unavailable") return "The server cannot be reached.";
  if (error.code === "session-closed") return "This chat is closed.";
  return error.message;
}
