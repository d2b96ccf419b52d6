// Why the last answer failed, and the way to another one.

import type { Conversation } from "./conversation";

interface Props {
  problem: Conversation["problem"];
  free?: boolean;
  onRetry?: () => void;
}

export function Problem({ problem, free = false, onRetry }: Props) {
  if (!problem) return null;
  return (
    <div className="problem-note" role="alert">
      <span>{problem.text}</span>
      {problem.retry && (
        <button type="button" disabled={!free} onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
