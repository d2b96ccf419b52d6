// What a model thought before it spoke: open while it thinks, folded away afterwards.

import { useState } from "react";
import { Markdown } from "../Markdown";

export function Reasoning({ text, busy }: { text: string; busy: boolean }) {
  const [chosen, setChosen] = useState<boolean | null>(null);
  return (
    <details className="reasoning" open={chosen ?? busy}>
      <summary
        onClick={(event) => {
          event.preventDefault();
          setChosen(!(chosen ?? busy));
        }}
      >
        {busy ? "Thinking…" : "Thoughts"}
      </summary>
      <Markdown text={text} />
    </details>
  );
}
