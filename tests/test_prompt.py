"""Prompts: templates, their variables, and what is kept of them."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from chatrt.errors import UsageError
from chatrt.prompt import Prompt, SystemPrompt, to_system_prompt
from chatrt.prompt_cache import cache_control


class TestTemplate:
    def test_variables_are_put_in_their_places(self) -> None:
        """Each name in braces becomes its value's text, wherever it stands and as often as it stands."""
        prompt = Prompt("{name} and {other}: {name}.")
        assert prompt.render(name="a", other=1).text == "a and 1: a."
        assert prompt.names == ("name", "other")

    def test_braces(self) -> None:
        """Two braces are one of the text."""
        assert Prompt('say {{"name": "{name}"}}').render(name="x").text == 'say {"name": "x"}'

    def test_a_value_is_no_template(self) -> None:
        """What looks like a variable inside of a value is text."""
        assert Prompt("{a}{b}").render(a="{b}", b="{a}").text == "{b}{a}"

    @pytest.mark.parametrize(
        "template", ["{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:>10}", "{a.__class__}", "{a b}", "{", "}", "{a"]
    )
    def test_only_names(self, template: str) -> None:
        """A template that asks for more than a name, or is none, is refused where it is written."""
        with pytest.raises(UsageError, match="a brace"):
            Prompt(template)


class TestVariables:
    def test_missing(self) -> None:
        """Every variable needs a value; the error names those without."""
        with pytest.raises(UsageError, match="needs a value for b, c"):
            Prompt("{a}{b}{c}").render(a=1)

    def test_none_is_no_value(self) -> None:
        """A value that is None is a value that was forgotten."""
        with pytest.raises(UsageError, match="needs a value for a"):
            Prompt("{a}").render(a=None)

    def test_unknown(self) -> None:
        """A value without a place is a mistake."""
        with pytest.raises(UsageError, match="has no variable b"):
            Prompt("{a}").render(a=1, b=2)

    def test_typed(self) -> None:
        """A value has to fit the type of its variable."""
        prompt = Prompt("{plan}", variables={"plan": Literal["free", "pro"]})
        assert prompt.render(plan="pro").text == "pro"
        with pytest.raises(UsageError, match="variable plan of the prompt"):
            prompt.render(plan="gold")

    def test_a_type_without_a_variable(self) -> None:
        """A type for what the template does not have is refused where it is written."""
        with pytest.raises(UsageError, match="has no variable plam"):
            Prompt("{plan}", variables={"plam": str})

    @pytest.mark.parametrize("name", ["self", "template", "class"])
    def test_any_name(self, name: str) -> None:
        """No name is taken."""
        assert Prompt(f"{{{name}}}").render(**{name: "x"}).text == "x"


class TestKept:
    def test_everything_goes_along(self) -> None:
        """What was rendered has the model, the settings and the options of its prompt."""
        prompt = Prompt(
            "{a}", model="anthropic/claude-sonnet-4-5", settings={"temperature": 0}, provider_options=cache_control()
        )
        made = prompt.render(a="x")
        assert made == SystemPrompt(
            "x", model="anthropic/claude-sonnet-4-5", settings={"temperature": 0}, provider_options=cache_control()
        )
        assert SystemPrompt.from_json(made.to_json()) == made

    def test_more_text(self) -> None:
        """More text is a paragraph of its own, and the options stay; no text adds nothing."""
        prompt = SystemPrompt("a", provider_options=cache_control())
        assert prompt.with_more("b") == SystemPrompt("a\n\nb", provider_options=cache_control())
        assert prompt.with_more("") == prompt

    def test_a_text(self) -> None:
        """A text is a prompt of its own, and its braces are text."""
        assert to_system_prompt("{a}", {}) == SystemPrompt("{a}")

    def test_a_text_has_no_variables(self) -> None:
        """Values for a text go nowhere."""
        with pytest.raises(UsageError, match="takes no a"):
            to_system_prompt("{a}", {"a": 1})

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, {"anthropic": {"own": 1}}),
            ({"cache": True}, cache_control()),
            ({"provider_options": {"x": {}}}, {"x": {}}),
            ({"provider_options": {"x": {}}, "cache": True}, {"x": {}}),
        ],
    )
    def test_options(self, given: Any, expected: Any) -> None:
        """Options that are given go before `cache`, and both before the prompt's own."""
        own = SystemPrompt("x", provider_options={"anthropic": {"own": 1}})
        assert to_system_prompt(own, {}, **given).provider_options == expected

    def test_what_cannot_be_stored(self) -> None:
        """A prompt is kept as JSON; one that is none is refused at once."""
        with pytest.raises(UsageError, match="cannot be stored"):
            to_system_prompt(SystemPrompt("x", settings={"seed": object()}), {})
        with pytest.raises(UsageError, match="cannot be stored"):
            to_system_prompt("\ud800", {})

    def test_it_is_nobody_elses(self) -> None:
        """What the caller does to its options later changes nothing."""
        options: Any = {"anthropic": {"cacheControl": {"type": "ephemeral"}}}
        kept = to_system_prompt("x", {}, provider_options=options)
        options["anthropic"].clear()
        assert kept.provider_options == cache_control()
