// Asks the person whether a call may be made, and with what.

import { useId } from "react";
import { type ToolPart, toolName } from "../messages";

const shown = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));

export function Facts({ input }: { input: unknown }) {
  if (input === null || typeof input !== "object" || Array.isArray(input)) return <p>{shown(input)}</p>;
  return (
    <dl>
      {Object.entries(input).map(([name, value]) => (
        <div key={name}>
          <dt>{name.replaceAll("_", " ")}</dt>
          <dd>{shown(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

interface Props {
  part: ToolPart & { state: "approval-requested" };
  disabled: boolean;
  onAnswer: (approved: boolean) => void;
}

export function ApprovalCard({ part, disabled, onAnswer }: Props) {
  const title = useId();
  return (
    <section className="card approval" aria-labelledby={title}>
      <h3 id={title}>
        May I <b>{toolName(part).replaceAll("_", " ")}</b>?
      </h3>
      <Facts input={part.input} />
      <div className="row">
        <button type="button" className="primary" disabled={disabled} onClick={() => onAnswer(true)}>
          Approve
        </button>
        <button type="button" disabled={disabled} onClick={() => onAnswer(false)}>
          Deny
        </button>
      </div>
    </section>
  );
}
