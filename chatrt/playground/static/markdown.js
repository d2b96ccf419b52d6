// The little Markdown that models write, as DOM nodes: text is only ever set as text, never parsed as HTML.

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*([^*]+(?:\*(?!\*)[^*]*)*)\*\*|\*([^*\s](?:[^*]*[^*\s])?)\*|\[([^\]]+)\]\(([^()\s]+)\)|(https?:\/\/[^\s<>"')\]]+)/g;

/** Make an element with properties and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** A link that leaves the page, or just its text when the address is not one for the web. */
export function safeLink(address, text) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (!url || !["http:", "https:", "mailto:"].includes(url.protocol)) return document.createTextNode(text);
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", textContent: text });
}

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > end) nodes.push(text.slice(end, match.index));
    const [whole, , code, strong, em, label, address, bare] = match;
    if (code !== undefined) nodes.push(h("code", { textContent: code }));
    else if (strong !== undefined) nodes.push(h("strong", {}, ...inline(strong)));
    else if (em !== undefined) nodes.push(h("em", {}, ...inline(em)));
    else if (label !== undefined) nodes.push(safeLink(address, label));
    else nodes.push(safeLink(bare, bare));
    end = match.index + whole.length;
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

/** Lines of one block: a line ends a line on screen only with two blanks or a backslash at its end. */
function lines(block) {
  const rows = block.join("\n").split(/(?: {2,}|\\)\n/);
  return rows.flatMap((row, index) => (index ? [h("br"), ...inline(row)] : inline(row)));
}

function list(block, ordered) {
  const items = [];
  for (const line of block) {
    const match = /^\s*(?:[-*+]|\d+[.)])\s+(.*)$/.exec(line);
    if (match) items.push([match[1]]);
    else items.at(-1)?.push(line.trim());
  }
  return h(ordered ? "ol" : "ul", {}, ...items.map((item) => h("li", {}, ...lines(item))));
}

function code(block, language) {
  const text = block.join("\n");
  const copy = h("button", { type: "button", className: "copy", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  const head = h("div", { className: "code-head" }, h("span", { textContent: language || "code" }), copy);
  return h("figure", { className: "code" }, head, h("pre", { tabIndex: 0 }, h("code", { textContent: text })));
}

/** Split a text into blocks: `[kind, lines, detail]`. */
function blocks(text) {
  const found = [];
  let open = null;
  for (const line of text.split("\n")) {
    const fence = /^\s*```\s*(\S*)/.exec(line);
    if (open?.[0] === "code") {
      if (fence) open = null;
      else open[1].push(line);
      continue;
    }
    if (fence) found.push((open = ["code", [], fence[1]]));
    else if (line.trim() === "") open = null;
    else {
      const heading = /^(#{1,4})\s+(.*)$/.exec(line);
      const kind = heading ? "heading" : /^\s*[-*+]\s+/.test(line) ? "ul" : /^\s*\d+[.)]\s+/.test(line) ? "ol"
        : /^>\s?/.test(line) ? "quote" : "p";
      if (heading) {
        found.push(["heading", [heading[2]]]);
        open = null;
      } else if (open && (open[0] === kind || (kind === "p" && open[0] !== "quote"))) open[1].push(line);
      else found.push((open = [kind, [line]]));
    }
  }
  return found;
}

/** Return the nodes that show a text. */
export function markdown(text) {
  return blocks(text).map(([kind, block, detail]) => {
    switch (kind) {
      case "code":
        return code(block, detail);
      case "heading":
        return h("h3", {}, ...inline(block[0]));
      case "quote":
        return h("blockquote", {}, ...lines(block.map((line) => line.replace(/^>\s?/, ""))));
      case "p":
        return h("p", {}, ...lines(block));
      default:
        return list(block, kind === "ol");
    }
  });
}
