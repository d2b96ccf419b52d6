// Runs the page's own reducer and SSE decoder on cases from stdin: `{"chunks": [[...]], "streams": [[text, cut], ...]}`.

import { Reducer, emptyMessage } from "../../chatrt/playground/static/reducer.js";
import { EventDecoder } from "../../chatrt/playground/static/sse.js";

let input = "";
for await (const piece of process.stdin) input += piece;
const { chunks, streams } = JSON.parse(input);

const messages = chunks.map((list) => {
  const reducer = new Reducer(emptyMessage(""));
  for (const chunk of list) reducer.apply(chunk);
  return reducer.message;
});
const events = streams.map(([text, size]) => {
  const decoder = new EventDecoder();
  const found = [];
  for (let at = 0; at < text.length; at += size) found.push(...decoder.push(text.slice(at, at + size)));
  return found.filter((event) => !event.comment).map((event) => event.data);
});
console.log(JSON.stringify({ messages, events }));
