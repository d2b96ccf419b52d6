// A question of the agent to the person: a tool that the page answers.

import { type FormEvent, useId, useState } from "react";
import { type ToolPart, toolName } from "../messages";
import { Facts } from "./ApprovalCard";

interface Props {
  part: ToolPart & { state: "input-available" };
  disabled: boolean;
  onAnswer: (output: string) => void;
}

export function QuestionCard({ part, disabled, onAnswer }: Props) {
  const title = useId();
  const [text, setText] = useState("");
  const { question, options } = (part.input ?? {}) as { question?: unknown; options?: unknown };
  const choices = Array.isArray(options) ? options.map(String) : [];
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (text.trim()) onAnswer(text.trim());
  };
  return (
    <section className="card question" aria-labelledby={title}>
      <h3 id={title}>{typeof question === "string" ? question : `${toolName(part)} asks you`}</h3>
      {typeof question !== "string" && <Facts input={part.input} />}
      {choices.length > 0 && (
        <div className="row">
          {choices.map((choice) => (
            <button key={choice} type="button" disabled={disabled} onClick={() => onAnswer(choice)}>
              {choice}
            </button>
          ))}
        </div>
      )}
      <form className="row" onSubmit={submit}>
        <input
          type="text"
          autoComplete="off"
          aria-label={choices.length ? "Another answer" : "Your answer"}
          placeholder={choices.length ? "Another answer" : "Your answer"}
          disabled={disabled}
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <button type="submit" className="primary" disabled={disabled || !text.trim()}>
          Answer
        </button>
      </form>
    </section>
  );
}

type Answered = ToolPart & { state: "output-available"; input: { question: string }; output: string };

/** Whether a call was a question that has its answer. */
export function isAnswered(part: ToolPart): part is Answered {
  if (part.state !== "output-available" || typeof part.output !== "string") return false;
  return typeof (part.input as { question?: unknown } | null)?.question === "string";
}

export function AnsweredQuestion({ part }: { part: Answered }) {
  return (
    <p className="answered">
      <span>{part.input.question}</span> <b>{part.output}</b>
    </p>
  );
}
