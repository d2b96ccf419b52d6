"""Where `chatrt sessions` finds sessions: a store that it opens itself, or a server that it asks over HTTP."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import httpx

from chatrt.client.remote import error_from_response
from chatrt.codec import loads
from chatrt.errors import ServerUnavailableError, SessionNotFoundError, StoreUnavailableError, UsageError
from chatrt.runtime.export import export_lines, read_dump
from chatrt.sse import SSEDecoder
from chatrt.stores import SessionKey, SessionRow, SQLiteStore, Store, open_store
from chatrt.stores.portable import as_portable

PAGE = 200


class Source(Protocol):
    """What can be done with sessions from outside of what serves them. Rows are those of the native wire."""

    def list(self, *, agent: str | None, status: str | None, limit: int) -> AsyncIterator[dict[str, Any]]:
        """Yield sessions by chat id, at most `limit` (0: all)."""
        ...

    async def messages(self, chat_id: str) -> list[Any]:
        """Return the messages of the active branch."""
        ...

    def records(self, chat_id: str) -> AsyncIterator[tuple[int, int, str, Any]]:
        """Yield what is kept of `.out`: number, milliseconds since 1970 (0 if unknown), kind, body."""
        ...

    def export(self, chat_id: str) -> AsyncIterator[bytes]:
        """Yield the session as lines of JSON."""
        ...

    async def bring_in(self, path: Path, *, chat_id: str | None) -> str:
        """Put an exported session there and return its chat id."""
        ...

    async def close(self, chat_id: str, *, reason: str | None) -> None:
        """Close a session and those it started."""
        ...

    async def delete(self, chat_id: str) -> None:
        """Remove a session and those it started."""
        ...


@asynccontextmanager
async def open_source(store: str | None, url: str | None, tenant: str) -> AsyncGenerator[Source]:
    """Open a store, or connect to a server.

    Raises:
        UsageError: If both are given, or the store's URL is not understood.
        StoreLockedError: If a process serves the store; then `--url` is the way.
    """
    if url is not None:
        if store is not None or tenant:
            raise UsageError("--url asks a server, which has a store and tenants of its own")
        key = os.environ.get("CHATRT_SECRET_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=60) as http:
            yield ServerSource(http)
        return
    named = store or os.environ.get("CHATRT_STORE") or "sqlite:///chatrt.db"
    opened = open_store(named)
    if isinstance(opened, SQLiteStore) and not os.path.exists(opened.path):  # noqa: ASYNC240, PTH110 - once, at the start
        raise StoreUnavailableError(f"there is no {opened.path}")
    if opened.is_shared:
        await _check_tables(named)
    await opened.open()
    try:
        yield StoreSource(opened, tenant)
    finally:
        await opened.close()


async def _check_tables(url: str) -> None:
    """Make sure that a database has tables: to look is not to make.

    Raises:
        StoreUnavailableError: If it has none, or cannot be reached.
    """
    migrations: Any = importlib.import_module("chatrt.stores.postgres.migrations")  # by name: asyncpg is an extra
    if len(await migrations.pending_migrations(url)) == migrations.VERSION:
        raise StoreUnavailableError("the database has no tables of chatrt")


class StoreSource:
    """Sessions of a store that this process has opened."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def list(self, *, agent: str | None, status: str | None, limit: int) -> AsyncIterator[dict[str, Any]]:
        wanted = None if status is None else "closed" if status == "closed" else "open"
        async for row in self._store.iter_sessions(self._tenant, agent=agent, status=wanted, limit=limit):
            yield _row_json(row)

    async def messages(self, chat_id: str) -> list[Any]:
        return [node.message for node in (await self._store.load_snapshot(self._key(chat_id))).nodes]

    async def records(self, chat_id: str) -> AsyncIterator[tuple[int, int, str, Any]]:
        cursor = 0
        while (page := await self._store.read_out(self._key(chat_id), after=cursor)).records:
            for record in page.records:
                yield record.seq, record.at, record.kind, loads(record.body)
            cursor = page.records[-1].seq

    async def export(self, chat_id: str) -> AsyncIterator[bytes]:
        async for piece in export_lines(as_portable(self._store), self._key(chat_id)):
            yield piece

    async def bring_in(self, path: Path, *, chat_id: str | None) -> str:
        dump = await read_dump(_pieces(path), tenant=self._tenant, chat_id=chat_id)
        return (await as_portable(self._store).import_session(dump)).key.chat_id

    async def close(self, chat_id: str, *, reason: str | None) -> None:
        for key in await self._family(self._key(chat_id)):
            await self._store.close_session(key, reason=reason, at=time.time())

    async def delete(self, chat_id: str) -> None:
        family = await self._family(self._key(chat_id))
        for key in reversed(family):
            deleted = await self._store.delete_session(key)
            if not deleted and key == family[0]:
                raise SessionNotFoundError(chat_id)

    def _key(self, chat_id: str) -> SessionKey:
        return SessionKey(self._tenant, chat_id)

    async def _family(self, key: SessionKey) -> list[SessionKey]:
        found = [key]
        for member in found:  # grows while it is gone through
            found += [row.key async for row in self._store.iter_sessions(key.tenant, parent=member.chat_id)]
        return found


