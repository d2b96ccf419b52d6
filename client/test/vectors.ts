// What the real AI SDK was seen to do, as the Python tests have it: one JSON value a line.

import { readFileSync } from "node:fs";

const VECTORS = new URL("../../tests/conformance/vectors/", import.meta.url);

/** The cases of a set. */
export function vectors<T extends { name: string }>(name: string): T[] {
  const text = readFileSync(new URL(`${name}.jsonl`, VECTORS), "utf-8");
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line) as T);
}
