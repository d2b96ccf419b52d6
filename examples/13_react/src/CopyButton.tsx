// Copies a text, and says for a moment that it did.

import { useState } from "react";

export function CopyButton({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return; // forbidden, or a page without a secure address
    }
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button type="button" className="ghost" onClick={() => void copy()}>
      {copied ? "Copied" : "Copy"}
    </button>
  );
}
