"""Prompts: system texts with variables, and what a session keeps of one.

WELCOME = Prompt("You help {customer} on the {plan} plan.", variables={"plan": Literal["free", "pro"]})

@agent.on_chat_start
async def welcome(event):
    current_run().set_prompt(WELCOME, customer=event.client_data.name, plan="pro", cache=True)

@agent.run
async def respond(turn):
    return stream_text(MODEL, turn.messages, system=turn.prompt)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chatrt import codec
from chatrt.errors import InvalidInputError, UsageError
from chatrt.prompt_cache import cache_control


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """A system text, and how it wants to be sent.

    Attributes:
        text: The text.
        model: The litellm name of the model it was written for; for whoever calls `stream_text` to use.
        settings: Model settings by their chat-completions names; `stream_text` takes them where it is given none.
        provider_options: What a provider is told about the text, by provider: `cache_control()` for instance.
    """

    text: str
    model: str | None = field(default=None, kw_only=True)
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)
    provider_options: Mapping[str, Any] | None = field(default=None, kw_only=True)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SystemPrompt:
        """Read what `to_json` wrote."""
        return cls(
            value["text"],
            model=value.get("model"),
            settings=value.get("settings", {}),
            provider_options=value.get("providerOptions"),
        )

    def with_more(self, text: str) -> SystemPrompt:
        """Return the same with more text behind a blank line; `skills_preamble(skills)` for instance."""
        return replace(self, text="\n\n".join(piece for piece in (self.text, text) if piece))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-shaped value."""
        value: dict[str, Any] = {"text": self.text}
        if self.model is not None:
            value["model"] = self.model
        if self.settings:
            value["settings"] = dict(self.settings)
        if self.provider_options is not None:
            value["providerOptions"] = dict(self.provider_options)
        return value


class Prompt:
    """A system text with variables in braces; `{{` and `}}` stand for braces.

    A name in braces is all there is: no attribute, no index, no format. So a value cannot be made to show more than its
    text, and what stands in a value is never read as a template.

    Args:
        template: The text.
        variables: Types of variables by name; a value has to fit and is shown as pydantic reads it. Variables that are
            not named here take any value; None is no value.
        model: As of `SystemPrompt`, like the two below.
        settings: Likewise.
        provider_options: Likewise.

    Attributes:
        names: The variables, in the order of their first use.

    Raises:
        UsageError: If the template is none, or a type is given for a variable it does not have.
    """

    def __init__(
        self,
        template: str,
        *,
        variables: Mapping[str, Any] | None = None,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.template = template
        self._pieces = _parse(template)
        self.names = tuple(dict.fromkeys(name for _, name in self._pieces if name is not None))
        self._kinds = {name: TypeAdapter[Any](kind) for name, kind in (variables or {}).items()}
        if unused := [name for name in self._kinds if name not in self.names]:
            raise UsageError(f"the prompt has no variable {', '.join(unused)}")
        self._made = SystemPrompt("", model=model, settings=settings or {}, provider_options=provider_options)

    def __repr__(self) -> str:
        return f"Prompt({self.template!r})"

    def render(self, /, **variables: Any) -> SystemPrompt:
        """Put the values of all variables in their places.

        Raises:
            UsageError: If a variable has no value, a value no variable, or does not fit its type; it says which.
        """
        if missing := [name for name in self.names if variables.get(name) is None]:
            raise UsageError(f"the prompt needs a value for {', '.join(missing)}")
        if unknown := [name for name in variables if name not in self.names]:
            raise UsageError(f"the prompt has no variable {', '.join(unknown)}")
        texts = {name: self._text(name, value) for name, value in variables.items()}
        text = "".join(literal + (texts[name] if name is not None else "") for literal, name in self._pieces)
        return replace(self._made, text=text)

    def _text(self, name: str, value: Any) -> str:
        kind = self._kinds.get(name)
        if kind is None:
            return str(value)
        try:
            return str(kind.validate_python(value))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise UsageError(f"variable {name} of the prompt: {first['msg']}") from None


def to_system_prompt(
    prompt: str | Prompt | SystemPrompt,
    variables: Mapping[str, Any],
    *,
    provider_options: Mapping[str, Any] | None = None,
    cache: bool = False,
) -> SystemPrompt:
    """Return what a session keeps of a prompt, JSON-shaped all through and nobody else's.

    Args:
        prompt: The prompt.
        variables: Their values; only a `Prompt` has any.
        provider_options: Instead of the prompt's own.
        cache: Short for `provider_options=cache_control()`.

    Raises:
        UsageError: If the variables are not those of the prompt, or something of it is not JSON.
    """
    if isinstance(prompt, Prompt):
        made = prompt.render(**variables)
    elif variables:
        raise UsageError(f"only a Prompt has variables; this one takes no {', '.join(variables)}")
    else:
        made = SystemPrompt(prompt) if isinstance(prompt, str) else prompt
    if provider_options is not None:
        made = replace(made, provider_options=provider_options)
    elif cache:
        made = replace(made, provider_options=cache_control())
    try:
        value = made.to_json()
        codec.check(value, codec.Limits(nodes=100_000))
        return SystemPrompt.from_json(codec.loads(codec.dumps(value)))
    except InvalidInputError as error:
        raise UsageError(f"the prompt cannot be stored: {error}") from error


def _parse(template: str) -> list[tuple[str, str | None]]:
    """Split a template into pairs of a text and the variable behind it."""
    pieces: list[tuple[str, str | None]] = []
    try:
        for literal, name, spec, conversion in Formatter().parse(template):
            if name is not None and (spec or conversion or not name.isidentifier()):
                written = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                raise UsageError(f"{{{written}}} is no variable: braces hold a name; write {{{{ for a brace")
            pieces.append((literal, name))
    except ValueError as error:
        raise UsageError(f"not a template: {error}; write {{{{ for a brace") from error
    return pieces