class ServerSource:
    """Sessions of a running server."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def list(self, *, agent: str | None, status: str | None, limit: int) -> AsyncIterator[dict[str, Any]]:
        query = {name: value for name, value in (("agent", agent), ("status", status)) if value is not None}
        left, after = limit, ""
        while True:
            size = min(left, PAGE) if limit else PAGE
            page = (await self._ask("GET", "", params={**query, "after": after, "limit": str(size)})).json()
            for row in page["sessions"]:
                yield row
            left -= len(page["sessions"])
            if "next" not in page or (limit and left <= 0):
                return
            after = page["next"]

    async def messages(self, chat_id: str) -> list[Any]:
        return (await self._ask("GET", f"/{quote(chat_id, safe='')}/messages")).json()["messages"]

    async def records(self, chat_id: str) -> AsyncIterator[tuple[int, int, str, Any]]:
        decoder = SSEDecoder()
        async for data in self._stream(f"/{quote(chat_id, safe='')}/out?until=idle"):
            for event in decoder.decode(data):
                kind = "chunk" if event.event == "message" else event.event
                yield int(event.id or 0), 0, kind, loads(event.data.encode())

    async def export(self, chat_id: str) -> AsyncIterator[bytes]:
        async for data in self._stream(f"/{quote(chat_id, safe='')}/export"):
            yield data

    async def bring_in(self, path: Path, *, chat_id: str | None) -> str:
        del path, chat_id
        raise UsageError("a session is imported into a store, by --store; a server takes none over HTTP")

    async def close(self, chat_id: str, *, reason: str | None) -> None:
        body = {} if reason is None else {"reason": reason}
        await self._ask("POST", f"/{quote(chat_id, safe='')}/close", json=body)

    async def delete(self, chat_id: str) -> None:
        await self._ask("DELETE", f"/{quote(chat_id, safe='')}")

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, f"/v1/sessions{path}", **options)
        except httpx.HTTPError as error:
            raise ServerUnavailableError(f"{self._http.base_url}: {error or type(error).__name__}") from error
        if not response.is_success:
            raise error_from_response(response, chat_id=_chat_of(path), agent_id="")
        return response

    async def _stream(self, path: str) -> AsyncIterator[bytes]:
        try:
            async with self._http.stream("GET", f"/v1/sessions{path}") as response:
                if not response.is_success:
                    await response.aread()
                    raise error_from_response(response, chat_id=_chat_of(path), agent_id="")
                async for data in response.aiter_raw():
                    yield data
        except httpx.HTTPError as error:
            raise ServerUnavailableError(f"{self._http.base_url}: {error or type(error).__name__}") from error


def _chat_of(path: str) -> str:
    return unquote(path.removeprefix("/").partition("/")[0])


def _row_json(row: SessionRow) -> dict[str, Any]:
    value: dict[str, Any] = {
        "chatId": row.key.chat_id,
        "agent": row.agent,
        "status": row.status,
        "createdAt": _iso(row.created_at),
        "updatedAt": _iso(row.updated_at),
        "metadata": row.metadata,
    }
    return value if row.closed_reason is None else {**value, "closedReason": row.closed_reason}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, 256 * 1024):
                yield piece
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
