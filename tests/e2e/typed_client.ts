// What a page may and may not do with the declarations of tests/e2e/typed_agents.py. Compiled, never run.

import type { AgentAction, AgentClientData, AgentId, AgentMessage, AgentTools, Agents, ChatrtDataParts } from "./agents";

const ids: AgentId[] = ["support", "plain-2.0", "own"];
// @ts-expect-error no such agent
const nobody: AgentId = "nobody";

function act<Id extends AgentId>(id: Id, action: AgentAction<Id>): void {
  void [id, action];
}
act("support", { type: "undo" });
act("support", { type: "rollback", targetMessageId: "m1" });
act("own", { whatever: 1 });
// @ts-expect-error a wrong action
act("support", { type: "explode" });
// @ts-expect-error the key that tells actions apart is missing
act("support", {});
// @ts-expect-error the message is missing
act("support", { type: "rollback" });
// @ts-expect-error the message has another name
act("support", { type: "rollback", target_message_id: "m1" });
// @ts-expect-error takes no actions
act("plain-2.0", { type: "undo" });

const data: AgentClientData<"support"> = { userId: "u", plan: "pro", place: { city: "Ulm", at: [48.4, 9.9] }, labels: { a: ["b"] } };
const little: AgentClientData<"support"> = { userId: "u", place: null, note: null };
// @ts-expect-error a value that the enum does not have
const wrongPlan: AgentClientData<"support"> = { userId: "u", plan: "gold" };
// @ts-expect-error a tuple of two
const wrongPlace: AgentClientData<"support"> = { userId: "u", place: { city: "Ulm", at: [48.4] } };
// @ts-expect-error a key that is not there
const wrongKey: AgentClientData<"support"> = { userId: "u", user_id: "u" };
const anything: AgentClientData<"plain-2.0"> = 5;

const thread: AgentTools<"support">["keep-thread"]["input"]["thread"] = { title: "a", replies: [{ title: "b", replies: [] }] };
// @ts-expect-error deep inside of it
const wrongThread: typeof thread = { title: "a", replies: [{ title: 1 }] };
const nothing: Agents["support"]["tools"]["keep-thread"]["output"] = null;

export function show(message: AgentMessage<"support", { at: string }, ChatrtDataParts>): string {
  for (const part of message.parts) {
    if (part.type === "tool-search_docs" && part.state === "output-available") {
      const { more, hits, first } = part.output;
      return `${part.input.query.length} ${more === true} ${hits[0]?.score?.toFixed()} ${first?.replies.length}`;
    }
    if (part.type === "tool-pick" && part.state === "output-available") return part.output.city;
    if (part.type === "data-compaction") return part.data.status;
    // @ts-expect-error a tool whose shape is only known at run time has no type of its own
    if (part.type === "tool-remote") return "";
    // @ts-expect-error no such tool
    if (part.type === "tool-nope") return "";
  }
  return message.metadata?.at ?? "";
}

export function showOwn(message: AgentMessage<"own">): number {
  return message.parts.filter((part) => part.type === "dynamic-tool" || part.type.startsWith("tool-")).length;
}

void [ids, nobody, data, little, wrongPlan, wrongPlace, wrongKey, anything, thread, wrongThread, nothing];
