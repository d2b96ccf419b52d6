"""The operations of the HTTP interface, for its OpenAPI document: one table for each wire.

A wire that is added gets a table of its own, here or in a module beside its routes, and a place in `openapi.TABLES`; a
test compares the tables with the routes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chatrt.server.native import JSON_LINES

Scope = Literal["nobody", "sender", "read", "write", "read and write", "secret"]

JSON = "application/json"
EVENTS = "text/event-stream"
BYTES = "*/*"
PLAIN = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a successful request gets.

    Attributes:
        schema: The name of a component; None for no body.
        media: What kind of body.
        packed: Whether it also comes as MessagePack, to whoever asks for that by `accept`.
    """

    description: str
    schema: str | None = None
    media: str = JSON
    packed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        path: With `{agent}` and `{chatId}` for whole, percent-encoded segments.
        name: The operation's id; also what generators call their function.
        scope: Whose credentials are enough; a session token has scopes, `secret` is the secret key alone, and a
            `sender` signs what it sends.
        parameters: Names of components, besides those in the path.
        body: The name of a component.
        takes_bytes: Whether the body may be anything else as well.
        body_required: Whether the body may be left out.
        answers: By status.
        errors: Codes that are this operation's own; the test and `openapi.py` know those that any may have.
    """

    method: Literal["get", "post", "patch", "delete"]
    path: str
    name: str
    summary: str
    scope: Scope
    parameters: tuple[str, ...] = ()
    body: str | None = None
    takes_bytes: bool = False
    body_required: bool = True
    answers: dict[int, Answer] = field(default_factory=dict[int, Answer])
    errors: tuple[str, ...] = ()


_CHAT = "/v1/sessions/{chatId}"
_UI_CHAT = "/api/chat/{agent}/{chatId}"
_STREAM = Answer(description="Chunks as server-sent events, then `[DONE]`.", schema="ChunkEvents", media=EVENTS)
_SESSION = Answer(description="The session.", schema="Session")
_APPENDED = Answer(description="Durable: it will be settled exactly once.", schema="Appended")
_INPUT_ERRORS = (
    "invalid-message", "invalid-chunk", "forbidden-change", "session-not-found", "session-closed",
    "attachment-not-found", "url-not-allowed",
)  # fmt: skip

HEALTH = (
    Operation(
        method="get", path="/healthz", name="getHealth", summary="Whether the process answers.", scope="nobody",
        answers={200: Answer(description="It does.", schema="Health")},
    ),
    Operation(
        method="get", path="/readyz", name="getReadiness", summary="Whether new work is taken.", scope="nobody",
        answers={
            200: Answer(description="It is.", schema="Health"),
            503: Answer(description="The server is about to stop.", schema="Health"),
        },
    ),
    Operation(
        method="get", path="/v1/openapi.json", name="getOpenAPI", summary="This document.", scope="secret",
        answers={200: Answer(description="An OpenAPI 3.1 document.", schema="OpenAPI")},
    ),
    Operation(
        method="get", path="/metrics", name="getMetrics", summary="The figures of the process.", scope="secret",
        answers={200: Answer(description="The figures.", schema="Metrics", media=PLAIN)},
    ),
    Operation(
        method="get", path="/v1/probe", name="probe", summary="Answer slowly on purpose, to see what a proxy does.",
        scope="secret", parameters=("ticks", "every", "quiet"),
        answers={200: Answer(description="Events over time.", schema="ProbeEvents", media=EVENTS)},
    ),
)  # fmt: skip

NATIVE = (
    Operation(
        method="post", path="/v1/sessions", name="createSession", summary="Create a session, or get the one there is.",
        scope="write", body="NewSession",
        answers={
            200: Answer(description="It was there, and is unchanged.", schema="CreatedSession"),
            201: Answer(description="It is new.", schema="CreatedSession"),
        },
        errors=("invalid-client-data", "agent-not-found", "session-not-found", "agent-mismatch"),
    ),
    Operation(
        method="get", path="/v1/sessions", name="listSessions", summary="List sessions.", scope="secret",
        parameters=("agentFilter", "statusFilter", "parentFilter", "order", "afterPage", "limit"),
        answers={200: Answer(description="A page of them.", schema="SessionPage")},
    ),
    Operation(
        method="get", path=_CHAT, name="getSession", summary="Get a session.", scope="read",
        answers={200: _SESSION}, errors=("session-not-found",),
    ),
    Operation(
        method="patch", path=_CHAT, name="updateSession", summary="Lay a merge patch over the metadata.", scope="write",
        body="SessionPatch", answers={200: _SESSION}, errors=("session-not-found", "session-closed"),
    ),
    Operation(
        method="delete", path=_CHAT, name="deleteSession", summary="Remove a session and those it started.",
        scope="secret", answers={204: Answer(description="It is gone.")}, errors=("session-not-found",),
    ),
    Operation(
        method="post", path=f"{_CHAT}/close", name="closeSession", summary="Close a session for good.",
        scope="secret", body="Closing", body_required=False, answers={200: _SESSION}, errors=("session-not-found",),
    ),
    Operation(
        method="get", path=f"{_CHAT}/messages", name="getMessages", scope="read",
        summary="Get the messages and the cursors that belong to them.",
        answers={200: Answer(description="Them.", schema="Messages")}, errors=("session-not-found",),
    ),
    Operation(
        method="post", path=f"{_CHAT}/token", name="createToken", summary="Mint a session token for a browser.",
        scope="secret", body="NewToken", body_required=False,
        answers={200: Answer(description="The token.", schema="Token")}, errors=("session-not-found",),
    ),
    Operation(
        method="post", path=f"{_CHAT}/in", name="appendInput", summary="Say something to a session.",
        scope="write", parameters=("idempotencyKey",), body="Input", answers={202: _APPENDED},
        errors=(*_INPUT_ERRORS, "session-busy"),
    ),
    Operation(
        method="get", path=f"{_CHAT}/out", name="readOutput", summary="Read what a session answers, from a cursor on.",
        scope="read", parameters=("lastEventId", "afterCursor", "until"),
        answers={200: Answer(description="Records as events.", schema="RecordEvents", media=EVENTS, packed=True)},
        errors=("invalid-cursor", "session-not-found", "cursor-ahead"),
    ),
    Operation(
        method="get", path=f"{_CHAT}/export", name="exportSession", summary="Get all of a session.", scope="secret",
        answers={200: Answer(description="Lines of JSON.", schema="Export", media=JSON_LINES)},
        errors=("session-not-found",),
    ),
)  # fmt: skip

_FILES = f"{_CHAT}/attachments"
_FILE = f"{_FILES}/{{id}}"
_REFUSED_FILE = ("invalid-attachment", "session-not-found", "session-closed")
_NO_FILE = ("session-not-found", "attachment-not-found")

FILES = (
    Operation(
        method="post", path=_FILES, name="createAttachment", summary="Send a file, or announce one for the bucket.",
        scope="write", parameters=("filename", "contentDisposition"), body="NewAttachment", takes_bytes=True,
        answers={201: Answer(description="The file, or where to send it.", schema="CreatedAttachment")},
        errors=(*_REFUSED_FILE, "too-many-attachments"),
    ),
    Operation(
        method="get", path=_FILES, name="listAttachments", summary="List the files of a chat.", scope="read",
        answers={200: Answer(description="Them, oldest first.", schema="Attachments")}, errors=("session-not-found",),
    ),
    Operation(
        method="get", path=_FILE, name="getAttachment", summary="Get a file.", scope="read",
        parameters=("linkToken", "range", "ifNoneMatch", "ifRange"),
        answers={
            200: Answer(description="All of it.", schema="File", media=BYTES),
            206: Answer(description="The range that was asked for.", schema="File", media=BYTES),
            304: Answer(description="It is the one the reader has."),
            307: Answer(description="It is in a bucket: `location` is a signed URL."),
        },
        errors=(*_NO_FILE, "invalid-range"),
    ),
    Operation(
        method="delete", path=_FILE, name="deleteAttachment", summary="Remove a file.", scope="write",
        answers={204: Answer(description="It is gone.")}, errors=_NO_FILE,
    ),
    Operation(
        method="post", path=f"{_FILE}/complete", name="completeAttachment", scope="write",
        summary="Look at what was sent to the bucket.",
        answers={200: Answer(description="The file.", schema="Attachment")},
        errors=(*_REFUSED_FILE, "attachment-not-found"),
    ),
    Operation(
        method="post", path=f"{_FILE}/link", name="createAttachmentLink", scope="read", body="NewLink",
        body_required=False, summary="Make a link that needs no credentials, for a short time.",
        answers={200: Answer(description="The link.", schema="Link")}, errors=_NO_FILE,
    ),
)  # fmt: skip

WEBHOOKS = (
    Operation(
        method="post", path="/v1/webhooks/{name}", name="receiveWebhook", summary="Take an event of another service.",
        scope="sender", body="WebhookEvent", takes_bytes=True,
        answers={
            200: Answer(description="A challenge, answered.", schema="Challenge", media="text/plain"),
            202: Answer(description="Durable, or of no use.", schema="Delivered"),
        },
        errors=("invalid-signature", "not-found", "webhook-failed"),
    ),
)  # fmt: skip

AI_SDK = (
    Operation(
        method="post", path="/api/chat/{agent}", name="chat", summary="Say something and stream the answer.",
        scope="read and write", parameters=("aiSdkVersion",), body="ChatRequest", answers={200: _STREAM},
        errors=(*_INPUT_ERRORS, "agent-not-found", "agent-mismatch", "session-busy"),
    ),
    Operation(
        method="get", path=f"{_UI_CHAT}/stream", name="resumeChat", scope="read", parameters=("aiSdkVersion",),
        summary="Stream the message under construction from its first part on, then live.",
        answers={200: _STREAM, 204: Answer(description="Nothing runs or waits.")}, errors=("agent-not-found",),
    ),
    Operation(
        method="post", path=f"{_UI_CHAT}/stop", name="stopChat", summary="End the turn that runs.", scope="write",
        answers={202: Answer(description="It is told to.", schema="Stopped")},
        errors=("agent-not-found", "session-not-found", "session-closed", "agent-mismatch"),
    ),
    Operation(
        method="get", path=f"{_UI_CHAT}/messages", name="getChatMessages", summary="Get what a page shows first.",
        scope="read", answers={200: Answer(description="It; empty for a chat that has not begun.", schema="Page")},
        errors=("agent-not-found", "agent-mismatch"),
    ),
)  # fmt: skip

_AG_UI_CHAT = "/api/ag-ui/{agent}/{chatId}"
_AG_UI_EVENTS = Answer(description="Events of AG-UI, one `data` line each.", schema="AGUIEvents", media=EVENTS)

AG_UI = (
    Operation(
        method="post", path="/api/ag-ui/{agent}", name="runAGUI", summary="Say something and stream the run.",
        scope="read and write", body="RunAgentInput", answers={200: _AG_UI_EVENTS},
        errors=(*_INPUT_ERRORS, "agent-not-found", "agent-mismatch", "session-busy"),
    ),
    Operation(
        method="get", path=f"{_AG_UI_CHAT}/connect", name="connectAGUI", scope="read", parameters=("runId",),
        summary="Stream the history as a snapshot, then what runs and waits, until nothing does.",
        answers={200: _AG_UI_EVENTS}, errors=("agent-not-found", "agent-mismatch"),
    ),
    Operation(
        method="post", path=f"{_AG_UI_CHAT}/stop", name="stopAGUI", summary="End the turn that runs.", scope="write",
        answers={202: Answer(description="It is told to.", schema="Stopped")},
        errors=("agent-not-found", "session-not-found", "session-closed", "agent-mismatch"),
    ),
)  # fmt: skip
