// JSON that may be cut off anywhere: what a streamed tool input is worth so far.

type State =
  | "finish" | "string" | "key" | "escape" | "unicode" | "number" | "literal"
  | "object-start" | "object-comma" | "object-colon" | "object-value" | "object-end"
  | "array-start" | "array-comma" | "array-end";

const LITERALS = ["true", "false", "null"];

/** The value of the text so far; undefined when it cannot be read. */
export function parsePartialJson(text: string): unknown {
  for (const candidate of [() => text, () => closeJson(text)]) {
    try {
      return guarded(JSON.parse(candidate()) as unknown);
    } catch {
      // cut off, or no JSON at all
    }
  }
  return undefined;
}

/** Keys that would reach a prototype make a value unreadable, wherever they stand. */
function guarded(value: unknown): unknown {
  const rest: unknown[] = [value];
  for (let node = rest.pop(); rest.length || node !== undefined; node = rest.pop()) {
    if (node === null || typeof node !== "object") continue;
    const { constructor: made } = node as { constructor: unknown };
    const isForbidden =
      Object.hasOwn(node, "__proto__") ||
      (Object.hasOwn(node, "constructor") && typeof made === "object" && made !== null && Object.hasOwn(made, "prototype"));
    if (isForbidden) throw new SyntaxError("a key that reaches a prototype is not allowed");
    rest.push(...Object.values(node as object).filter((one) => one !== undefined));
  }
  return value;
}

/** Cut the text after the last place where it was valid, and close what is open. One scan. */
export function closeJson(text: string): string {
  const stack: State[] = [];
  let valid = 0;
  let literalAt = 0;
  let digits = 0;
  let isRoot = true;

  const value = (char: string, at: number, then: State): boolean => {
    let state: State;
    if (char === '"') state = "string";
    else if ("ftn".includes(char)) [state, literalAt] = ["literal", at];
    else if (/[0-9-]/.test(char)) state = "number";
    else if (char === "{") state = "object-start";
    else if (char === "[") state = "array-start";
    else return false;
    if (char !== "-") valid = at + 1; // a minus alone is no value yet
    if (isRoot) isRoot = false;
    else stack.pop();
    stack.push(then, state);
    return true;
  };
  const pop = (at: number): void => {
    stack.pop();
    valid = at + 1;
  };
  /** Let the character that ended a number or a literal act on what the value stands in. */
  const after = (char: string, at: number): void => {
    const state = stack.at(-1);
    if (state === "object-end" && char === ",") swap("object-comma");
    else if (state === "array-end" && char === ",") swap("array-comma");
    else if ((state === "object-end" && char === "}") || (state === "array-end" && char === "]")) pop(at);
  };
  const swap = (state: State): void => {
    stack[stack.length - 1] = state;
  };

  for (let at = 0; at < text.length; at++) {
    const char = text[at] as string;
    const state = stack.at(-1);
    switch (state) {
      case undefined:
        if (isRoot) value(char, at, "finish");
        break;
      case "finish":
        at = text.length;
        break;
      case "object-start":
        if (char === '"') swap("key");
        else if (char === "}") pop(at);
        break;
      case "object-comma":
        if (char === '"') swap("key");
        break;
      case "key":
        if (char === '"') swap("object-colon");
        break;
      case "object-colon":
        if (char === ":") swap("object-value");
        break;
      case "object-value":
        value(char, at, "object-end");
        break;
      case "object-end":
        after(char, at);
        break;
      case "array-start":
        if (char === "]") pop(at);
        else value(char, at, "array-end");
        break;
      case "array-comma":
        value(char, at, "array-end");
        break;
      case "array-end":
        if (",]".includes(char)) after(char, at);
        else valid = at + 1;
        break;
      case "string":
        if (char === '"') pop(at);
        else if (char === "\\") stack.push("escape");
        else valid = at + 1;
        break;
      case "escape":
        if (char === "u") [digits] = [0, swap("unicode")];
        else pop(at);
        break;
      case "unicode":
        if (/[0-9a-f]/i.test(char) && ++digits === 4) pop(at);
        break;
      case "number":
        if (/[0-9]/.test(char)) valid = at + 1;
        else if (!"eE-.".includes(char)) {
          stack.pop();
          after(char, at);
        }
        break;
      case "literal": {
        const begun = text.slice(literalAt, at + 1);
        if (LITERALS.some((word) => word.startsWith(begun))) valid = at + 1;
        else {
          stack.pop();
          after(char, at);
        }
      }
    }
  }
  const begun = text.slice(literalAt);
  const ends = [...stack].reverse().map((state) => {
    if (state === "string") return '"';
    if (state === "literal") return LITERALS.find((word) => word.startsWith(begun))?.slice(begun.length) ?? "";
    if (state === "key" || state.startsWith("object")) return "}";
    return state.startsWith("array") ? "]" : "";
  });
  return text.slice(0, valid) + ends.join("");
}
