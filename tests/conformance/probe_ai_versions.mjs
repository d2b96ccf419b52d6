// Finds out which chunks each published version of the npm package `ai` accepts, by handing them to its real transport.
// Usage: node probe_ai_versions.mjs DIRECTORY > ai_versions.json. The versions are installed in DIRECTORY, by npm.
//
// Between two versions of a line that differ, the place where they begin to differ is looked for by halving. Written are
// the first and last version of each line and, for each change, the first version that has it and the one before; of a
// version that is like an earlier one only the name of that one.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const NEWEST = "7.0.173"; // the version whose chunks are in question
const LINES = [5, 6, 7];

const PM = { providerMetadata: { p: { k: 1 } } };
const CALL = { providerExecuted: true, ...PM, toolMetadata: { k: 1 }, dynamic: true };
const INPUT = { title: "t", ...CALL };
const CITATION = { source: { type: "source", sourceType: "url", id: "s", url: "https://e.com/" } };

// By type: what a chunk of it must have, and what it may have besides.
const CHUNKS = {
  start: [{}, { messageId: "m", messageMetadata: { k: 1 } }],
  finish: [{}, { finishReason: "stop", messageMetadata: { k: 1 } }],
  "message-metadata": [{ messageMetadata: { k: 1 } }, {}],
  abort: [{}, { reason: "r" }],
  error: [{ errorText: "e" }, {}],
  "start-step": [{}, {}],
  "finish-step": [{}, {}],
  "reset-step": [{}, {}],
  "text-start": [{ id: "b" }, PM],
  "text-delta": [{ id: "b", delta: "d" }, PM],
  "text-end": [{ id: "b" }, { citations: [CITATION], ...PM }],
  "reasoning-start": [{ id: "b" }, PM],
  "reasoning-delta": [{ id: "b", delta: "d" }, PM],
  "reasoning-end": [{ id: "b" }, PM],
  "source-url": [{ sourceId: "s", url: "https://e.com/" }, { title: "t", ...PM }],
  "source-document": [{ sourceId: "s", mediaType: "text/plain", title: "t" }, { filename: "f", ...PM }],
  file: [{ url: "data:,", mediaType: "text/plain" }, PM],
  "reasoning-file": [{ url: "data:,", mediaType: "text/plain" }, PM],
  custom: [{ kind: "a.b" }, PM],
  "tool-input-start": [{ toolCallId: "c", toolName: "n" }, { inputEncoding: "text", ...INPUT }],
  "tool-input-delta": [{ toolCallId: "c", inputTextDelta: "d" }, {}],
  "tool-input-available": [{ toolCallId: "c", toolName: "n", input: {} }, INPUT],
  "tool-input-error": [{ toolCallId: "c", toolName: "n", input: {}, errorText: "e" }, INPUT],
  "tool-approval-request": [
    { approvalId: "a", toolCallId: "c" },
    { approvalDescriptor: { k: 1 }, inputSchemaInput: { k: 1 }, reason: "r", isAutomatic: true, signature: "s" },
  ],
  "tool-approval-response": [{ approvalId: "a", approved: true }, { reason: "r", providerExecuted: true, ...PM }],
  "tool-output-available": [{ toolCallId: "c", output: 1 }, { preliminary: true, ...CALL }],
  "tool-output-error": [{ toolCallId: "c", errorText: "e" }, CALL],
  "tool-output-denied": [{ toolCallId: "c" }, {}],
  "steering-message": [{ id: "m", parts: [{ type: "text", text: "t" }] }, {}],
  "data-x": [{ data: 1 }, { id: "d", transient: false }],
};
const FINISH_REASONS = ["stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other"];

