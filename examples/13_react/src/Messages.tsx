// The messages of a chat in their order, and a sign of life while an answer has no words yet.

import { MessageRow } from "./MessageRow";
import type { Act, Conversation } from "./conversation";
import type { Message } from "./messages";

interface Props {
  conversation: Conversation;
  act: Act;
  editing: string | null;
  onEdit: (messageId: string | null) => void;
}

const COMING: Message = { id: "coming", role: "assistant", parts: [] };
const NONE: readonly string[] = [];

export function Messages({ conversation, act, editing, onEdit }: Props) {
  const { messages, busy, free, liveId, versions, endings } = conversation;
  const coming = busy && liveId === null && messages.at(-1)?.role === "user";
  const shown = coming ? [...messages, COMING] : messages;
  return (
    <ol className="messages" aria-label="Messages">
      {shown.map((message, index) => (
        <MessageRow
          key={message.id}
          message={message}
          live={message === COMING || message.id === liveId}
          last={index === shown.length - 1}
          free={free}
          answerable={free && index === shown.length - 1}
          editing={editing === message.id}
          versions={versions[message.id] ?? NONE}
          ending={endings.get(message.id)}
          act={act}
          onEdit={onEdit}
        />
      ))}
    </ol>
  );
}
