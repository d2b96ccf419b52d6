"""The system text of an answer: a plain string, or a prompt with options and settings."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.prompt import SystemPrompt
from chatrt.prompt_cache import cache_control
from chatrt.tools import tool

USER: Any = [{"role": "user", "content": "q"}]
STORED = SystemPrompt("be nice", provider_options=cache_control())


async def asked(**options: Any) -> Any:
    """What the model was asked with these options."""
    model = ScriptedModel([call(text("x"))])
    await stream_text(model, USER, **options).text()
    (request,) = model.requests
    return request


@pytest.mark.behaviour(171)
@pytest.mark.parametrize("system", ["be nice", SystemPrompt("be nice"), SystemPrompt("be nice", provider_options={})])
async def test_a_plain_string(system: Any):
    """Without options for a provider the system message is its text and nothing else."""
    assert (await asked(system=system)).messages[0] == {"role": "system", "content": "be nice"}


@pytest.mark.behaviour(172)
async def test_cache_control():
    """`cache_control` marks the system text for Anthropic's cache."""
    row = (await asked(system="be nice", system_provider_options=cache_control())).messages[0]
    assert row == {
        "role": "system",
        "content": "be nice",
        "providerOptions": {"anthropic": {"cacheControl": {"type": "ephemeral"}}},
    }


@pytest.mark.behaviour(173)
async def test_options_as_they_are():
    """Options for any provider go through unchanged."""
    options = {"openai": {"promptCacheKey": "k"}, "bedrock": {"cachePoint": {"type": "default"}}}
    assert (await asked(system="be nice", system_provider_options=options)).messages[0]["providerOptions"] == options


async def test_options_of_the_prompt():
    """A prompt brings its own options."""
    assert (await asked(system=STORED)).messages[0]["providerOptions"] == cache_control()


@pytest.mark.behaviour(175)
@pytest.mark.parametrize("given", [{"x": {"y": 1}}, {}])
async def test_the_call_goes_before_the_prompt(given: Any):
    """What is given with the call replaces the prompt's options; an empty object takes them away."""
    row = (await asked(system=STORED, system_provider_options=given)).messages[0]
    assert row.get("providerOptions", {}) == given


async def test_no_system_no_options():
    """Options without a system text mark nothing."""
    assert (await asked(system_provider_options=cache_control())).messages == USER


async def test_settings_of_the_prompt():
    """Settings of a prompt hold where the call gives none."""
    prompt = SystemPrompt("be nice", settings={"temperature": 0, "seed": 1})
    assert (await asked(system=prompt, seed=2)).settings == {"temperature": 0, "seed": 2}


async def test_another_system_from_a_step_on():
    """`prepare_step` may give a prompt: it holds with its options and settings from that step on."""

    @tool
    async def add() -> int:
        """Adds."""
        return 1

    def prepare(**step: Any) -> Any:
        return {"system": SystemPrompt("be quick", settings={"seed": 1})} if step["step_number"] == 1 else None

    model = ScriptedModel([call(tool_call("add", {})), call(tool_call("add", {})), call(text("x"))])
    await stream_text(model, USER, system=STORED, tools=[add], prepare_step=prepare).text()
    seen = [(request.messages[0]["content"], request.settings) for request in model.requests]
    assert seen == [("be nice", {}), ("be quick", {"seed": 1}), ("be quick", {"seed": 1})]
    assert "providerOptions" not in model.requests[1].messages[0]
