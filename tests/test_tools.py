"""Tools: declaring them and running them."""

import asyncio
import contextvars
import datetime as dt
import threading

import pytest
from pydantic import BaseModel

from chatrt.errors import InvalidToolInputError, ToolError, UsageError
from chatrt.tools import ApprovalDecision, Tool, ToolContext, tool, tool_map

CONTEXT = ToolContext(tool_call_id="c1", tool_name="f")


@tool
async def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first.
    """
    return a + b


# --- declaring ----------------------------------------------------------------------------------------------------


def test_a_function_gives_name_description_and_schema():
    """@tool takes the name of the function, the docstring before its Args, and the signature."""
    assert add.name == "add"
    assert add.description == "Add two numbers."
    assert add.input_schema["properties"]["a"] == {"type": "integer", "description": "The first."}
    assert add.has_body


def test_options_win_over_the_function():
    """Name and description may be given."""

    @tool(name="sum-up", description="Sums.")
    def add(a: int):
        """Something else."""
        return a

    assert (add.name, add.description) == ("sum-up", "Sums.")


async def test_a_tool_can_be_called_like_its_function():
    """Decorating a function does not take it away."""
    assert await add(1, b=2) == 3


def test_a_function_without_a_body_is_the_clients():
    """A body of only a docstring makes a tool that the client answers."""

    @tool
    async def ask_user(question: str) -> str:
        """Ask."""

    assert not ask_user.has_body


def test_client_decides_whatever_the_body_is():
    """client=True and client=False win over what the body looks like."""

    @tool(client=True)
    def full():
        return 1

    @tool(client=False)
    def empty(): ...

    assert not full.has_body
    assert empty.has_body


def test_a_client_tool_can_be_declared_from_a_model():
    """Tool.client takes a pydantic model for its whole input."""

    class Question(BaseModel):
        """Ask the person."""

        question: str

    ask = Tool.client("ask", Question)
    assert not ask.has_body
    assert ask.description == "Ask the person."
    assert ask.input_schema["required"] == ["question"]
    with pytest.raises(InvalidToolInputError):
        ask.validate_input({})


def test_a_client_tool_needs_no_approval():
    """What the client answers it may refuse there, so an approval is a mistake in the declaration."""
    with pytest.raises(UsageError, match="answered by the client"):
        tool(name="ask", needs_approval=True)(lambda question: None)


@pytest.mark.parametrize("name", ["", "two words", "a.b", "x" * 65])
def test_names_are_what_providers_take(name):
    """A name that providers refuse is refused at once."""
    with pytest.raises(UsageError, match="no name for a tool"):
        Tool.from_schema(name, "", {})


def test_a_plain_generator_is_refused():
    """Preliminary outputs come from async generators."""

    def numbers():
        yield 1

    with pytest.raises(UsageError, match="async generator"):
        tool(numbers)


def test_annotations_of_local_types_are_found():
    """A tool declared inside a function may use the types declared beside it."""

    class Place(BaseModel):
        city: str

    @tool
    def go(place: "Place") -> str:
        return place.city

    assert "city" in str(go.input_schema)


def test_a_map_of_tools_has_their_names():
    """tool_map takes a sequence, a mapping, or nothing."""
    assert tool_map([add]) == tool_map({"add": add}) == {"add": add}
    assert tool_map(None) == tool_map(()) == {}


def test_two_tools_of_one_name_are_refused():
    """A model could not tell them apart."""
    with pytest.raises(UsageError, match="two tools are called 'add'"):
        tool_map([add, add])
    with pytest.raises(UsageError, match="stands under the name 'plus'"):
        tool_map({"plus": add})


def test_a_plain_function_is_no_tool():
    """A function that is not decorated is refused where the tools are listed."""
    with pytest.raises(UsageError, match="decorate the function"):
        tool_map([print])


# --- running ------------------------------------------------------------------------------------------------------


async def test_a_coroutine_function_runs_on_the_loop():
    """The output is what it returns, with the function's own defaults."""
    assert await add.execute({"a": 2}, CONTEXT) == 3


async def test_a_plain_function_runs_in_a_thread_with_the_callers_context():
    """A plain function may block: the loop goes on, and context variables are there."""
    variable = contextvars.ContextVar("variable")
    variable.set("seen")

    @tool
    def where() -> list:
        return [variable.get(), threading.current_thread() is threading.main_thread()]

    assert await where.execute({}, CONTEXT) == ["seen", False]


