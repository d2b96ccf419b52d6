"""The JSON schemas that the OpenAPI document names: what stands in requests and answers, whatever the agents are."""

from __future__ import annotations

from typing import Any, get_args

from chatrt.server.auth import SCOPES
from chatrt.server.limits import MAX_CHAT_ID, MAX_SECONDS_PER_TOKEN
from chatrt.server.links import MAX_LINK_SECONDS
from chatrt.server.native import DEFAULT_PAGE, MAX_PAGE
from chatrt.wires.ai_sdk import Trigger

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
SEQ: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
ANY: Schema = {}
CHAT_ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_CHAT_ID}


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def shape(required: dict[str, Schema], optional: dict[str, Schema] | None = None, *, about: str = "") -> Schema:
    """Return the schema of an object. Other keys may come later, and are ignored."""
    described = {"description": about} if about else {}
    needed = {"required": list(required)} if required else {}
    return {"type": "object", **described, "properties": {**required, **(optional or {})}, **needed}


def _input(kind: str, required: dict[str, Schema], optional: dict[str, Schema], about: str) -> Schema:
    return shape({"kind": {"const": kind}, **required}, optional, about=about)


_CLIENT_DATA = {"clientData": ref("ClientData")}
_ASKED = {**_CLIENT_DATA, "askers": listed(ref("Asker"))}

INPUTS: dict[str, Schema] = {
    "MessageInput": _input(
        "message",
        {"message": ref("UIMessage")},
        {"messageId": TEXT, "steer": FLAG, **_ASKED},
        "A user message, or an assistant message whose tool calls the client answered.",
    ),
    "RegenerateInput": _input("regenerate", {}, {"messageId": TEXT, **_ASKED}, "Another answer in place of one."),
    "ActionInput": _input("action", {"action": ref("Action")}, _ASKED, "A command of the application's own."),
    "SwitchInput": _input("switch", {"messageId": TEXT}, _CLIENT_DATA, "Makes the branch active that holds a message."),
    "StopInput": _input("stop", {}, {"inSeq": SEQ, "reason": TEXT}, "Ends the turn that runs."),
    "EditInput": _input(
        "edit", {"inSeq": SEQ, "message": ref("UIMessage")}, {}, "Another message in the place of one that waits."
    ),
    "WithdrawInput": _input("withdraw", {"inSeq": SEQ}, {}, "Takes back a message that waits."),
    "PreloadInput": _input("preload", {}, _CLIENT_DATA, "Starts the run ahead of the first message."),
    "DataInput": _input("data", {"data": ANY}, _CLIENT_DATA, "JSON for an agent with a loop of its own."),
    "WriteInput": _input(
        "write", {"chunks": listed(ref("UIMessageChunk"))}, {}, "Data chunks, of whoever holds the secret key."
    ),
}
"""What can be appended to `.in`, by the name of its component."""

_STATUS: Schema = {"enum": ["running", "idle", "closed"]}
_SESSION_STATUS: Schema = {"enum": ["open", "closed"]}
_SESSION = {
    "chatId": CHAT_ID,
    "agent": TEXT,
    "status": _SESSION_STATUS,
    "createdAt": TIME,
    "updatedAt": TIME,
    "metadata": {"type": "object"},
}
_SESSION_MORE = {"closedReason": TEXT, "parent": shape({"chatId": CHAT_ID, "rootId": CHAT_ID}, {"toolCallId": TEXT})}

_DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_ATTACHMENT = {"id": TEXT, "url": TEXT, "mediaType": TEXT, "size": SEQ}
_ATTACHMENT_MORE = {"filename": TEXT, "sha256": _DIGEST}

