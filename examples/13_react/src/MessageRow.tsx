// One message: who said it, what it holds, and what a person can do with it.

import { memo } from "react";
import { CopyButton } from "./CopyButton";
import { EditForm } from "./EditForm";
import { Versions } from "./Versions";
import type { Act } from "./conversation";
import { type Message, textOf } from "./messages";
import { PartView } from "./parts/PartView";

export interface RowProps {
  message: Message;
  /** Whether this answer is being made. */
  live: boolean;
  last: boolean;
  /** Whether the history may be changed: nothing runs, and no other tab is asking. */
  free: boolean;
  answerable: boolean;
  editing: boolean;
  versions: readonly string[];
  ending: string | undefined;
  act: Act;
  onEdit: (messageId: string | null) => void;
}

const NONE: readonly string[] = [];

function Dots() {
  return (
    <p className="dots">
      <span className="hidden">The answer is on its way</span>
      <i />
      <i />
      <i />
    </p>
  );
}

export const MessageRow = memo((props: RowProps) => {
  const { message, live, last, free, answerable, editing, versions = NONE, ending, act, onEdit } = props;
  const user = message.role === "user";
  const parts = message.parts.map((part, index) =>
    user && part.type === "text" ? (
      <p key={index} className="said">
        {part.text}
      </p>
    ) : (
      <PartView key={index} part={part} live={live} last={last} answerable={answerable} answers={act} />
    ),
  );
  const switcher = <Versions messageId={message.id} versions={versions} disabled={!free} onSwitch={act.switchTo} />;
  const speechless = !message.parts.some((part) => part.type !== "step-start");
  return (
    <li className={`message ${message.role}`} data-id={message.id} data-live={live || undefined}>
      <h2 className="hidden">{user ? "You" : "Guide"}</h2>
      {editing ? (
        <EditForm
          initial={textOf(message)}
          label="Edit the message"
          action="Send"
          onCancel={() => onEdit(null)}
          onSave={(text) => {
            onEdit(null);
            act.edit(message.id, text);
          }}
        />
      ) : (
        <div className="body">
          {parts}
          {live && speechless && <Dots />}
        </div>
      )}
      {!editing && (
        <div className="footer">
          {ending && <span className="note">{ending}</span>}
          {!live && (
            <>
              {!user && switcher}
              {!user && textOf(message) && <CopyButton text={textOf(message)} />}
              {free && !user && (
                <button type="button" className="ghost" onClick={() => act.regenerate(message.id)}>
                  Try again
                </button>
              )}
              {free && !user && !last && (
                <button
                  type="button"
                  className="ghost"
                  title="Forget everything after this answer"
                  onClick={() => act.rollback(message.id)}
                >
                  Back to here
                </button>
              )}
              {free && user && (
                <button
                  type="button"
                  className="ghost"
                  title="Say it differently; what follows is replaced"
                  onClick={() => onEdit(message.id)}
                >
                  Edit
                </button>
              )}
              {free && user && last && (
                <button type="button" className="ghost" onClick={() => act.regenerate()}>
                  Try again
                </button>
              )}
              {user && switcher}
            </>
          )}
        </div>
      )}
    </li>
  );
});
