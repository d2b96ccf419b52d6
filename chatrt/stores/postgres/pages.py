"""Pages of `.out`, read for many readers by one query: what one notification tells of many sessions is read at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chatrt.errors import SessionNotFoundError, UnreadableRecordError
from chatrt.stores import rows
from chatrt.stores.base import OutPage, Record, SessionKey
from chatrt.stores.postgres import queries
from chatrt.stores.postgres.grouping import Grouping

GROUP = 64
"""How many pages one query reads at most; a page has up to a thousand records."""

WIDTH = 3
"""How many such queries may be under way, so that who reads a long log holds nobody up."""

_Wanted = tuple[SessionKey, int, int]


class Pages:
    """Reads pages.

    Args:
        read: Runs a query.
    """

    def __init__(self, read: Callable[..., Awaitable[list[Any]]]) -> None:
        self._query = read
        self._wanted: Grouping[_Wanted, OutPage] = Grouping(self._read, size=GROUP, width=WIDTH)
        self.open, self.close = self._wanted.open, self._wanted.close

    async def read(self, key: SessionKey, *, after: int, limit: int) -> OutPage:
        """Return the records with `seq > after`, as many as there are up to `limit`.

        Raises:
            SessionNotFoundError: If there is no such session.
            UnreadableRecordError: If they are damaged; other readers get theirs.
            StoreUnavailableError: If the database cannot be read.
        """
        return await self._wanted.submit((key, after, limit))

    async def _read(self, group: Sequence[_Wanted]) -> Sequence[OutPage | Exception]:
        keys, cursors, limits = zip(*group, strict=True)
        tenants, chats = [key.tenant for key in keys], [key.chat_id for key in keys]
        found: list[list[Any]] = [[] for _ in group]
        for place, *row in await self._query(queries.READ_OUT, tenants, chats, cursors, limits):
            found[place - 1].append(row)
        return [_page(*wanted, segments) for wanted, segments in zip(group, found, strict=True)]


def _page(key: SessionKey, after: int, limit: int, segments: list[Any]) -> OutPage | Exception:
    if not segments:
        return SessionNotFoundError(key.chat_id)
    records: list[Record] = []
    for _, _, first_seq, count, at, body in segments:
        if first_seq is not None:
            what = f".out of session {key.chat_id!r} from {first_seq}"
            try:
                decoded = rows.decode_segment(what, first_seq, count, at, body)
            except UnreadableRecordError as error:
                return error
            records += decoded[max(0, after + 1 - first_seq) :]
    first, last, *_ = segments[0]
    return OutPage(records[:limit], first, last)
