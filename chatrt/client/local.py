"""The way to a session in the same process: straight to the session manager."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

from chatrt.client.transport import ChatState, OutRecord
from chatrt.codec import loads
from chatrt.errors import UsageError
from chatrt.runtime import Session, SessionManager
from chatrt.stores import Appended
from chatrt.ui import UIMessage


class LocalTransport:
    """Talks to a `SessionManager` that somebody else starts and closes."""

    def __init__(self, sessions: SessionManager, *, tenant: str = "") -> None:
        self._sessions = sessions
        self._tenant = tenant

    async def start(self, chat_id: str, agent_id: str, *, client_data: Any) -> bool:
        found = await self._sessions.find_session(chat_id, tenant=self._tenant)
        await self._sessions.start_session(agent_id, chat_id, tenant=self._tenant, client_data=client_data)
        return found is None

    async def append(self, chat_id: str, body: Mapping[str, Any], *, part_id: str) -> int:
        session = await self._get(chat_id)
        appended = await _append(session, body, part_id)
        return appended.seq

    async def read(self, chat_id: str, *, after: int) -> AsyncGenerator[Sequence[OutRecord], None]:
        session = await self._get(chat_id)
        batches = session.outbox.read(after)
        try:
            async for batch in batches:
                yield [OutRecord(record.seq, record.kind, loads(record.body)) for record in batch]
        finally:
            await cast("AsyncGenerator[Any, None]", batches).aclose()

    async def load(self, chat_id: str) -> ChatState:
        session = await self._get(chat_id)
        state = await session.load()
        return ChatState(
            messages=state.messages,
            cursor=state.cursor,
            in_cursor=state.in_cursor,
            last_in_seq=state.last_in_seq,
            status=state.status,
            pending=state.pending,
            branches=state.branches,
        )

    async def close_session(self, chat_id: str, *, reason: str | None) -> None:
        await self._sessions.close_session(chat_id, tenant=self._tenant, reason=reason)

    async def aclose(self) -> None:
        """Nothing was opened here."""

    async def _get(self, chat_id: str) -> Session:
        return await self._sessions.get_session(chat_id, tenant=self._tenant)


async def _append(session: Session, body: Mapping[str, Any], part_id: str) -> Appended:
    inbox = session.inbox
    client_data = body.get("clientData")
    match body["kind"]:
        case "message":
            return await inbox.send_message(
                cast("UIMessage", body["message"]),
                client_data=client_data,
                steer=body.get("steer") is True,
                part_id=part_id,
            )
        case "regenerate":
            return await inbox.regenerate(body.get("messageId"), client_data=client_data, part_id=part_id)
        case "action":
            return await inbox.act(body["action"], client_data=client_data, part_id=part_id)
        case "switch":
            return await inbox.switch_branch(body["messageId"], client_data=client_data, part_id=part_id)
        case "stop":
            return await inbox.stop(reason=body.get("reason"), part_id=part_id)
        case "data":
            return await inbox.send_data(body["data"], client_data=client_data, part_id=part_id)
        case "preload":
            return await inbox.preload(client_data=client_data, part_id=part_id)
        case "edit":
            return await inbox.edit_pending(body["inSeq"], cast("UIMessage", body["message"]), part_id=part_id)
        case "withdraw":
            return await inbox.withdraw(body["inSeq"], part_id=part_id)
        case kind:
            raise UsageError(f"there is no input of kind {kind!r}")
