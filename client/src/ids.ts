// Fresh ids for messages and inputs.

/** `prefix_` and 96 random bits; `crypto.randomUUID` is missing on pages that are neither https nor localhost. */
export function newId(prefix: string): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(12));
  return `${prefix}_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
