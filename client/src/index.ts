// The public names of `@chatrt/client`.

export { ChatrtError, type ClientErrorCode } from "./errors.js";
export type { Major } from "./majors.js";
export { MemoryStorage } from "./storage.js";
export {
  ChatrtTransport,
  type ActionOf,
  type ChatrtTransportOptions,
  type ClientDataOf,
  type MessageOf,
  type Said,
} from "./transport.js";
export type {
  AgentTypes,
  ChatState,
  ClientEvent,
  CursorStorage,
  HeadersOption,
  OutRecord,
  PendingMessage,
  Settled,
  Token,
  TurnComplete,
  TurnError,
  TurnStart,
  TurnStatus,
  WireChunk,
  WireMessage,
  WirePart,
} from "./types.js";
