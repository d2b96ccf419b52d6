// A tool call: what is called, how it stands, and, opened, what went in and came out.

import { type ToolPart, toolName, waitsForPerson } from "../messages";

const STATES: Record<ToolPart["state"], string> = {
  "input-streaming": "preparing",
  "input-available": "running",
  "approval-requested": "needs your approval",
  "approval-responded": "answered",
  "output-available": "done",
  "output-error": "failed",
  "output-denied": "denied",
};

function Value({ label, value }: { label: string; value: unknown }) {
  return (
    <div className="value">
      <span>{label}</span>
      <pre tabIndex={0}>{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>
    </div>
  );
}

function stateOf(part: ToolPart, live: boolean): string {
  if (part.state === "input-streaming" && !live) return "interrupted";
  if (waitsForPerson(part, live)) return "not answered";
  if (part.state === "approval-responded") return part.approval.approved ? "approved" : "denied";
  return STATES[part.state];
}

export function ToolCard({ part, live }: { part: ToolPart; live: boolean }) {
  const state = stateOf(part, live);
  const busy = live && (part.state === "input-streaming" || part.state === "input-available");
  return (
    <details className="tool" data-state={part.state} data-tool={toolName(part)}>
      <summary>
        <span className="tool-name">{toolName(part)}</span>
        <span className="state">
          {busy && <span className="spinner" aria-hidden="true" />}
          {state}
        </span>
      </summary>
      {part.input !== undefined && <Value label="Input" value={part.input} />}
      {part.state === "output-available" && <Value label="Output" value={part.output} />}
      {part.state === "output-error" && <Value label="Error" value={part.errorText} />}
    </details>
  );
}
