"""What an agent takes and gives, as JSON schemas."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, PlainValidator

from chatrt.agent import ChatAgent
from chatrt.agent_schema import describe_agent
from chatrt.tools import Tool, tool


class Weather(BaseModel):
    city_name: str = Field(serialization_alias="cityName")
    celsius: float = 20.0


@tool
async def get_weather(city: str) -> Weather:
    """Tell the weather."""
    return Weather(city_name=city)


def agent(**options) -> ChatAgent:
    return ChatAgent("a", run=lambda turn: "", **options)


def test_an_agent_that_says_nothing():
    """Without types, client data may be anything and there are no actions."""
    described = describe_agent(agent())
    assert (described.takes_actions, described.action, described.client_data, described.tools) == (
        False,
        None,
        None,
        {},
    )


def test_actions_of_any_kind():
    """A hook for actions takes them, whether or not it says which."""
    assert describe_agent(agent(on_action=lambda event: None)).takes_actions
    assert describe_agent(agent(on_action=lambda event: None, action=dict[str, int])).action == {
        "type": "object",
        "additionalProperties": {"type": "integer"},
    }


def test_what_a_tool_gives_is_described_as_it_is_sent():
    """An output has the names it is written with, and its defaults are always there."""
    described = describe_agent(agent(tools=[get_weather])).tools["get_weather"]
    assert described.description == "Tell the weather."
    assert described.input["required"] == ["city"]
    assert described.output["required"] == ["cityName", "celsius"]


def test_tools_whose_shape_comes_later_are_left_out():
    """Dynamic tools come as `dynamic-tool` parts; where each turn has its own tools, nothing is known."""
    remote = Tool.from_schema("remote", "", {"type": "object"}, dynamic=True)
    assert describe_agent(agent(tools=[remote, get_weather])).tools.keys() == {"get_weather"}
    assert describe_agent(agent(tools=lambda turn: [get_weather])).tools is None


def test_what_has_no_schema_may_be_anything():
    """A type that only code can describe is no reason to fail."""

    class Odd:
        pass

    @tool
    def give() -> Odd:
        """Give something odd."""
        return Odd()

    described = describe_agent(agent(tools=[give], client_data=Annotated[Odd, PlainValidator(lambda value: Odd())]))
    assert described.client_data in (None, {})
    assert described.tools["give"].output is None
