// What a model writes, as elements. Text only ever becomes text: HTML is shown as it was written, never interpreted.

import { type MarkedToken, type Token, lexer } from "marked";
import { Fragment, type ReactNode, memo, useMemo } from "react";
import { CopyButton } from "./CopyButton";

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©" };

function decoded(text: string): string {
  return text.replace(/&(#x?[\da-f]{1,6}|[a-z]+);/gi, (whole, name: string) => {
    if (!name.startsWith("#")) return ENTITIES[name.toLowerCase()] ?? whole;
    const hex = name[1] === "x" || name[1] === "X";
    const code = Number.parseInt(name.slice(hex ? 2 : 1), hex ? 16 : 10);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/** A link that leaves the page, or only its text when the address is none for the web. */
export function SafeLink({ href, children }: { href: string; children: ReactNode }) {
  const url = URL.canParse(href) ? new URL(href) : null;
  if (!url || !["http:", "https:", "mailto:"].includes(url.protocol)) return <>{children}</>;
  return (
    <a href={url.href} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}

function CodeBlock({ text, language }: { text: string; language: string }) {
  return (
    <figure className="code">
      <figcaption>
        <span>{language || "text"}</span>
        <CopyButton text={text} />
      </figcaption>
      {/* Scrolls sideways, so the keyboard has to get there. */}
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </figure>
  );
}

function nodes(tokens: Token[] | undefined): ReactNode[] {
  return (tokens ?? []).map((token, index) => <Fragment key={index}>{node(token as MarkedToken)}</Fragment>);
}

function node(token: MarkedToken): ReactNode {
  switch (token.type) {
    case "text":
      return token.tokens ? nodes(token.tokens) : decoded(token.text);
    case "escape":
      return token.text;
    case "strong":
      return <strong>{nodes(token.tokens)}</strong>;
    case "em":
      return <em>{nodes(token.tokens)}</em>;
    case "del":
      return <del>{nodes(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <SafeLink href={token.href}>{nodes(token.tokens)}</SafeLink>;
    case "image": // from elsewhere: loading it would tell others what is read here
      return <SafeLink href={token.href}>{token.text || "picture"}</SafeLink>;
    case "paragraph":
      return <p>{nodes(token.tokens)}</p>;
    case "heading": {
      const Tag = token.depth <= 2 ? "h3" : "h4";
      return <Tag>{nodes(token.tokens)}</Tag>;
    }
    case "blockquote":
      return <blockquote>{nodes(token.tokens)}</blockquote>;
    case "hr":
      return <hr />;
    case "code":
      return <CodeBlock text={token.text} language={/^\S*/.exec(token.lang ?? "")?.[0] ?? ""} />;
    case "list": {
      const items = token.items.map((item, index) => (
        <li key={index} className={item.task ? "task" : undefined}>
          {nodes(item.tokens)}
        </li>
      ));
      return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
    }
    case "checkbox":
      return <input type="checkbox" checked={token.checked} disabled aria-label={token.checked ? "done" : "open"} />;
    case "table":
      return (
        <div className="table" tabIndex={0} role="group" aria-label="Table">
          <table>
            <thead>
              <tr>
                {token.header.map((cell, index) => (
                  <th key={index} className={cell.align ?? undefined}>
                    {nodes(cell.tokens)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {token.rows.map((row, at) => (
                <tr key={at}>
                  {row.map((cell, index) => (
                    <td key={index} className={cell.align ?? undefined}>
                      {nodes(cell.tokens)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
    case "html":
      return token.block ? <p>{token.raw.trim()}</p> : token.raw;
    case "space":
    case "def":
      return null;
    default:
      return token.raw;
  }
}

/** One block; while an answer streams only the last one changes, so only that one is drawn again. */
const Block = memo(
  ({ token }: { token: Token }) => <>{node(token as MarkedToken)}</>,
  (before, after) => before.token.raw === after.token.raw,
);

export const Markdown = memo(({ text }: { text: string }) => {
  const tokens = useMemo(() => lexer(text), [text]);
  return (
    <div className="markdown">
      {tokens.map((token, index) => (
        <Block key={index} token={token} />
      ))}
    </div>
  );
});
