// What the wire carries and what applications hand in: the shapes that the entry points share.

/** Any JSON object. */
export type JsonObject = { [key: string]: unknown };

/** A message as it stands on the wire; every `UIMessage` of the AI SDK is one. */
export type WireMessage = {
  id: string;
  role: "system" | "user" | "assistant";
  metadata?: unknown;
  parts: WirePart[];
};

/** A part of a message: its `type` says what else it has. */
export type WirePart = { type: string } & { [key: string]: any };

/** A chunk of an answer: a `UIMessageChunk` of the AI SDK. */
export type WireChunk = { type: string } & { [key: string]: any };

/**
 * What one agent takes and gives, as `chatrt types` writes it: `ChatrtTransport<Agents["support"]>`.
 *
 * action: what `sendAction` takes. clientData: what goes along with every input. tools: the types of tool parts by name.
 * data: the types of data parts by name. metadata: of messages.
 */
export type AgentTypes = {
  action?: unknown;
  clientData?: unknown;
  tools?: object;
  data?: object;
  metadata?: unknown;
};

/** How a turn ended. */
export type TurnStatus = "completed" | "stopped" | "failed" | "interrupted" | "injected" | "withdrawn";

/** The failure of a turn, as people may read it. */
export type TurnError = { code: string; message: string; id: string };

/** What a `turn-start` says: what follows answers the input `inSeq`. */
export type TurnStart = {
  inSeq: number;
  trigger: string;
  messageId: string;
  /** The message that is continued, as it stood before. */
  message?: WireMessage;
  editSeq?: number;
  headStart?: boolean;
};

/** What a `turn-complete` says: the input `inSeq` is settled. */
export type TurnComplete = {
  inSeq: number;
  trigger: string;
  status: TurnStatus;
  messageId?: string;
  finishReason?: string;
  error?: TurnError;
  /** The input is not settled: its answer begins anew. */
  willRetry?: boolean;
};

/** A record of a session's outbox. Kinds of newer servers are passed over. */
export type OutRecord =
  | { seq: number; kind: "chunk"; body: WireChunk }
  | { seq: number; kind: "turn-start"; body: TurnStart }
  | { seq: number; kind: "turn-complete"; body: TurnComplete }
  | { seq: number; kind: "upgrade"; body: { inSeq: number } }
  | { seq: number; kind: "handover"; body: { inSeq: number; messageId: string; outcome: string } }
  | { seq: number; kind: "gap"; body: { after: number; firstSeq: number } };

/** A user message that waits for its turn. */
export type PendingMessage<MESSAGE = WireMessage> = { inSeq: number; message: MESSAGE };

/** The messages of a chat, and the cursors they belong to. */
export type ChatState<MESSAGE = WireMessage> = {
  /** What is committed. The answer of a turn that runs is not among them: it shows on the stream. */
  messages: MESSAGE[];
  /** User messages that wait. */
  pending: PendingMessage<MESSAGE>[];
  /** Reading after it shows what came after these messages. */
  cursor: number;
  /** The last input that is settled. */
  inCursor: number;
  /** The newest input. */
  lastInSeq: number;
  status: "idle" | "running" | "closed";
  /** For each message that has alternatives, by its id: the names of all that stands at its place. */
  branches: Record<string, string[]>;
};

/** How an input was settled. */
export type Settled = {
  /** The number of the input. */
  seq: number;
  status: TurnStatus;
  /** The answer it led to, if there is one. */
  messageId?: string;
  finishReason?: string;
  error?: TurnError;
};

/** What happens on the way; for logs and indicators. */
export type ClientEvent =
  | { type: "sent"; chatId: string; kind: string; seq: number; repeated: boolean }
  | { type: "connected"; chatId: string; cursor: number }
  | { type: "disconnected"; chatId: string; error: Error; retryInMs: number }
  | { type: "token-refreshed"; chatId: string }
  | { type: "turn-start"; chatId: string; inSeq: number; messageId: string; own: boolean }
  | { type: "turn-complete"; chatId: string; own: boolean; settled: Settled; willRetry: boolean }
  | { type: "gap"; chatId: string; after: number; firstSeq: number }
  | { type: "closed"; chatId: string }
  | { type: "lease"; chatId: string; holder: "self" | "other" | "none" };

/** Where cursors are kept between pages. May be asynchronous; what fails is as if nothing were kept. */
export interface CursorStorage {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): void | Promise<void>;
  delete(key: string): void | Promise<void>;
}

/** A secret key or a session token, or a function that gives one and is asked again once after a 401. */
export type Token = string | ((chat: { chatId: string }) => string | Promise<string>);

/** Headers, or a function that gives them anew for each request. */
export type HeadersOption =
  | Record<string, string>
  | Headers
  | (() => Record<string, string> | Headers | Promise<Record<string, string> | Headers>);