COMPONENTS: dict[str, Schema] = {
    "Health": shape({"ok": FLAG}),
    "OpenAPI": {"type": "object", "description": "An OpenAPI 3.1 document."},
    "Error": shape(
        {"error": shape({"code": ref("ErrorCode"), "message": TEXT, "id": TEXT}, {"detail": TEXT})},
        about="A stable code, a text that people may read, and an id that the server's log knows.",
    ),
    "UIMessage": shape(
        {"id": TEXT, "role": {"enum": ["system", "user", "assistant"]}, "parts": listed(ref("UIMessagePart"))},
        {"metadata": ANY},
        about="A message as the AI SDK has it.",
    ),
    "UIMessagePart": shape(
        {"type": TEXT}, about="A part of a message as the AI SDK has it: `type` says what else it has."
    ),
    "UIMessageChunk": shape({"type": TEXT}, about="A chunk as ai 7.0.173 has it: `type` says what else it has."),
    "Asker": shape({"agent": TEXT, "chatId": CHAT_ID, "inSeq": SEQ}, about="A turn that may wait for the answer."),
    "Session": shape(_SESSION, _SESSION_MORE),
    "CreatedSession": shape(
        _SESSION,
        {**_SESSION_MORE, "token": TEXT, "tokenExpiresAt": TIME},
        about="The session; for whoever holds the secret key with a session token for one hour.",
    ),
    "SessionPage": shape(
        {"sessions": listed(ref("Session"))}, {"next": {**TEXT, "description": "The `after` of the next page."}}
    ),
    "NewSession": shape({"agent": ref("AgentId")}, {"chatId": CHAT_ID, "metadata": {"type": "object"}, **_CLIENT_DATA}),
    "SessionPatch": shape(
        {"metadata": {"type": "object", "description": "A merge patch: null takes a key away."}},
        about="A session token may set the `title` and nothing else.",
    ),
    "Metrics": {**TEXT, "description": "Prometheus' text format, or OpenMetrics if `accept` asks for it."},
    "ProbeEvents": {**TEXT, "description": "Events `received`, `tick`, `quiet` and `end`."},
    "Export": {**TEXT, "description": "A whole session, a record a line."},
    "Closing": shape({}, {"reason": TEXT}),
    "NewToken": shape(
        {},
        {
            "ttl": {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS_PER_TOKEN, "description": "Seconds."},
            "scopes": {**listed({"enum": list(SCOPES)}), "minItems": 1},
        },
    ),
    "Token": shape({"token": TEXT, "expiresAt": TIME}),
    "Appended": shape({"seq": SEQ, "repeated": {**FLAG, "description": "Whether the idempotency key was known."}}),
    "Stopped": shape({"seq": SEQ}),
    "Pending": shape({"inSeq": SEQ, "message": ref("UIMessage")}),
    "Messages": shape(
        {
            "messages": listed(ref("UIMessage")),
            "pending": listed(ref("Pending")),
            "cursor": SEQ,
            "inCursor": SEQ,
            "lastInSeq": SEQ,
            "status": _STATUS,
        },
        {"branches": {"type": "object", "additionalProperties": listed(TEXT)}},
    ),
    "Page": shape(
        {"messages": listed(ref("UIMessage")), "pending": listed(ref("Pending")), "status": _STATUS, "cursor": SEQ}
    ),
    "ChatRequest": {
        **shape(
            {"id": CHAT_ID},
            {
                "messages": {**listed(ref("UIMessage")), "minItems": 1},
                "message": ref("UIMessage"),
                "trigger": {"enum": list(get_args(Trigger))},
                "messageId": TEXT,
                **_CLIENT_DATA,
            },
            about="What `DefaultChatTransport` sends, or one `message` in place of `messages`.",
        ),
        "anyOf": [
            {"required": ["messages"]},
            {"required": ["message"]},
            {"required": ["trigger"], "properties": {"trigger": {"const": "regenerate-message"}}},
        ],
    },
    **INPUTS,
    "Input": {
        "oneOf": [ref(name) for name in INPUTS],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {schema["properties"]["kind"]["const"]: ref(name)["$ref"] for name, schema in INPUTS.items()},
        },
    },
    "File": {"description": "Bytes."},
    "Attachment": shape(_ATTACHMENT, _ATTACHMENT_MORE),
    "CreatedAttachment": shape(
        _ATTACHMENT,
        {
            **_ATTACHMENT_MORE,
            "upload": shape(
                {
                    "method": TEXT,
                    "url": TEXT,
                    "headers": {"type": "object", "additionalProperties": TEXT},
                    "expiresAt": TIME,
                },
                about="The request that sends the bytes to the bucket, if they were only announced.",
            ),
        },
    ),
    "Attachments": shape({"attachments": listed(ref("Attachment"))}),
    "NewAttachment": shape(
        {"mediaType": TEXT, "size": SEQ},
        {"filename": TEXT, "sha256": _DIGEST},
        about="What is going to be sent to the bucket.",
    ),
    "NewLink": shape({}, {"ttl": {"type": "integer", "minimum": 1, "maximum": MAX_LINK_SECONDS}}),
    "Link": shape({"url": TEXT}, {"expiresAt": TIME}),
    "WebhookEvent": {"description": "Whatever the sender says, signed as the application has agreed with it."},
    "Challenge": TEXT,
    "Delivered": shape({}, {"chatId": CHAT_ID, "seq": SEQ, "repeated": FLAG, "ignored": FLAG}),
    "RunAgentInput": shape(
        {"threadId": CHAT_ID, "runId": TEXT},
        {
            "parentRunId": TEXT,
            "protocolVersion": TEXT,
            "messages": listed({"type": "object"}),
            "tools": listed({"type": "object"}),
            "context": listed({"type": "object"}),
            "resume": listed({"type": "object"}),
            "state": ANY,
            "forwardedProps": {**ANY, "description": "Its keys become client data."},
        },
        about="A `RunAgentInput` of AG-UI. Of the messages only what is new is taken.",
    ),
    "AGUIEvents": {**TEXT, "description": "Events whose `data` is an event of AG-UI, up to the end of the run."},
    "ChunkEvents": {**TEXT, "description": "Events whose `data` is a UIMessageChunk, and a last one `[DONE]`."},
    "RecordEvents": {
        **TEXT,
        "description": "Events with the cursor as `id`: a UIMessageChunk, or a control record under its name.",
    },
}

