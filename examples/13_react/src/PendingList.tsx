// What was said while an answer is made and waits: it can be changed and taken back.

import { useState } from "react";
import { EditForm } from "./EditForm";
import type { Act } from "./conversation";
import { textOf } from "./messages";
import type { Waiting } from "./waiting";

const NOTES: Record<Waiting["state"], string> = {
  sending: "Sending…",
  waiting: "Waits for its turn",
  steering: "Goes into the answer at its next step",
  refused: "Not accepted",
};

interface Props {
  waiting: readonly Waiting[];
  act: Act;
  editing: string | null;
  onEdit: (messageId: string | null) => void;
}

export function PendingList({ waiting, act, editing, onEdit }: Props) {
  if (!waiting.length) return null;
  return (
    <section className="pending" aria-label="Waiting messages">
      <ol>
        {waiting.map((entry) => (
          <PendingRow
            key={entry.message.id}
            entry={entry}
            act={act}
            editing={editing === entry.message.id}
            onEdit={onEdit}
          />
        ))}
      </ol>
    </section>
  );
}

interface RowProps {
  entry: Waiting;
  act: Act;
  editing: boolean;
  onEdit: (messageId: string | null) => void;
}

function PendingRow({ entry, act, editing, onEdit }: RowProps) {
  const [gone, setGone] = useState(false); // until the server says so, too
  const { message, state } = entry;
  if (editing) {
    return (
      <li>
        <EditForm
          initial={textOf(message)}
          label="Edit the waiting message"
          action="Save"
          onCancel={() => onEdit(null)}
          onSave={(text) => {
            onEdit(null);
            act.editPending(entry, text);
          }}
        />
      </li>
    );
  }
  const settled = state === "waiting" || state === "steering";
  return (
    <li data-state={state} data-gone={gone || undefined}>
      <p className="said">{textOf(message)}</p>
      <div className="footer">
        <span className={state === "refused" ? "note problem" : "note"}>{entry.reason ?? NOTES[state]}</span>
        {settled && (
          <button type="button" className="ghost" disabled={gone} onClick={() => onEdit(message.id)}>
            Edit
          </button>
        )}
        {state !== "sending" && (
          <button
            type="button"
            className="ghost"
            disabled={gone}
            onClick={() => {
              setGone(state !== "refused");
              act.withdraw(entry);
            }}
          >
            {state === "refused" ? "Dismiss" : "Take back"}
          </button>
        )}
      </div>
    </li>
  );
}