async def test_an_async_generator_gives_preliminary_outputs():
    """Every value is preliminary when it comes, and the last is the output."""

    @tool
    async def count():
        for number in (1, 2, 3):
            yield {"n": number}

    seen = []

    async def on_preliminary(output):
        seen.append(output)

    assert await count.execute({}, CONTEXT, on_preliminary=on_preliminary) == {"n": 3}
    assert seen == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_a_generator_that_yields_nothing_gives_null():
    """No value is null, not a missing output."""

    @tool
    async def silent():
        for number in ():
            yield number

    assert await silent.execute({}, CONTEXT) is None


async def test_the_context_is_injected():
    """A parameter annotated with ToolContext gets the call's context, and no model can set it."""

    @tool
    async def who(context: ToolContext, name: str = "x") -> str:
        return f"{context.tool_call_id} {context.tool_name} {name}"

    assert await who.execute({"name": "y"}, CONTEXT) == "c1 f y"
    with pytest.raises(InvalidToolInputError):
        await who.execute({"context": {}}, CONTEXT)


async def test_outputs_become_json():
    """Models, dates, sets and numbers that JSON lacks become JSON values."""

    class Hit(BaseModel):
        when: dt.date
        tags: set[str]

    @tool
    async def find():
        return [Hit(when=dt.date(2026, 1, 2), tags={"a"}), float("nan")]

    assert await find.execute({}, CONTEXT) == [{"when": "2026-01-02", "tags": ["a"]}, None]


@pytest.mark.parametrize(
    "output",
    [object(), "\ud800", 2**70, {"__proto__": 1}, b"\xff"],
    ids=["object", "surrogate", "int", "proto", "bytes"],
)
async def test_an_output_that_no_client_could_read_is_an_error(output):
    """What cannot be stored and shown everywhere is the tool's failure, not the stream's."""

    @tool
    async def give():
        return output

    with pytest.raises(ToolError, match="the output is not JSON"):
        await give.execute({}, CONTEXT)


async def test_input_that_does_not_fit_names_every_problem():
    """The error has the AI SDK's words, the value, and each problem."""
    with pytest.raises(InvalidToolInputError) as caught:
        await add.execute({"b": "x"}, CONTEXT)
    assert str(caught.value) == (
        'Invalid input for tool add: AI_TypeValidationError: Type validation failed: Value: {"b":"x"}.\n'
        "Error message: ValidationError: a: Field required; "
        "b: Input should be a valid integer, unable to parse string as an integer"
    )


async def test_what_a_body_raises_is_raised():
    """The loop, not the tool, decides what is said of an exception."""

    @tool
    async def fail():
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await fail.execute({}, CONTEXT)


async def test_a_tool_without_a_body_cannot_be_run():
    """The client answers it."""
    with pytest.raises(ToolError, match="answered by the client"):
        await Tool.from_schema("ask", "", {}).execute({}, CONTEXT)


async def test_cancelling_closes_a_generator():
    """A cancelled call runs the generator's own clean-up before it ends."""
    closed = []
    started = asyncio.Event()

    @tool
    async def wait():
        try:
            started.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            closed.append(True)

    task = asyncio.create_task(wait.execute({}, CONTEXT))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [True]


# --- from a JSON schema -------------------------------------------------------------------------------------------


async def test_a_schema_tool_gets_input_and_context():
    """execute takes the input as it came, and the context."""
    declared = Tool.from_schema("f", "F.", {"type": "object"}, lambda value, context: [value, context.tool_call_id])
    assert await declared.execute({"x": 1}, CONTEXT) == [{"x": 1}, "c1"]


@pytest.mark.parametrize("value", [[], "x", {"b": 1}])
def test_a_schema_tool_checks_that_the_required_keys_are_there(value):
    """Without a validator of its own, a schema tool takes objects with the required keys."""
    declared = Tool.from_schema("f", "", {"type": "object", "required": ["a"]})
    with pytest.raises(InvalidToolInputError):
        declared.validate_input(value)


# --- approval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs_approval", "kind"),
    [
        (False, "none"),
        (True, "ask"),
        (ApprovalDecision.approve("ok"), "approve"),
        (lambda value, context: value["amount"] > 10, "ask"),
        (lambda value, context: value["amount"] > 100, "none"),
        (lambda value, context: ApprovalDecision.deny(context.tool_call_id), "deny"),
    ],
)
async def test_approval_is_a_bool_a_decision_or_a_predicate(needs_approval, kind):
    """needs_approval may be given, or found out for each input."""
    declared = Tool.from_schema("f", "", {}, lambda value, context: 1, needs_approval=needs_approval)
    assert (await declared.approval({"amount": 50}, CONTEXT)).kind == kind


async def test_a_predicate_may_be_async():
    """A policy may ask a database."""

    async def policy(value, context):
        return True

    declared = Tool.from_schema("f", "", {}, lambda value, context: 1, needs_approval=policy)
    assert await declared.approval({}, CONTEXT) == ApprovalDecision.ask()