_CURSOR: Schema = {"type": "string", "pattern": "^[0-9]{1,19}$"}


def _query(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _header(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "header", "description": about, "schema": schema}


PARAMETERS: dict[str, Schema] = {
    "agent": {"name": "agent", "in": "path", "required": True, "description": "The agent.", "schema": ref("AgentId")},
    "chatId": {
        "name": "chatId",
        "in": "path",
        "required": True,
        "description": "The chat id, as one percent-encoded segment.",
        "schema": CHAT_ID,
    },
    "id": {"name": "id", "in": "path", "required": True, "description": "The file.", "schema": TEXT},
    "name": {"name": "name", "in": "path", "required": True, "description": "The webhook.", "schema": TEXT},
    "filename": _header("x-filename", TEXT, "The file's name, percent-encoded."),
    "contentDisposition": _header("content-disposition", TEXT, "The same, as browsers say it."),
    "linkToken": _query("token", TEXT, "What a link has in the place of credentials."),
    "range": _header("range", TEXT, "One range of bytes."),
    "ifNoneMatch": _header("if-none-match", TEXT, "The `etag` of what the reader has."),
    "ifRange": _header("if-range", TEXT, "The `etag` that the range belongs to."),
    "agentFilter": _query("agent", TEXT, "Only sessions of this agent."),
    "statusFilter": _query("status", _SESSION_STATUS, "Only sessions of this status."),
    "parentFilter": _query("parent", CHAT_ID, "Only sessions that this chat started."),
    "order": _query("order", {"enum": ["chatId", "updated"], "default": "chatId"}, "`updated` is newest first."),
    "afterPage": _query("after", TEXT, "The `next` of the page before, in the same order."),
    "limit": _query(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}, "How many at most."
    ),
    "idempotencyKey": _header(
        "Idempotency-Key",
        {"type": "string", "pattern": "^[!-~]{1,64}$"},
        "Names the append: a second one of the same key appends nothing.",
    ),
    "lastEventId": _header("Last-Event-ID", _CURSOR, "The last record that the reader has."),
    "afterCursor": _query("after", _CURSOR, "The same, where there are no headers."),
    "until": _query("until", {"const": "idle"}, "Ends the stream once nothing is unsettled."),
    "ticks": _query("ticks", {"type": "integer", "minimum": 0, "maximum": 50, "default": 5}, "How many ticks."),
    "every": _query("every", {"type": "number", "minimum": 0, "maximum": 5, "default": 0.25}, "Seconds between two."),
    "quiet": _query(
        "quiet", {"type": "number", "minimum": 0, "maximum": 600, "default": 0}, "Seconds of silence then."
    ),
    "runId": _query("runId", TEXT, "What to call the first run."),
    "aiSdkVersion": _header("x-chatrt-ai-sdk", TEXT, "The version of the package `ai` that reads the answer."),
}
