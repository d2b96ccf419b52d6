// React hooks around a `ChatrtTransport`: made once per page, and in step with what happens elsewhere.

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { ChatrtTransport, type ActionOf, type ChatrtTransportOptions, type ClientDataOf, type MessageOf, type Said } from "../transport.js";
import type { ChatState, PendingMessage, Settled } from "../types.js";
import { Follower, type ChatLike } from "./follow.js";
import { stateStore, type AnyTransport, type Loaded } from "./state.js";

export type { ChatLike } from "./follow.js";

/** A chat for a hook: the result of `useChat`, or only its id. */
export type ChatChoice = { chat: ChatLike; chatId?: never } | { chatId: string; chat?: never };

const useBrowserLayoutEffect = typeof document === "undefined" ? useEffect : useLayoutEffect;
const noSubscription = (): (() => void) => () => {};

/**
 * Make a transport for as long as the component lives.
 *
 * A new one is made when `baseUrl` or `agent` change; functions among the options may be new ones with every rendering.
 * `id` is the one that `useChat` is given: with it, going to another chat is told from a stop, as unmounting is.
 */
export function useChatrtTransport<T = unknown>(
  options: ChatrtTransportOptions<ClientDataOf<T>> & { id?: string },
): ChatrtTransport<T> {
  const latest = useRef(options);
  latest.current = options;
  const { baseUrl, agent, id } = options;
  const transport = useMemo(() => new ChatrtTransport<T>(lazily(() => latest.current)), [baseUrl, agent]);
  // Layout effects end before the effect in which useChat aborts its stream.
  useBrowserLayoutEffect(() => transport.show(id), [transport, id]);
  return transport;
}

/** Options that are looked up when they are needed. */
function lazily<C>(find: () => ChatrtTransportOptions<C>): ChatrtTransportOptions<C> {
  const first = find();
  const { token, headers, clientData } = first;
  return {
    ...first,
    ...(typeof token === "function" ? { token: (chat) => resolve(find().token, chat) as string | Promise<string> } : {}),
    ...(headers === undefined ? {} : { headers: () => resolve(find().headers, undefined) as Record<string, string> }),
    ...(clientData === undefined ? {} : { clientData: () => resolve(find().clientData, undefined) as C }),
    onEvent: (event) => find().onEvent?.(event),
    onGap: (gap) => find().onGap?.(gap),
  };
}

function resolve(value: unknown, argument: unknown): unknown {
  return typeof value === "function" ? (value as (argument: unknown) => unknown)(argument) : value;
}

function useShown(transport: AnyTransport, choice: ChatChoice): string {
  const chatId = choice.chat?.id ?? (choice.chatId as string);
  useBrowserLayoutEffect(() => transport.show(chatId), [transport, chatId]);
  return chatId;
}

function useLoaded(transport: AnyTransport, chatId: string): { loaded: Loaded; refresh: () => Promise<void> } {
  const store = stateStore(transport, chatId);
  const loaded = useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
  return { loaded, refresh: store.refresh };
}

/**
 * Keep a `useChat` in step with its session: turns that were begun in another tab, on another device, by a server, or by
 * an action are loaded and streamed into it. Returns whether this tab may send (with `tabs: true`).
 */
export function useFollow({ transport, chat }: { transport: AnyTransport; chat: ChatLike }): { canSend: boolean } {
  const chatId = useShown(transport, { chat });
  const follower = useMemo(() => new Follower(transport, chatId), [transport, chatId]);
  follower.chat = chat;
  useEffect(() => follower.start(), [follower]);
  useEffect(() => follower.look(), [follower, chat.status]);
  const subscribe = useCallback((listener: () => void) => transport.onCanSend(chatId, listener), [transport, chatId]);
  const canSend = useSyncExternalStore(
    typeof document === "undefined" ? noSubscription : subscribe,
    () => transport.canSend(chatId),
    () => true,
  );
  return { canSend };
}

