// The stock `DefaultChatTransport` of the AI SDK, which knows nothing of chatrt.

import { ChatClient, sendsItself } from "./chat.mjs";

export async function open({ chatId, version, base }) {
  const ai = await import(`ai-v${version}`);
  const { Chat } = await import(`react-v${version}`);
  const api = `${base}/api/chat/playbook`;
  const make = (messages) =>
    new Chat({
      id: chatId,
      messages,
      transport: new ai.DefaultChatTransport({
        api,
        // Older lines put the id into the path as it is.
        prepareReconnectToStreamRequest: () => ({ api: `${api}/${encodeURIComponent(chatId)}/stream` }),
      }),
      sendAutomaticallyWhen: sendsItself(ai),
    });
  const load = async () => (await (await fetch(`${api}/${encodeURIComponent(chatId)}/messages`)).json()).messages;
  return new ChatClient({ make, load });
}
