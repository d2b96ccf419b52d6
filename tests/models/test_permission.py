"""Whether real models may be called."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chatrt.errors import ModelCallForbiddenError
from chatrt.generate import stream_text
from chatrt.models import LiteLLMModel, ModelRequest, ScriptedModel, allow_model_calls, forbid_model_calls
from chatrt.models.permission import FORBID_VARIABLE, check_model_call

REQUEST = ModelRequest(messages=[{"role": "user", "content": "hi"}])


async def test_a_forbidden_call_names_the_model():
    """A real model that is called where that is forbidden fails with its name, before anything is sent."""
    with forbid_model_calls(), pytest.raises(ModelCallForbiddenError, match="openai/gpt-5") as caught:
        await anext(LiteLLMModel("openai/gpt-5").stream(REQUEST))

    assert (caught.value.model, caught.value.code) == ("openai/gpt-5", "model-call-forbidden")


def test_a_forbidden_call_does_not_load_litellm():
    """Refusing costs nothing: the provider library is not even imported."""
    code = (
        "import asyncio, sys\n"
        "from chatrt.models import LiteLLMModel, ModelRequest, forbid_model_calls\n"
        "async def ask():\n"
        "    return await anext(LiteLLMModel('openai/gpt-5').stream(ModelRequest(messages=[])))\n"
        "with forbid_model_calls():\n"
        "    try:\n"
        "        asyncio.run(ask())\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, 'litellm' in sys.modules)\n"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["ModelCallForbiddenError", "False"]


async def test_models_without_a_network_are_not_touched():
    """A scripted model answers where real ones are forbidden."""
    with forbid_model_calls():
        assert await stream_text(ScriptedModel(["Hello."]), [{"role": "user", "content": "hi"}]).text() == "Hello."


def test_the_block_entered_last_holds():
    """A block may allow what surrounds it forbids, and the other way round."""
    with forbid_model_calls():
        with allow_model_calls():
            check_model_call("a/b")
            with forbid_model_calls(), pytest.raises(ModelCallForbiddenError):
                check_model_call("a/b")
            check_model_call("a/b")
        with pytest.raises(ModelCallForbiddenError):
            check_model_call("a/b")
    check_model_call("a/b")


def test_blocks_may_overlap():
    """A block that ends while a later one goes on takes only its own word back."""
    first, second = forbid_model_calls(), forbid_model_calls()
    first.__enter__()
    second.__enter__()

    first.__exit__(None, None, None)

    with pytest.raises(ModelCallForbiddenError):
        check_model_call("a/b")
    second.__exit__(None, None, None)
    check_model_call("a/b")


@pytest.mark.parametrize(
    ("value", "forbidden"), [("1", True), ("yes", True), ("0", False), ("false", False), ("", False)]
)
def test_an_environment_variable_forbids(monkeypatch, value, forbidden):
    """CHATRT_FORBID_MODEL_CALLS forbids real model calls unless it says no."""
    monkeypatch.setenv(FORBID_VARIABLE, value)

    if not forbidden:
        check_model_call("a/b")
        return
    with pytest.raises(ModelCallForbiddenError):
        check_model_call("a/b")


def test_allowing_wins_over_the_environment(monkeypatch):
    """A block that allows real calls holds whatever the environment says."""
    monkeypatch.setenv(FORBID_VARIABLE, "1")

    with allow_model_calls():
        assert check_model_call("a/b") is None
