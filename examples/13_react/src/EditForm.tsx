// Says something differently: a message in the history, or one that still waits.

import { type KeyboardEvent, type SubmitEvent, useEffect, useRef, useState } from "react";

interface Props {
  initial: string;
  label: string;
  action: string;
  onSave: (text: string) => void;
  onCancel: () => void;
}

export function EditForm({ initial, label, action, onSave, onCancel }: Props) {
  const [text, setText] = useState(initial);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(initial.length, initial.length);
  }, [initial]);
  const submit = (event?: SubmitEvent) => {
    event?.preventDefault();
    if (text.trim()) onSave(text.trim());
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Escape") {
      event.stopPropagation(); // the answer goes on
      onCancel();
    } else if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      submit();
    }
  };
  return (
    <form className="edit" onSubmit={submit} onKeyDown={press}>
      <textarea ref={field} aria-label={label} rows={3} value={text} onChange={(event) => setText(event.target.value)} />
      <div className="row end">
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" className="primary" disabled={!text.trim()}>
          {action}
        </button>
      </div>
    </form>
  );
}
