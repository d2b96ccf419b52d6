// Tells screen readers that an answer begins, and then the whole answer: not every word of the stream.

import { useEffect, useRef, useState } from "react";
import { type Message, isTool, textOf, waitsForPerson } from "./messages";

function news(message: Message | undefined): string {
  if (message?.role !== "assistant") return "";
  const waits = message.parts.filter((part) => isTool(part) && waitsForPerson(part, false)).length > 0;
  return `${textOf(message)}${waits ? " The guide waits for your answer." : ""}`.trim();
}

export function Announcer({ busy, last }: { busy: boolean; last: Message | undefined }) {
  const [said, setSaid] = useState("");
  const was = useRef(busy);
  useEffect(() => {
    if (busy === was.current) return;
    was.current = busy;
    setSaid(busy ? "The guide is answering" : news(last));
  }, [busy, last]);
  return (
    <p className="hidden" aria-live="polite" data-testid="announcer">
      {said}
    </p>
  );
}
