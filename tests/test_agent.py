"""Declaring an agent."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel

from chatrt import ChatAgent
from chatrt.errors import InvalidActionError, InvalidClientDataError, UsageError


class Undo(BaseModel):
    type: Literal["undo"]


@pytest.mark.parametrize("agent_id", ["", "a b", "a/b", "ä?"])
def test_an_id_goes_into_a_url(agent_id: str):
    """An agent id is made of letters, digits, '-', '_' and '.'."""
    with pytest.raises(UsageError):
        ChatAgent(agent_id)


def test_an_unknown_busy_policy_is_a_mistake():
    """when_busy names one of the policies."""
    with pytest.raises(UsageError):
        ChatAgent("a", when_busy="panic")


def test_decorators_leave_the_function_alone():
    """A decorated function can still be called and tested by itself."""
    agent = ChatAgent("a")

    @agent.run
    def respond(turn):
        return "x"

    assert respond(None) == "x"
    assert agent.hooks.run is respond


@pytest.mark.parametrize(
    "hook",
    [
        "on_boot",
        "on_validate_messages",
        "hydrate_messages",
        "on_chat_start",
        "on_turn_start",
        "prepare_messages",
        "on_before_turn_complete",
        "on_turn_complete",
        "on_action",
        "on_error",
    ],
)
def test_every_hook_is_a_decorator_and_an_argument(hook: str):
    """Whichever way a hook is registered, it is the same hook."""

    def function(event):
        return None

    decorated = ChatAgent("a")
    getattr(decorated, hook)(function)

    assert getattr(decorated.hooks, hook) is function
    assert getattr(ChatAgent("a", **{hook: function}).hooks, hook) is function


def test_client_data_without_a_type_are_taken_as_they_are():
    """Without client_data any value passes."""
    assert ChatAgent("a").parse_client_data({"x": 1}) == {"x": 1}


def test_unfit_client_data_say_where():
    """The error names the place that does not fit."""

    class Data(BaseModel):
        user: int

    with pytest.raises(InvalidClientDataError) as caught:
        ChatAgent("a", client_data=Data).parse_client_data({"user": "x"})

    assert caught.value.path == "/user"


def test_an_action_becomes_its_type():
    """An action is validated into the declared type."""
    agent = ChatAgent("a", action=Undo, on_action=lambda event: None)

    assert agent.parse_action({"type": "undo"}) == Undo(type="undo")


def test_without_on_action_no_action_is_taken():
    """An agent that handles no actions refuses them."""
    with pytest.raises(InvalidActionError):
        ChatAgent("a").parse_action({"type": "undo"})


def test_no_client_data_mean_the_defaults():
    """A client that sends nothing gets the defaults of the declared type."""

    class Data(BaseModel):
        language: str = "en"

    assert ChatAgent("a", client_data=Data).parse_client_data(None) == Data()


def test_no_client_data_can_be_a_value():
    """A type that allows None gets None."""
    assert ChatAgent("a", client_data=int | None).parse_client_data(None) is None


def test_required_client_data_have_to_be_sent():
    """Without a default, sending nothing is an error that names what is missing."""

    class Data(BaseModel):
        user: str

    with pytest.raises(InvalidClientDataError) as caught:
        ChatAgent("a", client_data=Data).parse_client_data(None)

    assert caught.value.path == "/user"


def test_options_have_defaults():
    """Messages queue, a run waits half a minute in memory, is suspended for an hour and serves a hundred turns."""
    agent = ChatAgent("a")

    assert (agent.when_busy, agent.pending_messages, list(agent.tools)) == ("queue", None, [])
    assert (agent.idle_timeout, agent.turn_timeout, agent.max_turns) == (30, 3600, 100)
    assert agent.exit_after_preload_idle is False


def test_a_preload_waits_like_any_run_if_nothing_else_is_said():
    """The times of a preload are those of the agent, and can be others."""
    like_any = ChatAgent("a", idle_timeout=5, turn_timeout=50)
    of_its_own = ChatAgent("a", idle_timeout=5, turn_timeout=50, preload_idle_timeout=0, preload_timeout=7)

    assert (like_any.preload_idle_timeout, like_any.preload_timeout) == (5, 50)
    assert (of_its_own.preload_idle_timeout, of_its_own.preload_timeout) == (0, 7)
