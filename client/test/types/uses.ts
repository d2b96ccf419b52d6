// How applications use the types; compiled against each supported major version of `ai`.

import type { ChatTransport, UIMessage } from "ai";
import { ChatrtTransport, type ActionOf, type ClientDataOf, type MessageOf } from "../../src/index.js";
import { useActions, useBranches, useChatrtTransport, useFollow, usePendingMessages } from "../../src/react/index.js";
import { AgentChat } from "../../src/server/index.js";

/** As `chatrt types` writes it. */
interface Agents {
  support: {
    action: { type: "undo" } | { type: "rollback"; targetMessageId: string };
    clientData: { userId: string };
    tools: { add: { input: { a: number; b: number }; output: number } };
  };
}
type Support = Agents["support"];
type OwnMessage = UIMessage<{ model: string }>;

const options = { baseUrl: "", agent: "support" };

// Without types everything is possible, and it is a transport of the AI SDK.
const plain: ChatTransport<UIMessage> = new ChatrtTransport(options);
void new ChatrtTransport(options).sendAction("c", { anything: true });

// With those of an agent, actions and client data are its own, and so are the tool parts.
const typed = new ChatrtTransport<Support>({ ...options, clientData: { userId: "u" } });
const asTransport: ChatTransport<MessageOf<Support>> = typed;
void typed.sendAction("c", { type: "undo" });
// @ts-expect-error there is no such action
void typed.sendAction("c", { type: "shout" });
// @ts-expect-error the client data are others
new ChatrtTransport<Support>({ ...options, clientData: { userId: 1 } });

export function outputs(message: MessageOf<Support>): (number | undefined)[] {
  return message.parts.map((part) => (part.type === "tool-add" && part.state === "output-available" ? part.output : undefined));
}

// Or with a message type, an action and client data.
const byHand = new ChatrtTransport<OwnMessage, { type: "clear" }, { plan: string }>({ ...options, clientData: () => ({ plan: "pro" }) });
void byHand.sendAction("c", { type: "clear" });
export const model = async (): Promise<string | undefined> => (await byHand.load("c")).messages[0]?.metadata?.model;

const action: ActionOf<Support> = { type: "rollback", targetMessageId: "m" };
const data: ClientDataOf<Support> = { userId: "u" };

// The hooks have the types of their transport.
export function Component({ chat }: { chat: Parameters<typeof useFollow>[0]["chat"] }): null {
  const transport = useChatrtTransport<Support>({ ...options, id: "c", clientData: data });
  const { canSend } = useFollow({ transport, chat });
  const { pending, edit } = usePendingMessages({ transport, chat });
  const { send } = useActions({ transport, chat });
  const { siblings } = useBranches({ transport, chatId: "c" });
  void [canSend, pending[0]?.message.parts, edit(1, "x"), send(action), siblings("m")];
  // @ts-expect-error there is no such action
  void send({ type: "shout" });
  return null;
}

// From a server.
const chat = new AgentChat<Support>("support", { baseUrl: "http://127.0.0.1", clientData: data });
void chat.sendAction(action).text();
// @ts-expect-error there is no such action
void chat.sendAction({ type: "shout" });

void [plain, asTransport];
