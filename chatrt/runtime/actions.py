"""What changes the history and is not a turn: actions of the application's own, and the switch to another branch."""

from __future__ import annotations

from typing import Any

from chatrt.errors import ForbiddenChangeError
from chatrt.events import ActionEvent, HydrateMessagesEvent
from chatrt.runtime.calling import call
from chatrt.runtime.turns import checked_history
from chatrt.runtime.work import Completed, Failed, Outcome, Stopped, Work
from chatrt.serving import ServedTurn


class ActionWork(Work):
    """An `action` record being served."""

    handled = False
    """Whether the handler returned: its changes stand from then on."""

    def interrupt(self, reason: str) -> None:
        """End what the action says; a newer message does not undo what it does (D7)."""
        if self.handled:
            self.stop(reason)

    async def perform(self) -> Outcome:
        """Serve the record.

        A handler that fails changes nothing (D20). Once it has returned its changes stand, also when the stream it
        returned fails later: what was shown of it is kept (D21).
        """
        checkpoint = self.context.checkpoint()

        async def handle() -> Any:
            answer = await self._handle()
            self.handled = True
            return answer

        try:
            await self.resolve_agent_parts()
            self.open_response(None)
            await self.answer(handle)
        except Exception as error:
            outcome = Failed(error)
        else:
            outcome = Stopped(self.stop_reason) if self.stop_signal.is_set() else Completed()
        if not self.handled:
            self.context.restore(checkpoint)
        return outcome

    async def _handle(self) -> Any:
        context, hooks = self.context, self.context.agent.hooks
        action = context.agent.parse_action(self.body.get("action"))
        if hooks.hydrate_messages is not None:
            event = HydrateMessagesEvent(
                chat_id=context.chat_id,
                history=context.history,
                client_data=self.client_data,
                turn=context.turns,
                trigger="action",
                incoming_messages=[],
                previous_messages=context.history.all(),
                continuation=context.continuation,
            )
            context.history.set(checked_history(await call(hooks.hydrate_messages, event)))
        if self.turn is None:
            return None
        if hooks.on_action is None:
            if isinstance(self.turn, ServedTurn):
                self.turn.action = action
            return None if context.loop is None else await context.loop.answer(self.turn)
        return await call(
            hooks.on_action,
            ActionEvent(
                chat_id=context.chat_id,
                history=context.history,
                client_data=self.client_data,
                convert=self.convert,
                action=action,
                turn=context.turns,
                response=self.turn.response,
            ),
        )


class SwitchWork(Work):
    """A `switch` record being served: another branch of the history becomes the active one."""

    def interrupt(self, reason: str) -> None:
        """Go on: a newer message undoes no switch (D7)."""

    async def perform(self) -> Outcome:
        """Serve the record; one that fails changes nothing (D20)."""
        if self.stop_signal.is_set():
            return Stopped(self.stop_reason)
        try:
            self.parse_client_data()
            if self.context.agent.hooks.hydrate_messages is not None:
                raise ForbiddenChangeError("the application keeps the branches of this chat", path="/kind")
            self.context.history.switch_to(self.body["messageId"])
        except Exception as error:
            return Failed(error)
        return Completed()
