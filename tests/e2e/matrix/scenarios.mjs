// What every client must be able to do, said once: each scenario gets `open(name)`, which makes a client on a chat of
// its own, and returns what a person would have seen.
//
// A client has: say(text), begin(text), until(what, condition), stop(), leave(), resume(), answerTool(call, output),
// approve(call, approved), and shows texts (of all messages, in order), last (the newest), calls (of the last answer) and failed.

const isAbout = (call, name) => call.name === name;

async function asked(client, text, name) {
  await client.say(text);
  await client.until(`a call of ${name}`, () => client.calls.some((call) => isAbout(call, name)));
  return client.calls.find((call) => isAbout(call, name));
}

export const scenarios = {
  async send(open) {
    const client = await open("send");
    await client.say("echo Hello, world");
    return client.texts;
  },

  async "second-turn"(open) {
    const client = await open("second: a/b %c é");
    await client.say("echo one");
    await client.say("history");
    return client.texts;
  },

  async "server-tool"(open) {
    const client = await open("server-tool");
    await client.say("tool 2+3");
    const [call] = client.calls;
    return { text: client.last, name: call.name, input: call.input, output: call.output };
  },

  async "client-tool"(open) {
    const client = await open("client-tool");
    const call = await asked(client, "ask Which colour?", "ask_user");
    await client.answerTool(call, "blue");
    await client.until("the answer", () => client.last === "answer: blue");
    await client.say("history");
    return { input: call.input, texts: client.texts };
  },

  async approved(open) {
    const client = await open("approved");
    const call = await asked(client, "approve Ada", "send_email");
    await client.approve(call, true);
    await client.until("the answer", () => client.last === "sent");
    await client.say("history");
    return { input: call.input, texts: client.texts };
  },

  async denied(open) {
    const client = await open("denied");
    const call = await asked(client, "approve Ada", "send_email");
    await client.approve(call, false);
    await client.until("the answer", () => client.last === "not sent");
    await client.say("history");
    return { input: call.input, texts: client.texts };
  },

  async failure(open) {
    const client = await open("failure");
    await client.say("fail");
    const failed = client.failed;
    await client.say("echo after");
    return { failed, leaked: JSON.stringify(client.seen).includes("boom-secret"), last: client.last };
  },

  async stop(open) {
    const client = await open("stop");
    client.begin("sleep");
    await client.until("a word", () => client.last.includes("w0"));
    await client.stop();
    await client.say("echo after");
    return { last: client.last, kept: client.texts.some((text) => text.startsWith("w0 ")) };
  },

  async resume(open) {
    const client = await open("resume");
    client.begin("count 150");
    await client.until("the middle", () => client.last.includes("w9 "));
    client.leave();
    const again = await client.resume();
    await again.until("the end", () => again.last.includes("w149 "));
    return again.last;
  },
};