/** What waits while a turn runs: list, add, steer, edit, withdraw. */
export function usePendingMessages<T = unknown>(
  options: { transport: ChatrtTransport<T, any, any> } & ChatChoice,
): {
  pending: PendingMessage<MessageOf<T>>[];
  /** Say something that waits for its turn. */
  send: (said: Said<MessageOf<T>>) => Promise<number>;
  /** Say something that is read before the next step of the running turn. */
  steer: (said: Said<MessageOf<T>>) => Promise<number>;
  edit: (inSeq: number, said: Said<MessageOf<T>>) => Promise<void>;
  withdraw: (inSeq: number) => Promise<void>;
  refresh: () => Promise<void>;
  error: Error | undefined;
} {
  const { transport } = options;
  const chatId = useShown(transport, options);
  const { loaded, refresh } = useLoaded(transport, chatId);
  const pending = (loaded.state?.pending ?? []) as PendingMessage<MessageOf<T>>[];
  const calls = useMemo(
    () => ({
      send: (said: Said<MessageOf<T>>) => transport.sendPendingMessage(chatId, said),
      steer: (said: Said<MessageOf<T>>) => transport.steer(chatId, said),
      edit: (inSeq: number, said: Said<MessageOf<T>>) => transport.editPending(chatId, inSeq, said),
      withdraw: (inSeq: number) => transport.withdraw(chatId, inSeq),
    }),
    [transport, chatId],
  );
  return { pending, ...calls, refresh, error: loaded.error };
}

/** Run something that fails visibly: whether it runs, and why it failed. */
function useCommand<A extends unknown[], R>(
  command: (...args: A) => Promise<R>,
): { run: (...args: A) => Promise<R>; isRunning: boolean; error: Error | undefined } {
  const [running, setRunning] = useState(0);
  const [error, setError] = useState<Error>();
  const run = useCallback(
    async (...args: A) => {
      setRunning((count) => count + 1);
      setError(undefined);
      try {
        return await command(...args);
      } catch (failure) {
        setError(failure as Error);
        throw failure;
      } finally {
        setRunning((count) => count - 1);
      }
    },
    [command],
  );
  return { run, isRunning: running > 0, error };
}

/** Send actions. With `chat` (the result of `useChat`) what they changed is loaded into it. */
export function useActions<T = unknown, Action = ActionOf<T>>(
  options: { transport: ChatrtTransport<T, Action, any> } & ChatChoice,
): {
  /** Send an action; resolves when it is settled, rejects when it was refused. */
  send: (action: Action) => Promise<Settled>;
  isPending: boolean;
  error: Error | undefined;
} {
  const { transport } = options;
  const chatId = useShown(transport, options);
  const latestChat = useRef<ChatLike | undefined>(undefined);
  latestChat.current = options.chat;
  const command = useCallback(
    (action: Action) => settleInto(transport, chatId, latestChat, () => transport.sendAction(chatId, action)),
    [transport, chatId],
  );
  const { run, isRunning, error } = useCommand(command);
  return { send: run, isPending: isRunning, error };
}

/** The alternatives of the messages, and the way to them. With `chat` a switch is loaded into it. */
export function useBranches<T = unknown>(
  options: { transport: ChatrtTransport<T, any, any> } & ChatChoice,
): {
  /** For each message that has alternatives, by its id: the names of all that stands at its place. */
  branches: ChatState["branches"];
  /** The names of what stands at the place of a message, in the order of their making; its own among them. */
  siblings: (messageId: string) => string[];
  switchTo: (name: string) => Promise<Settled>;
  isSwitching: boolean;
  error: Error | undefined;
} {
  const { transport } = options;
  const chatId = useShown(transport, options);
  const { loaded } = useLoaded(transport, chatId);
  const latestChat = useRef<ChatLike | undefined>(undefined);
  latestChat.current = options.chat;
  const command = useCallback(
    (name: string) => settleInto(transport, chatId, latestChat, () => transport.switchTo(chatId, name)),
    [transport, chatId],
  );
  const { run, isRunning, error } = useCommand(command);
  const branches = loaded.state?.branches ?? NO_BRANCHES;
  const siblings = useCallback((messageId: string) => branches[messageId] ?? [messageId], [branches]);
  return { branches, siblings, switchTo: run, isSwitching: isRunning, error: error ?? loaded.error };
}

const NO_BRANCHES: ChatState["branches"] = {};

/** Run a command and load what it changed into the chat, unless an answer is being streamed into it. */
async function settleInto(
  transport: AnyTransport,
  chatId: string,
  latest: { current: ChatLike | undefined },
  command: () => Promise<Settled>,
): Promise<Settled> {
  const settled = await command();
  const state = await transport.load(chatId);
  const chat = latest.current;
  if (chat && (chat.status === "ready" || chat.status === "error")) chat.setMessages(state.messages);
  return settled;
}
