// `ChatrtTransport` of @chatrt/client: the stock chat of the AI SDK over the native wire.

import { ChatrtTransport, MemoryStorage } from "../../../client/dist/index.js";
import { ChatClient, sendsItself } from "./chat.mjs";

export async function open({ chatId, version, base }) {
  const ai = await import(`ai-v${version}`);
  const { Chat } = await import(`react-v${version}`);
  const storage = new MemoryStorage(); // what a page would keep over a reload
  let transport;
  const make = (messages) => {
    transport = new ChatrtTransport({ baseUrl: base, agent: "playbook", aiSdk: Number(version), storage, tabs: false });
    return new Chat({ id: chatId, messages, transport, sendAutomaticallyWhen: sendsItself(ai) });
  };
  const load = async () => {
    const page = new ChatrtTransport({ baseUrl: base, agent: "playbook", aiSdk: Number(version), storage, tabs: false });
    return (await page.load(chatId)).messages;
  };
  return new ChatClient({ make, load });
}
