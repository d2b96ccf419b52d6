// The public names of `@chatrt/client/server`: conversations with agents from Node.js, Bun, Deno and workers.

export { AgentChat, type AgentChatOptions, type SendMessageOptions } from "./agent-chat.js";
export { ChatStream } from "./chat-stream.js";
export { pendingToolCalls, type ChatResult, type ToolCall, type ToolResult } from "./result.js";
export { ChatrtError, TurnFailedError, type ClientErrorCode } from "../errors.js";
export type {
  AgentTypes,
  ChatState,
  ClientEvent,
  HeadersOption,
  JsonObject,
  PendingMessage,
  Token,
  TurnError,
  TurnStatus,
  WireChunk,
  WireMessage,
  WirePart,
} from "../types.js";
