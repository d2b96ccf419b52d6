"""The rules of order that AG-UI clients hold a run to, and what their messages come to, written anew for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ag_ui.core import Event
from pydantic import TypeAdapter

from chatrt.sse import SSEDecoder

ADAPTER: TypeAdapter[Any] = TypeAdapter(Event)


def read(body: bytes) -> list[dict[str, Any]]:
    """Decode a body, each event checked by the official models, which must not find an unknown key."""
    events = [json.loads(event.data) for event in SSEDecoder().decode(body)]
    for event in events:
        model = ADAPTER.validate_python(event)
        assert not model.model_extra, event
    return events


@dataclass
class Rules:
    """Takes events one by one; asserts that each may come now."""

    open: dict[str, set[str]] = field(
        default_factory=lambda: {kind: set() for kind in ("message", "call", "reasoning", "span", "step")}
    )
    running: bool = False

    def take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "RUN_STARTED":
            assert not self.running, "a run within a run"
            self.running = True
            return
        assert self.running, f"{kind} outside of a run"
        match kind:
            case "TEXT_MESSAGE_START":
                self._begin("message", event["messageId"])
            case "TEXT_MESSAGE_CONTENT":
                assert event["messageId"] in self.open["message"], event
            case "TEXT_MESSAGE_END":
                self._end("message", event["messageId"])
            case "REASONING_START":
                self._begin("span", event["messageId"])
            case "REASONING_END":
                self._end("span", event["messageId"])
            case "REASONING_MESSAGE_START":
                self._begin("reasoning", event["messageId"])
            case "REASONING_MESSAGE_CONTENT":
                assert event["messageId"] in self.open["reasoning"], event
            case "REASONING_MESSAGE_END":
                self._end("reasoning", event["messageId"])
            case "TOOL_CALL_START":
                self._begin("call", event["toolCallId"])
            case "TOOL_CALL_ARGS":
                assert event["toolCallId"] in self.open["call"], event
            case "TOOL_CALL_END":
                self._end("call", event["toolCallId"])
            case "STEP_STARTED":
                self._begin("step", event["stepName"])
            case "STEP_FINISHED":
                self._end("step", event["stepName"])
            case "RUN_FINISHED" | "RUN_ERROR":
                # A client takes RUN_ERROR at any time; we leave nothing open for it either.
                assert not any(self.open.values()), self.open
                self.running = False
            case _:
                pass

    def _begin(self, kind: str, name: str) -> None:
        assert name not in self.open[kind], (kind, name)
        self.open[kind].add(name)

    def _end(self, kind: str, name: str) -> None:
        assert name in self.open[kind], (kind, name)
        self.open[kind].remove(name)


def check(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a whole body of whole runs that follow the rules."""
    events = read(body)
    rules = Rules()
    for event in events:
        rules.take(event)
    assert not rules.running
    return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def materialize(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages that a client has in the end."""
    messages: list[dict[str, Any]] = []

    def find(message_id: str) -> dict[str, Any] | None:
        return next((message for message in messages if message["id"] == message_id), None)

    def owner(call_id: str) -> dict[str, Any]:
        return next(m for m in messages if any(call["id"] == call_id for call in m.get("toolCalls", ())))

    for event in events:
        match event["type"]:
            case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                if find(event["messageId"]) is None:
                    messages.append({"id": event["messageId"], "role": event["role"], "content": ""})
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                message = find(event["messageId"])
                assert message is not None
                message["content"] += event["delta"]
            case "TOOL_CALL_START":
                message = find(event["parentMessageId"])
                if message is None:
                    message = {"id": event["parentMessageId"], "role": "assistant"}
                    messages.append(message)
                function = {"name": event["toolCallName"], "arguments": ""}
                message.setdefault("toolCalls", []).append({"id": event["toolCallId"], "function": function})
            case "TOOL_CALL_ARGS":
                call = next(c for c in owner(event["toolCallId"])["toolCalls"] if c["id"] == event["toolCallId"])
                call["function"]["arguments"] += event["delta"]
            case "TOOL_CALL_RESULT":
                place = messages.index(owner(event["toolCallId"])) + 1
                while place < len(messages) and messages[place]["role"] == "tool":
                    place += 1
                said = {"id": event["messageId"], "role": "tool", "toolCallId": event["toolCallId"]}
                messages.insert(place, {**said, "content": event["content"]})
            case "MESSAGES_SNAPSHOT":
                messages[:] = event["messages"]
            case _:
                pass
    return messages
