"""What is read from a function's signature, docstring and body."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from chatrt.errors import UsageError
from chatrt.tool_schema import explain, has_body, parse_docstring, read_arguments, read_output


class Context:
    pass


def arguments_of(function, **local_names):
    return read_arguments(function, Context, local_names)


def test_annotations_become_the_schema():
    """Types become JSON types, parameters without a default are required, others are not allowed."""

    def search(query: str, limit: int = 5, kind: Literal["a", "b"] | None = None): ...

    assert arguments_of(search).schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "limit": {"type": "integer", "default": 5},
            "kind": {"anyOf": [{"enum": ["a", "b"], "type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_the_docstring_describes_the_arguments():
    """The Args section of a Google-style docstring becomes the descriptions, continued lines included."""

    def search(query: str, limit: int = 5):
        """Search the docs.

        Args:
            query: What to look for,
                in any language.
            limit (int): How many.

        Returns:
            limit: not an argument.
        """

    properties = arguments_of(search).schema["properties"]
    assert properties["query"]["description"] == "What to look for, in any language."
    assert properties["limit"]["description"] == "How many."


def test_a_field_description_wins_over_the_docstring():
    """What stands nearest to the parameter counts."""

    def search(query: Annotated[str, Field(description="near")]):
        """Search.

        Args:
            query: far
        """

    assert arguments_of(search).schema["properties"]["query"]["description"] == "near"


def test_constraints_of_a_field_hold():
    """Field constraints are in the schema and are checked."""

    def search(limit: Annotated[int, Field(ge=1)] = 1): ...

    arguments = arguments_of(search)
    assert arguments.schema["properties"]["limit"]["minimum"] == 1
    with pytest.raises(ValidationError):
        arguments.validate({"limit": 0})


def test_parameters_may_have_names_that_pydantic_uses_itself():
    """schema, json, copy, model_config and names with a leading underscore are names like any other."""

    def search(schema: str, json: int, model_config: int = 1, _x: int = 2): ...

    assert arguments_of(search).validate({"schema": "s", "json": 1, "_x": 3}) == {"schema": "s", "json": 1, "_x": 3}


def test_the_context_parameter_is_not_shown():
    """A parameter annotated with the context type is not in the schema."""

    def search(query: str, context: Context): ...

    arguments = arguments_of(search)
    assert list(arguments.schema["properties"]) == ["query"]
    assert arguments.context == "context"


def test_arguments_that_are_left_out_keep_the_functions_own_default():
    """Validation gives only what the model gave, so the function's defaults apply, whatever they are."""

    def search(query: str, marker: object = object()): ...

    assert arguments_of(search).validate({"query": "x"}) == {"query": "x"}


def test_values_are_converted_to_the_annotated_types():
    """Nested models arrive as models."""

    class Place(BaseModel):
        city: str

    def search(place: Place): ...

    assert arguments_of(search).validate({"place": {"city": "Bern"}}) == {"place": Place(city="Bern")}


def test_annotations_that_are_texts_are_resolved_where_the_function_stands():
    """Annotations written as texts are looked up in the module and in the names around the function."""

    class Place(BaseModel):
        city: str

    def search(place: "Place", also: "list[str]"): ...

    assert "city" in str(arguments_of(search, Place=Place).schema)
    with pytest.raises(UsageError, match="cannot resolve the annotation 'Place'"):
        arguments_of(search)


@pytest.mark.parametrize("function", [lambda *rest: None, lambda **rest: None, lambda only, /: None])
def test_parameters_without_a_name_are_refused(function):
    """A model names every argument, so *args, **kwargs and positional-only parameters are mistakes."""
    with pytest.raises(UsageError, match="named one by one"):
        arguments_of(function)


def test_a_field_as_default_is_refused():
    """= Field(...) would reach the function as its value when it is called directly."""

    def search(query: str = Field(description="x")): ...

    with pytest.raises(UsageError, match="Annotated"):
        arguments_of(search)


def test_a_docstring_without_sections_is_all_description():
    """Only a section header ends the description."""
    assert parse_docstring("One.\n\nTwo: three.") == ("One.\n\nTwo: three.", {})


def nothing(a: int): ...


def documented():
    """Says what it would do."""


def passing():
    pass


async def nothing_async(a: int) -> str: ...


async def documented_async():
    """Says what it would do."""


def returning():
    return 1


def calling():
    print()


def raising():
    raise RuntimeError


async def generating():
    yield 1


class Holder:
    def method(self, a: int): ...

    def full(self):
        return 1


@pytest.mark.parametrize(
    "function",
    [nothing, documented, passing, nothing_async, documented_async, Holder().method],
    ids=lambda f: f.__name__,
)
def test_a_body_that_says_nothing_is_no_body(function):
    """Dots, pass and a docstring are no body, in plain and in coroutine functions and methods."""
    assert not has_body(function)


@pytest.mark.parametrize(
    "function", [returning, calling, raising, generating, Holder().full, print, Holder], ids=lambda f: f.__name__
)
def test_anything_that_does_something_is_a_body(function):
    """Whatever returns a value, calls, raises or yields is a body, and so is what has no Python code to look at."""
    assert has_body(function)


def test_validation_problems_are_said_one_by_one():
    """The explanation names each problem's place, and nothing of pydantic's own."""

    def search(query: str, limit: int): ...

    with pytest.raises(ValidationError) as caught:
        arguments_of(search).validate({"limit": "many"})
    text = explain(caught.value)
    assert text.startswith("ValidationError: query: Field required; limit: Input should be a valid integer")
    assert "http" not in text


def test_what_a_function_gives_is_read_from_its_annotation():
    """Of a generator it is what it yields, of a coroutine function what is awaited; without an annotation it is not said."""

    async def plain() -> dict[str, int]: ...

    async def yields() -> AsyncIterator[list[str]]:
        yield []

    def nothing() -> None: ...

    def silent(): ...

    assert read_output(plain, {}) == dict[str, int]
    assert read_output(yields, {}) == list[str]
    assert read_output(nothing, {}) is type(None)
    assert read_output(silent, {}) is None


def test_what_cannot_be_resolved_is_not_said():
    """An annotation for type checkers only is no reason to refuse a tool."""

    def found() -> "Context": ...

    def lost() -> "Nowhere": ...  # noqa: F821

    assert read_output(found, {}) is Context
    assert read_output(lost, {}) is None
