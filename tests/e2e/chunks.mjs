// Hands responses to the real transport and the real reader of a published version of `ai`, without a server.
// Usage: node chunks.mjs <file of the package> < responses. Responses are a JSON list of bodies of event streams.
// Prints one JSON line: for each body {error} or {message}, what `readUIMessageStream` has made of it in the end.

import { readFileSync } from "node:fs";

const { DefaultChatTransport, readUIMessageStream } = await import(process.argv[2]);
const told = [];
for (const body of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const transport = new DefaultChatTransport({ fetch: async () => new Response(body) });
    const stream = await transport.sendMessages({ chatId: "c", trigger: "submit-message", messages: [] });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    let message, error;
    const reread = new ReadableStream({ start: (controller) => (chunks.forEach((one) => controller.enqueue(one)), controller.close()) });
    for await (message of readUIMessageStream({ stream: reread, onError: (problem) => (error ??= problem) }));
    told.push({ message, problem: error && String(error) });
  } catch (error) {
    told.push({ error: String(error) });
  }
}
console.log(JSON.stringify(told));
