"""Sessions as the Trigger-compatible wire describes them: every key is there, null where nothing is known."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from chatrt.errors import InvalidInputError
from chatrt.runtime import SessionManager
from chatrt.server.limits import MAX_CHAT_ID
from chatrt.server.trigger_ids import chat_id_of, run_id, session_id
from chatrt.stores.base import SessionRow
from chatrt.wires.trigger_input import StartRequest, parse_tags

KEPT = "$trigger"
"""The key of a session's metadata that holds its type and its tags, where a client gave any."""

DEFAULT_TYPE = "chat.agent"
DEFAULT_PAGE = 20
MAX_PAGE = 100

Query = Mapping[str, str]


def metadata_of(start: StartRequest) -> dict[str, Any]:
    """Return what is stored with a session that begins."""
    kept: dict[str, Any] = {}
    if start.type != DEFAULT_TYPE:
        kept["type"] = start.type
    if start.tags:
        kept["tags"] = start.tags
    metadata = _shown(start.metadata)
    return {**metadata, KEPT: kept} if kept else metadata


def to_patch(row: SessionRow, body: dict[str, Any]) -> dict[str, Any]:
    """Return what `{metadata?, tags?, externalId?}` changes of a session's metadata, as a merge patch.

    These clients mean by metadata all of them: what is not named goes.

    Raises:
        InvalidInputError: If it is not that, or would give the session another id.
    """
    patch: dict[str, Any] = {}
    if body.get("externalId", row.key.chat_id) != row.key.chat_id:
        raise InvalidInputError("a session keeps its id", path="/externalId")
    if "metadata" in body:
        wanted: Any = {} if body["metadata"] is None else body["metadata"]
        if not isinstance(wanted, dict):
            raise InvalidInputError("not an object", path="/metadata")
        patch = _replacement(_shown(row.metadata), _shown(cast("dict[str, Any]", wanted)))
    if "tags" in body:
        patch[KEPT] = {"tags": parse_tags(body["tags"]) or None}
    return patch


def _shown(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != KEPT}


def _replacement(current: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes one object of another; keys that are null are gone."""
    patch: dict[str, Any] = dict.fromkeys(current.keys() - wanted.keys())
    for key, value in wanted.items():
        known = current.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        patch[key] = _replacement(cast("dict[str, Any]", known), cast("dict[str, Any]", value)) if both else value
    return patch


def to_item(row: SessionRow) -> dict[str, Any]:
    """Return a session as these clients read it; a key that is missing would be an error to them."""
    kept: dict[str, Any] = row.metadata.get(KEPT) or {}
    closed = row.status == "closed"
    return {
        "id": session_id(row.key.chat_id),
        "externalId": row.key.chat_id,
        "type": kept.get("type", DEFAULT_TYPE),
        "taskIdentifier": row.agent,
        "tags": kept.get("tags", []),
        "metadata": _shown(row.metadata),
        "currentRunId": None if closed else run_id(row.key.chat_id),
        "closedAt": iso(row.updated_at) if closed else None,
        "closedReason": row.closed_reason,
        "expiresAt": None,
        "createdAt": iso(row.created_at),
        "updatedAt": iso(row.updated_at),
    }


def iso(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def list_page(sessions: SessionManager, tenant: str, query: Query, now: float) -> dict[str, Any]:
    """Return a page of sessions, ordered by chat id, that fit the filters.

    Raises:
        InvalidInputError: If the query is none.
    """
    size = _size(query.get("page[size]"))
    after, before = _cursor(query, "page[after]"), _cursor(query, "page[before]")
    if after and before:
        raise InvalidInputError("not with page[after]", path="page[before]")
    wanted = _Filter(query, now)
    if before:
        last: deque[SessionRow] = deque(maxlen=size + 1)
        async for row in wanted.rows(sessions, tenant, ""):
            if row.key.chat_id >= before:
                break
            last.append(row)
        rows = list(last)
        return _page(rows[-size:], has_previous=len(rows) > size, has_next=True)
    found: list[SessionRow] = []
    async for row in wanted.rows(sessions, tenant, after):
        found.append(row)
        if len(found) > size:
            break
    return _page(found[:size], has_previous=bool(after), has_next=len(found) > size)


def _page(rows: list[SessionRow], *, has_previous: bool, has_next: bool) -> dict[str, Any]:
    pagination: dict[str, str] = {}
    if rows and has_next:
        pagination["next"] = session_id(rows[-1].key.chat_id)
    if rows and has_previous:
        pagination["previous"] = session_id(rows[0].key.chat_id)
    return {"data": [to_item(row) for row in rows], "pagination": pagination}


class _Filter:
    """What a list is narrowed to."""

    def __init__(self, query: Query, now: float) -> None:
        self._types = _texts(query, "filter[type]")
        self._tags = _texts(query, "filter[tags]")
        self._agents = _texts(query, "filter[taskIdentifier]")
        self._statuses = {text.upper() for text in _texts(query, "filter[status]")}
        self._chat_id = query.get("filter[externalId]")
        self._from = _millis(query, "filter[createdAt][from]")
        self._to = _millis(query, "filter[createdAt][to]")
        period = query.get("filter[createdAt][period]")
        if period is not None:
            self._from = max(self._from or 0.0, now - _period(period))
        unknown = self._statuses - {"ACTIVE", "CLOSED", "EXPIRED"}
        if unknown:
            raise InvalidInputError("ACTIVE, CLOSED or EXPIRED", path="filter[status]")

    async def rows(self, sessions: SessionManager, tenant: str, after: str) -> AsyncIterator[SessionRow]:
        agent = next(iter(self._agents)) if len(self._agents) == 1 else None
        async for row in sessions.iter_sessions(tenant=tenant, agent=agent, after=after):
            if self._fits(row):
                yield row

    def _fits(self, row: SessionRow) -> bool:
        item = to_item(row)
        status = "CLOSED" if row.status == "closed" else "ACTIVE"
        return (
            (not self._types or item["type"] in self._types)
            and (not self._tags or not self._tags.isdisjoint(item["tags"]))
            and (not self._agents or row.agent in self._agents)
            and (not self._statuses or status in self._statuses)
            and (self._chat_id is None or row.key.chat_id == self._chat_id)
            and (self._from is None or row.created_at >= self._from)
            and (self._to is None or row.created_at <= self._to)
        )


def _texts(query: Query, name: str) -> set[str]:
    return {text for text in query.get(name, "").split(",") if text}


def _millis(query: Query, name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise InvalidInputError("not a time in milliseconds", path=name)
    return int(text) / 1000


def _period(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}.get(unit)
    if seconds is None or not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise InvalidInputError("not a period such as 7d", path="filter[createdAt][period]")
    return float(int(number) * seconds)


def _size(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_PAGE):
        raise InvalidInputError(f"not 1 to {MAX_PAGE}", path="page[size]")
    return int(text)


def _cursor(query: Query, name: str) -> str:
    text = query.get(name)
    if not text:
        return ""
    chat_id = chat_id_of(text)
    if chat_id is None or len(chat_id) > MAX_CHAT_ID:
        raise InvalidInputError("not a cursor", path=name)
    return chat_id
