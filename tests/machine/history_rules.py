"""What messages may become, as plain rules over lists of messages: written from the contract, not from the runtime.

A message is `{"id", "role", "parts"}` with parts in the shape of a `UIMessage`, reduced to the keys that mean something;
ids that the runtime makes up are names in quotation marks («answer 1»). Messages are never changed in place.
"""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]
Part = dict[str, Any]

INJECTED = "data-pending-message-injected"
SERVER_TOOLS = frozenset({"tool-look", "tool-mail"})
CLIENT_TOOLS = frozenset({"tool-ask"})
FINISHED = frozenset({"output-available", "output-error", "output-denied"})
COMPLETE = FINISHED | {"approval-responded"}
INTERRUPTED = "interrupted"


class Failure(Exception):
    """Something raised in a turn or an action; `code` is what a client reads of it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def is_call(part: Part) -> bool:
    return part["type"].startswith("tool-")


def text_of(message: Message) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def has_content(message: Message) -> bool:
    """An answer that only began is no message."""
    return any(part["type"] != "step-start" for part in message["parts"])


def last_step(message: Message) -> list[Part]:
    parts = message["parts"]
    starts = [index for index, part in enumerate(parts) if part["type"] == "step-start"]
    return parts[starts[-1] if starts else 0 :]


def find(history: list[Message], message_id: str | None) -> int | None:
    """The place of the newest message of that id."""
    places = [index for index, message in enumerate(history) if message["id"] == message_id]
    return places[-1] if places else None


# --- what a person sends


def take_user_message(history: list[Message], message: Message, replaces: str | None) -> list[Message]:
    """A new message goes to the end; one whose id is known takes the place of that message and all behind it (D22)."""
    place = find(history, message["id"])
    if place is None and replaces is not None:
        place = find(history, replaces)
        if place is None:
            raise Failure("message-not-found")
    if place is None:
        return [*history, message]
    if history[place]["role"] != "user":
        raise Failure("forbidden-change")
    return [*history[:place], message]


def trim(history: list[Message], message_id: str | None) -> list[Message]:
    """What is left of a history when its last answer, or that of a message, is to be given again (D22)."""
    end = len(history)
    if message_id is not None:
        place = find(history, message_id)
        if place is None:
            raise Failure("message-not-found")
        end = place + 1
    while end and history[end - 1]["role"] != "user":
        end -= 1
    if not end:
        raise Failure("invalid-message")
    return history[:end]


def answered_place(history: list[Message], answer: Message) -> int | None:
    """The message an answer is about: by its id, else by the calls it answers."""
    place = find(history, answer["id"])
    if place is not None:
        return place
    calls = {part["toolCallId"] for part in answer["parts"] if is_call(part)}
    for index in range(len(history) - 1, -1, -1):
        message = history[index]
        if message["role"] == "assistant" and calls & {
            part["toolCallId"] for part in message["parts"] if is_call(part)
        }:
            return index
    return None


def take_answers(history: list[Message], answer: Message) -> tuple[list[Message], int, bool]:
    """Let a client answer open calls of its own (protocol.md §8): the history, the place, whether anything advanced."""
    place = answered_place(history, answer)
    given = {part["toolCallId"]: part for part in answer["parts"] if is_call(part) and part.get("state") in COMPLETE}
    if place is None or history[place]["role"] != "assistant":
        raise Failure("forbidden-change")
    parts = list(history[place]["parts"])
    stored = {part["toolCallId"]: index for index, part in enumerate(parts) if is_call(part)}
    advanced = False
    for call_id, said in given.items():
        if call_id not in stored:
            raise Failure("forbidden-change")
        part = parts[stored[call_id]]
        if part["state"] in FINISHED or part["state"] == said["state"] == "approval-responded":
            continue  # an answer counts once
        parts[stored[call_id]] = _answered(part, said)
        advanced = True
    if not advanced:
        return history, place, False
    return [*history[:place], {**history[place], "parts": parts}, *history[place + 1 :]], place, True


def _answered(part: Part, said: Part) -> Part:
    match part["state"], said["state"]:
        case "input-available", "output-available" if part["type"] in CLIENT_TOOLS:
            return {**part, "state": "output-available", "output": said["output"]}
        case "input-available", "output-error" if part["type"] in CLIENT_TOOLS:
            return {**part, "state": "output-error", "errorText": said["errorText"]}
        case "approval-requested", "approval-responded" if said["approval"].get("id") == part["approval"]["id"]:
            return {
                **part,
                "state": "approval-responded",
                "approval": {**part["approval"], "approved": said["approval"]["approved"]},
            }
        case _:
            raise Failure("forbidden-change")


def waits_for_client(message: Message) -> bool:
    """Whether its last step has questions that only a person can settle."""
    return any(
        is_call(part) and part["state"] in ("input-available", "approval-requested") for part in last_step(message)
    )


def has_unread_answers(message: Message) -> bool:
    """Whether its last step ends with settled calls that the model has not spoken about."""
    step = last_step(message)
    calls = [index for index, part in enumerate(step) if is_call(part)]
    return bool(calls) and all(part["type"] != "text" for part in step[calls[-1] :])


def approved_calls(message: Message) -> list[Part]:
    """The calls a person approved that have no result."""
    return [
        part
        for part in message["parts"]
        if is_call(part) and part["state"] == "approval-responded" and part["approval"]["approved"]
    ]


# --- what is left of an answer


def close_texts(parts: list[Part]) -> list[Part]:
    return [{**part, "state": "done"} if part.get("state") == "streaming" else part for part in parts]


def tell_the_truth(parts: list[Part], *, approvals_ran: bool) -> list[Part]:
    """Close a broken answer (D8): a call that may have started is an error, an open question stays open (D21)."""

    def truth(part: Part) -> Part:
        if not is_call(part):
            return part
        started = part["state"] == "input-available" and part["type"] in SERVER_TOOLS
        carried_out = part["state"] == "approval-responded" and part["approval"]["approved"] and approvals_ran
        if not started and not carried_out:
            return part
        return {**part, "state": "output-error", "errorText": INTERRUPTED}

    return [truth(part) for part in close_texts(parts)]


def without_half_calls(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.get("state") != "input-streaming"]


# --- what the model is shown


def prompt_of(history: list[Message]) -> list[tuple[Any, ...]]:
    """The rows of a prompt, as `("user", text)`, `("assistant", [...])` and `("tool", {call: result})` (D6, D12).

    Calls that nobody has answered are left out. A result is the text of an output; "!" stands for everything that says
    why there is none. Approved calls of the last row have no result yet: they run before the model is asked.
    """
    rows: list[tuple[Any, ...]] = []
    for index, message in enumerate(history):
        if message["role"] == "user":
            rows.append(("user", text_of(message)))
            continue
        block: list[Part] = []
        for place, part in enumerate([*message["parts"], {"type": "step-start"}]):
            if part["type"] not in ("step-start", INJECTED):
                block.append(part)
                continue
            at_end = index == len(history) - 1 and place == len(message["parts"])
            rows += _block_rows(block, at_end=at_end)
            block = []
            rows += [("user", text) for text in part.get("texts", ())]
    return rows


def _block_rows(block: list[Part], *, at_end: bool) -> list[tuple[Any, ...]]:
    said: list[Any] = []
    results: dict[str, str] = {}
    for part in block:
        if part["type"] == "text":
            said += [("text", part["text"])] if part["text"] else []
        elif part["state"] in COMPLETE:
            said.append(("call", part["toolCallId"]))
            runs_next = at_end and part["state"] == "approval-responded" and part["approval"]["approved"]
            if not runs_next:
                results[part["toolCallId"]] = part["output"] if part["state"] == "output-available" else "!"
    rows: list[tuple[Any, ...]] = [("assistant", said)] if said else []
    return [*rows, ("tool", results)] if results else rows
