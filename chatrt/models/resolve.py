"""Which model answers to a name, and what tests put in its place."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import cast

from chatrt.errors import UsageError
from chatrt.models.base import Model
from chatrt.models.litellm import LiteLLMModel

ChooseModel = Callable[[str], Model | None]
"""Is given the name of the model that is asked for; gives another one, or None to leave it."""


@dataclass(slots=True, eq=False)
class Override:
    """What stands in for models while its `with` block lasts; tasks that outlive the block see that it is over."""

    choose: ChooseModel
    active: bool = True


_overrides: ContextVar[tuple[Override, ...]] = ContextVar("chatrt_model_overrides", default=())


def resolve_model(model: str | Model) -> Model:
    """Return the model itself, or for a litellm name such as `anthropic/claude-sonnet-4-5` the model of that name.

    Inside of `override_model` it is what was put in its place; of nested ones the innermost that has a say.
    """
    overrides = _overrides.get()
    if overrides:
        name = model if isinstance(model, str) else model.name
        for override in reversed(overrides):
            chosen = override.choose(name) if override.active else None
            if chosen is not None:
                return chosen
    return LiteLLMModel(model) if isinstance(model, str) else model


@contextmanager
def override_model(model: Model | Mapping[str, Model] | ChooseModel) -> Generator[None]:
    """Put another model in the place of those that code asks for, for the length of a `with` block.

        with override_model(ScriptedModel(["Hello."])):
            ...

    It holds for the code that runs in the block and for the tasks begun there, sessions that are served included; a
    `ChatHarness` sees to it for a run that goes on from before. Other tasks keep their own models.

    Args:
        model: A model for whatever is asked for; a mapping by name, which leaves other names alone; or a function that
            is given the name. A name is what `stream_text` was given, or the `name` of the model it was given.

    Raises:
        UsageError: If it is none of these.
    """
    override = Override(to_chooser(model))
    _overrides.set((*_overrides.get(), override))
    try:
        yield
    finally:
        override.active = False
        # Not by a token: a fixture may be torn down in another context than it was set up in.
        _overrides.set(tuple(other for other in _overrides.get() if other is not override))


def current_overrides() -> tuple[Override, ...]:
    """Return what holds for the calling code, innermost last."""
    return _overrides.get()


def to_chooser(model: Model | Mapping[str, Model] | ChooseModel) -> ChooseModel:
    """Return what `override_model` takes as a function.

    Raises:
        UsageError: If it is no model, no mapping and no function.
    """
    if isinstance(model, Mapping):
        return cast("Mapping[str, Model]", model).get
    if hasattr(model, "stream"):
        stand_in = cast("Model", model)
        return lambda _: stand_in
    if callable(model):
        return model
    raise UsageError(f"a model, a mapping of names to models or a function is expected, not a {type(model).__name__}")
