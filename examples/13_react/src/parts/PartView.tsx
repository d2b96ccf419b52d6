// One part of a message, by its kind; kinds that show nothing are left out.

import { Markdown, SafeLink } from "../Markdown";
import { type Part, isTool, waitsForPerson } from "../messages";
import { ApprovalCard } from "./ApprovalCard";
import { AnsweredQuestion, QuestionCard, isAnswered } from "./QuestionCard";
import { Reasoning } from "./Reasoning";
import { ToolCard } from "./ToolCard";

export interface Answers {
  approve: (approvalId: string, approved: boolean) => void;
  answer: (tool: string, toolCallId: string, output: string) => void;
}

interface Props {
  part: Part;
  live: boolean;
  /** Whether this is the newest message: what earlier ones ask is left unanswered. */
  last: boolean;
  /** Whether the person may answer what is asked now. */
  answerable: boolean;
  answers: Answers;
}

export function PartView({ part, live, last, answerable, answers }: Props) {
  if (isTool(part)) {
    if (isAnswered(part)) return <AnsweredQuestion part={part} />;
    if (!last || !waitsForPerson(part, live)) return <ToolCard part={part} live={live} />;
    if (part.state === "approval-requested") {
      const { id } = part.approval;
      return <ApprovalCard part={part} disabled={!answerable} onAnswer={(approved) => answers.approve(id, approved)} />;
    }
    if (part.state !== "input-available") return null;
    const name = part.type === "dynamic-tool" ? part.toolName : part.type.slice("tool-".length);
    const answer = (output: string) => answers.answer(name, part.toolCallId, output);
    return <QuestionCard part={part} disabled={!answerable} onAnswer={answer} />;
  }
  switch (part.type) {
    case "text":
      return part.text ? <Markdown text={part.text} /> : null;
    case "reasoning":
      return part.text ? <Reasoning text={part.text} busy={live && part.state === "streaming"} /> : null;
    case "source-url":
      return (
        <p className="source">
          <SafeLink href={part.url}>{part.title ?? part.url}</SafeLink>
        </p>
      );
    case "source-document":
      return <p className="source">{part.title}</p>;
    case "file":
      return <File url={part.url} mediaType={part.mediaType} name={part.filename} />;
    case "data-pending-message-injected":
      return (
        <ul className="added" aria-label="Added while the answer was made">
          {part.data.messages.map((message) => (
            <li key={message.id}>{message.text}</li>
          ))}
        </ul>
      );
    default:
      return null;
  }
}

function File({ url, mediaType, name }: { url: string; mediaType: string; name: string | undefined }) {
  if (mediaType.startsWith("image/") && /^(data:image\/|blob:)/.test(url)) {
    return <img className="picture" src={url} alt={name ?? "A picture from the answer"} />;
  }
  if (url.startsWith("data:")) {
    return (
      <p className="source">
        <a href={url} download={name ?? "file"}>
          {name ?? mediaType}
        </a>
      </p>
    );
  }
  return (
    <p className="source">
      <SafeLink href={url}>{name ?? mediaType}</SafeLink>
    </p>
  );
}
