// The published `TriggerChatTransport` of Trigger.dev, with the stock way to start a session, against a server without a key.

import { chat as actions } from "@trigger.dev/sdk/ai";
import { TriggerChatTransport } from "@trigger.dev/sdk/chat";

import { ChatClient, sendsItself } from "./chat.mjs";

process.env.TRIGGER_SECRET_KEY = "any";

export async function open({ chatId, version, base }) {
  process.env.TRIGGER_API_URL = base;
  const ai = await import(`ai-v${version}`);
  const { Chat } = await import(`react-v${version}`);
  let session; // what a page would keep over a reload
  const make = (messages) => {
    const transport = new TriggerChatTransport({
      task: "playbook",
      baseURL: base,
      startSession: actions.createStartSessionAction("playbook"),
      accessToken: () => "any",
      sessions: session ? { [chatId]: session } : undefined,
      onSessionChange: (_, changed) => (session = changed),
    });
    return new Chat({ id: chatId, messages, transport, sendAutomaticallyWhen: sendsItself(ai) });
  };
  const load = async () => (await (await fetch(`${base}/api/v1/sessions/${encodeURIComponent(chatId)}/transcript`)).json()).messages;
  return new ChatClient({ make, load });
}
