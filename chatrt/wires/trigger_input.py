"""The Trigger-compatible wire, inwards: what the published clients of Trigger.dev append, as inputs of the session."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from chatrt.errors import InvalidInputError
from chatrt.runtime import Session
from chatrt.stores.base import Appended
from chatrt.ui import UIMessage

RESERVED_PREFIX = "session_"
"""What ids that the server makes begin with, and ids of the application's own do not."""

BOOT = "boot of the session"
"""Names the first input of a session; no client can name its own so, for want of spaces."""

_STEERED = re.compile(r"steer-[0-9]+")
_HEAD_START = "a head start is made by this server itself, on the wire of the AI SDK"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """The body of the call that creates a session, as far as it counts.

    Attributes:
        agent: The task, as these clients say.
        chat_id: None if the server makes one up.
        type: What the client calls this kind of session.
        tags: To find it by.
        metadata: Kept with the session.
        config: How its runs are to be started; echoed.
        payload: What its first run is started with.
    """

    agent: str
    chat_id: str | None
    type: str
    tags: list[str]
    metadata: dict[str, Any]
    config: dict[str, Any]
    payload: dict[str, Any]


def parse_start(body: Any) -> StartRequest:
    """Read `{taskIdentifier, externalId?, type?, tags?, metadata?, triggerConfig?}`; other keys are ignored.

    Raises:
        InvalidInputError: If it is not that.
    """
    fields = _object(body, "")
    agent = fields.get("taskIdentifier")
    if not isinstance(agent, str) or not agent:
        raise InvalidInputError("the agent's id is missing", path="/taskIdentifier")
    kind = fields.get("type", "chat.agent")
    if not isinstance(kind, str) or not 1 <= len(kind) <= 64:
        raise InvalidInputError("not a string of 1 to 64 characters", path="/type")
    config = _object(fields.get("triggerConfig") or {}, "/triggerConfig")
    payload = _object(config.get("basePayload") or {}, "/triggerConfig/basePayload")
    if payload.get("trigger", "preload") not in ("preload", "submit-message"):
        path = "/triggerConfig/basePayload/trigger"
        raise InvalidInputError(
            _HEAD_START if payload["trigger"] == "handover-prepare" else "neither preload nor submit-message", path=path
        )
    return StartRequest(
        agent=agent,
        chat_id=parse_external_id(fields.get("externalId")),
        type=kind,
        tags=parse_tags(fields.get("tags")),
        metadata=_object(fields.get("metadata") or {}, "/metadata"),
        config={**config, "basePayload": payload},
        payload=payload,
    )


def parse_external_id(value: Any) -> str | None:
    """Read an id of the application's own; None if there is none.

    Raises:
        InvalidInputError: If it is no string, or one that the server's own ids begin like.
    """
    if value is None:
        return None
    if not isinstance(value, str) or value.startswith(RESERVED_PREFIX):
        raise InvalidInputError(f"a string that does not begin with {RESERVED_PREFIX}", path="/externalId")
    return value


def parse_tags(value: Any) -> list[str]:
    """Read at most 10 tags of at most 128 characters each.

    Raises:
        InvalidInputError: If they are not that.
    """
    if value is None:
        return []
    tags = cast("list[Any]", value) if isinstance(value, list) else None
    if tags is None or len(tags) > 10 or not all(isinstance(tag, str) and len(tag) <= 128 for tag in tags):
        raise InvalidInputError("a list of at most 10 texts of at most 128 characters", path="/tags")
    return cast("list[str]", tags)


async def boot(session: Session, payload: dict[str, Any]) -> None:
    """Append what the first run of a session is started with; once, however often the session is started.

    Raises:
        InvalidInputError: If it is nothing that a run can start with.
        SessionClosedError: If the session is closed.
    """
    if payload.get("message") is None:
        payload = {**payload, "trigger": "preload"}
    await _append(session, payload, part_id=BOOT, path="/triggerConfig/basePayload")


async def append(session: Session, body: Any, *, part_id: str | None) -> Appended:
    """Append one record: `{kind: "message", payload}` or `{kind: "stop", message?}`.

    Raises:
        InvalidInputError: If it is neither, or asks for a head start.
        InvalidMessageError: If the message is not acceptable.
        ForbiddenChangeError: If the message changes what is the server's (D15).
        SessionClosedError: If the session is closed.
        SessionBusyError: If a turn runs and the agent refuses messages then.
    """
    match body:
        case {"kind": "message", "payload": dict()}:
            return await _append(session, cast("dict[str, Any]", body)["payload"], part_id=part_id, path="/payload")
        case {"kind": "stop"}:
            reason = cast("dict[str, Any]", body).get("message")
            return await session.inbox.stop(reason=reason if isinstance(reason, str) else None, part_id=part_id)
        case {"kind": "message"}:
            raise InvalidInputError("not an object", path="/payload")
        case {"kind": "handover" | "handover-skip"}:
            raise InvalidInputError(_HEAD_START, path="/kind")
        case _:
            raise InvalidInputError("neither message nor stop", path="/kind")


async def _append(session: Session, payload: dict[str, Any], *, part_id: str | None, path: str) -> Appended:
    inbox, client_data = session.inbox, payload.get("metadata")
    match payload.get("trigger", "submit-message"):
        case "submit-message":
            message = _message(payload, path)
            return await inbox.send_message(
                message,
                client_data=client_data,
                message_id=_edited(payload, message, path),
                steer=_STEERED.fullmatch(str(message.get("id"))) is not None,
                part_id=part_id,
            )
        case "regenerate-message":
            return await inbox.regenerate(_message_id(payload, path), client_data=client_data, part_id=part_id)
        case "action" if "action" in payload:
            return await inbox.act(payload["action"], client_data=client_data, part_id=part_id)
        case "action":
            raise InvalidInputError("there is no action", path=f"{path}/action")
        case "preload":
            return await inbox.preload(client_data=client_data, part_id=part_id)
        case "close":
            return await inbox.end_run(part_id=part_id)
        case "handover-prepare":
            raise InvalidInputError(_HEAD_START, path=f"{path}/trigger")
        case _:
            raise InvalidInputError("not a trigger", path=f"{path}/trigger")


def _message(payload: dict[str, Any], path: str) -> UIMessage:
    message = payload.get("message")
    if not isinstance(message, dict):
        raise InvalidInputError("not an object", path=f"{path}/message")
    return cast("UIMessage", message)


def _edited(payload: dict[str, Any], message: UIMessage, path: str) -> str | None:
    """Return the message that a user message takes the place of; what answers calls names them itself."""
    message_id = _message_id(payload, path)
    return message_id if message.get("role") == "user" else None


def _message_id(payload: dict[str, Any], path: str) -> str | None:
    message_id = payload.get("messageId")
    if message_id is not None and not isinstance(message_id, str):
        raise InvalidInputError("not a string", path=f"{path}/messageId")
    return message_id


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError("not an object", path=path)
    return cast("dict[str, Any]", value)
