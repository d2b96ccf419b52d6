"""One worker of a harness, from its start to its end: the real session manager on a watched store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.clock import ManualClock
from chatrt.ids import Ids
from chatrt.models import Model, override_model
from chatrt.models.resolve import ChooseModel, Override, current_overrides, to_chooser
from chatrt.run_locals import Local, local_values
from chatrt.runtime import SessionManager
from chatrt.stores import SessionKey, Store
from chatrt.testing.rest import come_to_rest
from chatrt.testing.watched_store import WorkerStore, log_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all workers of a harness share.

    Attributes:
        key: The chat.
        client_data: What its client sends along.
        metadata: Of the session, when it is made.
        locals: The values that locals have in spite of what is stored.
    """

    key: SessionKey
    store: Store
    clock: ManualClock
    ids: Ids
    lease_ttl: float
    client_data: Any
    metadata: dict[str, Any]
    locals: Mapping[Local[Any], Any]


class TestersModels:
    """The models that a test has put in place, for runs that go on from one `with override_model(...)` to the next.

    Args:
        model: What the harness was given; blocks that are entered later come first.
    """

    __test__ = False

    def __init__(self, model: Model | Mapping[str, Model] | ChooseModel | None) -> None:
        self._own = None if model is None else to_chooser(model)
        self._outer = current_overrides()
        self._entered: tuple[Override, ...] = ()

    def look(self) -> None:
        """Take over what holds for the calling code."""
        self._entered = tuple(override for override in current_overrides() if override not in self._outer)

    def choose(self, name: str) -> Model | None:
        """Return the model in the place of that name, or None."""
        for override in reversed(self._entered):
            chosen = override.choose(name) if override.active else None
            if chosen is not None:
                return chosen
        return None if self._own is None else self._own(name)


class Worker:
    """Serves the chat of a harness until it ends, in one way or another.

    Its tasks live in a context of their own, so that models overridden by one harness are not seen by another.
    """

    def __init__(self, agents: Sequence[ChatAgent], agent_id: str, setting: Setting, models: TestersModels) -> None:
        self._setting = setting
        self._agent_id = agent_id
        self._context = copy_context()
        self._overriding = ExitStack()
        self._context.run(self._overriding.enter_context, override_model(models.choose))
        self._context.run(self._overriding.enter_context, local_values(setting.locals))
        self.store = WorkerStore(setting.store, log_of(setting.store))
        self.sessions = SessionManager(
            agents, self.store.as_store, clock=setting.clock, ids=setting.ids, lease_ttl=setting.lease_ttl
        )
        key = setting.key
        self.chat = AgentChat(
            agent_id,
            id=key.chat_id,
            tenant=key.tenant,
            client_data=setting.client_data,
            sessions=self.sessions,
            ids=setting.ids,
        )

    async def start(self) -> None:
        """Begin to serve, and take up what was left."""
        setting = self._setting
        await self.do(self.sessions.start())
        self.session = await self.do(
            self.sessions.start_session(
                self._agent_id,
                setting.key.chat_id,
                tenant=setting.key.tenant,
                client_data=setting.client_data,
                metadata=setting.metadata,
            )
        )
        if not self.session.is_served:
            await self.session.load()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something in the worker's own context: what it starts belongs to the worker."""
        return await asyncio.create_task(work, context=self._context)

    async def drain(self, grace: float) -> None:
        """End after the turns at hand, or after `grace` real seconds."""
        await self.do(self.sessions.aclose(grace=grace))
        self._context.run(self._overriding.close)

    async def kill(self) -> None:
        """End at once: nothing is stored from now on.

        Code that does not end when it is cancelled is waited for as long as the runtime waits, on the clock.
        """
        clock = self._setting.clock
        self.store.end()
        ending = asyncio.create_task(self.sessions.aclose(grace=0.0), context=self._context)
        while not ending.done():
            await come_to_rest(self.store.wait_outside, until=ending.done)
            if ending.done() or clock.next_due is None:
                break
            clock.advance_to(clock.next_due)
        await ending
        self._context.run(self._overriding.close)
