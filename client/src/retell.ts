// How an answer is told from its beginning to who comes late.

export { compactChunks } from "./compact.js";
export { rebuildChunks } from "./rebuild.js";