const directory = resolve(process.argv[2]);
const npm = (...args) => execFileSync("npm", args, { cwd: directory, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

function install(versions) {
  const missing = versions.filter((version) => !existsSync(join(directory, "node_modules", `ai-${version}`)));
  if (missing.length)
    npm("install", "--save-exact", "--legacy-peer-deps", "--no-audit", "--no-fund", "zod", ...missing.map((version) => `ai-${version}@npm:ai@${version}`));
}

async function load(version) {
  const folder = join(directory, "node_modules", `ai-${version}`);
  const file = ["dist/index.mjs", "dist/index.js"].map((name) => join(folder, name)).find(existsSync);
  return import(pathToFileURL(file));
}

/** Whether a response that has this chunk comes through the transport of the package. */
async function accepts(ai, chunk) {
  const transport = new ai.DefaultChatTransport({ fetch: async () => new Response(`data: ${JSON.stringify(chunk)}\n\n`) });
  const stream = await transport.sendMessages({ chatId: "c", trigger: "submit-message", messages: [] });
  try {
    for await (const _ of stream);
    return true;
  } catch {
    return false;
  }
}

/** Whether the reader of the package makes something of a stream of these chunks, and does not give up. */
async function reads(ai, ...chunks) {
  const all = [{ type: "start", messageId: "m" }, { type: "start-step" }, ...chunks];
  let failed = false;
  const stream = new ReadableStream({ start: (controller) => (all.forEach((chunk) => controller.enqueue(chunk)), controller.close()) });
  try {
    for await (const _ of ai.readUIMessageStream({ stream, terminateOnError: true, onError: () => (failed = true) }));
  } catch {
    return false;
  }
  return !failed;
}

/** The messages that a chat has after it resumed a stream of these chunks: of each its id and its text. */
async function resumed(ai, ...chunks) {
  class Chat extends ai.AbstractChat {}
  const state = {
    status: "ready",
    messages: [],
    pushMessage: (message) => state.messages.push(message),
    popMessage: () => state.messages.pop(),
    replaceMessage: (index, message) => (state.messages[index] = message),
    snapshot: (value) => structuredClone(value),
  };
  const body = chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
  const transport = new ai.DefaultChatTransport({ fetch: async () => new Response(body) });
  await new Chat({ id: "c", state, transport, onError: () => {} }).resumeStream();
  return state.messages.map(({ id, parts }) => id + parts.map((part) => part.text ?? "").join(""));
}

/** What a version accepts: whether keys that it does not know too, and by chunk type all keys. And what it can follow. */
async function probe(version) {
  const ai = await load(version);
  const called = { toolCallId: "c", toolName: "n" };
  const call = { type: "tool-input-available", ...called, input: {} };
  const output = { type: "tool-output-available", toolCallId: "c", output: 1 };
  const block = { type: "text-start", id: "b" };
  const answer = (messageId) => [{ type: "start", messageId }, { type: "start-step" }, block, { type: "text-end", id: "b" }, { type: "finish-step" }];
  const follows = {
    // an output without `dynamic` for a dynamic call
    plainOutputOfDynamicCall: await reads(ai, { ...call, dynamic: true }, output),
    // a delta behind the end of the step that its block was begun in
    blockBeyondStep: await reads(ai, block, { type: "finish-step" }, { type: "start-step" }, { type: "text-delta", id: "b", delta: "d" }),
    // an output in a later step, with `dynamic` where the call has it
    outputInLaterStep: (await reads(ai, call, { type: "finish-step" }, { type: "start-step" }, output))
      && (await reads(ai, { ...call, dynamic: true }, { type: "finish-step" }, { type: "start-step" }, { ...output, dynamic: true })),
    // another message behind the first one, while it resumes
    secondMessageOnResume: String(await resumed(ai, ...answer("m"), ...answer("n"), { type: "finish" })) === "m,n",
    // a call that fails while its input streams
    errorOfStreamedInput: await reads(ai, { type: "tool-input-start", ...called }, { type: "tool-output-error", toolCallId: "c", errorText: "e" }),
  };
  const chunks = {};
  for (const [type, [required, optional]] of Object.entries(CHUNKS)) {
    if (!(await accepts(ai, { type, ...required }))) continue;
    chunks[type] = [...Object.keys(required)];
    for (const [key, value] of Object.entries(optional))
      if (await accepts(ai, { type, ...required, [key]: value })) chunks[type].push(key);
    chunks[type].sort();
  }
  const finishReasons = [];
  for (const finishReason of FINISH_REASONS) if (await accepts(ai, { type: "finish", finishReason })) finishReasons.push(finishReason);
  return { unknownKeys: await accepts(ai, { type: "start-step", unknown: 1 }), finishReasons, follows, chunks };
}

const found = new Map();

async function seen(version) {
  if (!found.has(version)) {
    install([version]);
    found.set(version, await probe(version));
  }
  return JSON.stringify(found.get(version));
}

/** Pairs of neighbours that differ, between two indices. A version that npm cannot install is passed over. */
async function boundaries(versions, low, high) {
  if ((await seen(versions[low])) === (await seen(versions[high]))) return [];
  const between = [...versions.keys()].slice(low + 1, high);
  for (const middle of between.sort((a, b) => Math.abs(2 * a - low - high) - Math.abs(2 * b - low - high))) {
    try {
      await seen(versions[middle]);
    } catch {
      continue;
    }
    return [...(await boundaries(versions, low, middle)), ...(await boundaries(versions, middle, high))];
  }
  return [versions[low], versions[high]];
}

mkdirSync(directory, { recursive: true });
if (!existsSync(join(directory, "package.json"))) npm("init", "--yes");
const numbers = (version) => version.split(".").map(Number);
const published = JSON.parse(npm("view", "ai", "versions", "--json"))
  .filter((version) => /^\d+\.\d+\.\d+$/.test(version))
  .sort((a, b) => numbers(a)[0] - numbers(b)[0] || numbers(a)[1] - numbers(b)[1] || numbers(a)[2] - numbers(b)[2]);

const written = new Set();
for (const line of LINES) {
  const versions = published.slice(0, published.indexOf(NEWEST) + 1).filter((version) => numbers(version)[0] === line);
  install([versions[0], versions.at(-1)]);
  for (const version of [versions[0], ...(await boundaries(versions, 0, versions.length - 1)), versions.at(-1)]) written.add(version);
}
// One line for each version and for each of its types: so that one can read it, and what changes in it.
const text = [...written].map((version) => {
  const same = [...written].find((earlier) => JSON.stringify(found.get(earlier)) === JSON.stringify(found.get(version)));
  if (same !== version) return `  ${JSON.stringify(version)}: ${JSON.stringify(same)}`;
  const { chunks, ...rest } = found.get(version);
  const types = Object.entries(chunks).map(([type, keys]) => `      ${JSON.stringify(type)}: ${JSON.stringify(keys)}`);
  const facts = Object.entries(rest).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
  return `  ${JSON.stringify(version)}: {\n${facts.join("")}    "chunks": {\n${types.join(",\n")}\n    }\n  }`;
});
console.log(`{\n${text.join(",\n")}\n}`);
