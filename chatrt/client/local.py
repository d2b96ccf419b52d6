"""The way to a session in the same process: straight to the session manager."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Self, cast

from chatrt.client.inputs import file_part
from chatrt.client.transport import ChatState, NewFile, OutRecord
from chatrt.clock import Clock
from chatrt.codec import loads
from chatrt.errors import SubAgentTakenError, UsageError
from chatrt.file_urls import own_url
from chatrt.run_control import RunControl
from chatrt.runtime import Session, SessionManager
from chatrt.runtime.asks import parse_askers
from chatrt.stores import Appended, Parent
from chatrt.tool_call import find_current_tool
from chatrt.ui import UIMessage, UIPart


class LocalTransport:
    """Talks to a `SessionManager` that somebody else starts and closes.

    Args:
        sessions: The session manager.
        tenant: Of the sessions.
        family: The run whose session becomes the parent of those that are new.
        own: Whether only sessions are taken that the run's session started, now or earlier.
    """

    def __init__(
        self, sessions: SessionManager, *, tenant: str = "", family: RunControl | None = None, own: bool = False
    ) -> None:
        self._sessions = sessions
        self._tenant = tenant
        self._family = family
        self._own = own

    @classmethod
    def of_run(cls, run: RunControl, *, own: bool = False) -> Self:
        """Talk to the session manager of a run; what is started is the run's family."""
        return cls(run.sessions, tenant=run.tenant, family=run, own=own)

    @property
    def clock(self) -> Clock:
        return self._sessions.clock

    async def start(self, chat_id: str, agent_id: str, *, client_data: Any) -> bool:
        found = await self._sessions.find_session(chat_id, tenant=self._tenant)
        session = await self._sessions.start_session(
            agent_id, chat_id, tenant=self._tenant, client_data=client_data, parent=self._parent()
        )
        parent = session.row.parent
        if self._own and (self._family is None or parent is None or parent.chat_id != self._family.chat_id):
            raise SubAgentTakenError(chat_id)
        return found is None

    def _parent(self) -> Parent | None:
        run, call = self._family, find_current_tool()
        if run is None:
            return None
        return Parent(
            chat_id=run.chat_id,
            root_id=run.chat_id if run.parent is None else run.parent.root_id,
            tool_call_id=None if call is None else call.tool_call_id,
        )

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

    async def upload(self, chat_id: str, file: NewFile) -> UIPart:
        key = (await self._get(chat_id)).key
        row = await self._sessions.attachments.upload(
            key, _once(file.data), media_type=file.media_type, filename=file.filename, size=len(file.data)
        )
        return file_part(own_url(chat_id, row.id), row.media_type, row.filename)

    async def load_metadata(self, chat_id: str) -> dict[str, Any]:
        return (await (await self._get(chat_id)).read_row()).metadata

    async def update_metadata(self, chat_id: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        return await self._sessions.update_metadata(chat_id, patch, tenant=self._tenant)

    async def close_session(self, chat_id: str, *, reason: str | None) -> None:
        await self._sessions.close_session(chat_id, tenant=self._tenant, reason=reason)

    async def aclose(self) -> None:
        """Nothing was opened here."""

    async def _get(self, chat_id: str) -> Session:
        return await self._sessions.get_session(chat_id, tenant=self._tenant)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _append(session: Session, body: Mapping[str, Any], part_id: str) -> Appended:
    inbox = session.inbox
    client_data = body.get("clientData")
    askers = parse_askers(body.get("askers"))
    match body["kind"]:
        case "message":
            return await inbox.send_message(
                cast("UIMessage", body["message"]),
                client_data=client_data,
                message_id=body.get("messageId"),
                steer=body.get("steer") is True,
                part_id=part_id,
                askers=askers,
            )
        case "regenerate":
            return await inbox.regenerate(
                body.get("messageId"), client_data=client_data, part_id=part_id, askers=askers
            )
        case "action":
            return await inbox.act(body["action"], client_data=client_data, part_id=part_id, askers=askers)
        case "switch":
            return await inbox.switch_branch(body["messageId"], client_data=client_data, part_id=part_id)
        case "stop":
            return await inbox.stop(in_seq=body.get("inSeq"), reason=body.get("reason"), part_id=part_id)
        case "data":
            return await inbox.send_data(body["data"], client_data=client_data, part_id=part_id)
        case "write":
            return await inbox.write(body["chunks"], part_id=part_id)
        case "preload":
            return await inbox.preload(client_data=client_data, part_id=part_id)
        case "edit":
            return await inbox.edit_pending(body["inSeq"], cast("UIMessage", body["message"]), part_id=part_id)
        case "withdraw":
            return await inbox.withdraw(body["inSeq"], part_id=part_id)
        case kind:
            raise UsageError(f"there is no input of kind {kind!r}")
