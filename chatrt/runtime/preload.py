"""A preload: a client asks for the run before it has something to say."""

from __future__ import annotations

from chatrt.events import PreloadEvent
from chatrt.runtime.calling import call
from chatrt.runtime.work import Completed, Failed, Outcome, Stopped, Work


class PreloadWork(Work):
    """A `preload` record being served; what `on_preload` writes is shown and not kept."""

    keeps_answer = False

    async def perform(self) -> Outcome:
        """Fire `on_preload`."""
        context, hook = self.context, self.context.agent.hooks.on_preload
        try:
            self.parse_client_data()
            turn = self.open_response(None)
            if hook is not None:
                await call(
                    hook,
                    PreloadEvent(
                        chat_id=context.chat_id,
                        history=context.history,
                        client_data=self.client_data,
                        run_id=context.run_id,
                        response=turn.response,
                    ),
                )
        except Exception as error:
            return Failed(error)
        return Stopped(self.stop_reason) if self.stop_signal.is_set() else Completed()
