"""A model made of a function: for agents without a language model, and tests whose answers depend on the question."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

from chatrt.errors import UsageError
from chatrt.models.base import ModelPart, ModelRequest
from chatrt.models.scripted import call, text

FunctionAnswer = str | Sequence[ModelPart] | AsyncIterator[ModelPart]


class FunctionModel:
    """Calls a function for each model call.

    The function takes the request and gives a text, a list of parts, or an async iterator of parts; it may be a plain
    function, a coroutine function or an async generator function. A plain function runs on the event loop: it must not
    block.
    """

    def __init__(
        self, function: Callable[[ModelRequest], FunctionAnswer | Awaitable[FunctionAnswer]], *, name: str = "function"
    ) -> None:
        self._function = function
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelPart]:
        """Call the function and yield the parts of its answer.

        Raises:
            UsageError: While iterating, when the function gives something else than an answer.
        """
        answer: Any = self._function(request)
        if inspect.isawaitable(answer):
            answer = await answer
        match answer:
            case str():
                for part in call(text(answer)):
                    yield cast("ModelPart", part)
            case AsyncIterator():
                parts = cast("AsyncIterator[ModelPart]", answer)
                try:
                    async for part in parts:
                        yield part
                finally:
                    aclose = getattr(parts, "aclose", None)
                    if aclose is not None:
                        await aclose()
            case Sequence():
                for part in cast("Sequence[ModelPart]", answer):
                    yield part
            case _:
                raise UsageError(
                    f"the function of model {self._name!r} gave a {type(answer).__name__}, "
                    "not a text, a list of parts or an async iterator of parts"
                )
