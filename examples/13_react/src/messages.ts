// What a message of this agent may hold, and questions one asks of messages.

import { type UIMessage, generateId, getToolName, isToolUIPart } from "ai";

/** What the person said while the answer was made, at the place where the model got to read it. */
export type Injected = { messageIds: string[]; messages: { id: string; text: string }[] };

export type Message = UIMessage<unknown, { "pending-message-injected": Injected }>;
export type Part = Message["parts"][number];
export type ToolPart = Extract<Part, { toolCallId: string }>;

export type Action = { type: "undo" } | { type: "rollback"; messageId: string };

export const isTool = (part: Part): part is ToolPart => isToolUIPart(part);
export const toolName = (part: ToolPart) => getToolName(part);

/** Make a message of the person. */
export function said(text: string, id: string = generateId()): Message & { role: "user" } {
  return { id, role: "user", parts: [{ type: "text", text }] };
}

/** The text of a message, as for copying and editing. */
export function textOf(message: Message): string {
  return message.parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n\n");
}

/** Whether a call waits for the person: for an approval, or, once the answer has come to its end, for a result. */
export function waitsForPerson(part: Part, live: boolean): boolean {
  if (!isTool(part)) return false;
  return part.state === "approval-requested" || (part.state === "input-available" && !live);
}
