"""Which model answers to a name, and what stands in its place."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from chatrt.errors import UsageError
from chatrt.models import FunctionModel, LiteLLMModel, ScriptedModel, override_model, resolve_model


def test_a_name_is_a_litellm_model():
    """Without an override a name stands for the model of that name at its provider."""
    model = resolve_model("openai/gpt-5")

    assert (type(model), model.name) == (LiteLLMModel, "openai/gpt-5")


def test_a_model_is_itself():
    """A model is what was asked for."""
    model = ScriptedModel([])

    assert resolve_model(model) is model


@pytest.mark.parametrize("asked", ["openai/gpt-5", LiteLLMModel("openai/gpt-5"), ScriptedModel([])])
def test_an_override_stands_in_for_every_model(asked):
    """A model put in place answers whatever was asked for, by name or as a model."""
    stand_in = ScriptedModel([])

    with override_model(stand_in):
        assert resolve_model(asked) is stand_in


def test_an_override_ends_with_its_block():
    """Behind the block the name means its own model again, also when the block failed."""
    with pytest.raises(ZeroDivisionError), override_model(ScriptedModel([])):
        raise ZeroDivisionError

    assert isinstance(resolve_model("openai/gpt-5"), LiteLLMModel)


def test_a_mapping_leaves_other_names_alone():
    """Models can be replaced by name."""
    small = ScriptedModel([])

    with override_model({"openai/small": small}):
        assert resolve_model("openai/small") is small
        assert resolve_model("openai/large").name == "openai/large"


def test_a_function_chooses():
    """A function is given the name and may decline."""
    small = ScriptedModel([])

    with override_model(lambda name: small if name.endswith("small") else None):
        assert resolve_model(LiteLLMModel("openai/small")) is small
        assert resolve_model("openai/large").name == "openai/large"


def test_the_innermost_override_that_has_a_say_wins():
    """Nested overrides: the inner one first, the outer one for what the inner one leaves."""
    outer, inner = ScriptedModel([]), ScriptedModel([])

    with override_model(outer), override_model({"a/b": inner}):
        assert resolve_model("a/b") is inner
        assert resolve_model("c/d") is outer


async def test_a_task_begun_inside_sees_it_and_sees_its_end():
    """The override holds for tasks begun in the block, for as long as the block lasts."""
    stand_in, go_on, seen = ScriptedModel([]), asyncio.Event(), []

    async def work():
        seen.append(resolve_model("a/b"))
        await go_on.wait()
        seen.append(resolve_model("a/b"))

    with override_model(stand_in):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    go_on.set()
    await task

    assert seen[0] is stand_in
    assert isinstance(seen[1], LiteLLMModel)


def test_other_contexts_are_not_touched():
    """Code that does not run in the block keeps its models."""
    elsewhere = contextvars.copy_context()

    with override_model(ScriptedModel([])):
        model = elsewhere.run(resolve_model, "a/b")

    assert isinstance(model, LiteLLMModel)


def test_what_is_no_model_is_refused():
    """An override is a model, a mapping or a function."""
    with pytest.raises(UsageError, match="not a int"), override_model(3):  # type: ignore[arg-type]
        pass


def test_a_function_model_is_taken_as_a_model():
    """A model that is made of a function is put in place itself."""
    stand_in = FunctionModel(lambda request: "x")

    with override_model(stand_in):
        assert resolve_model("a/b") is stand_in
