"""Tools: what a model may call, declared from functions.

    @tool
    async def search_docs(query: str, limit: int = 5) -> list[str]:
        '''Search the product documentation.'''
        return await index.search(query, limit)

The signature becomes the JSON schema of the input. The docstring describes the tool, and its Google-style Args section
the arguments. A coroutine function runs on the
event loop, a plain function in a thread; an async generator function shows every value it yields to the reader of the
chat and gives the last one to the model. A function without a body is answered by the client.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast, get_args, overload

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from chatrt import codec
from chatrt.errors import InvalidInputError, InvalidToolInputError, ToolError, UsageError
from chatrt.tool_schema import PlainJsonSchema, explain, has_body, parse_docstring, read_arguments, read_output
from chatrt.ui import ModelMessage

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OUTPUT_LIMITS = codec.Limits(nodes=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know of its call; a parameter annotated with this type receives it.

    Attributes:
        tool_call_id: The id of the call, as the model's provider made it; not unique beyond its message.
        tool_name: The tool's name.
        messages: What the model was shown before it made the call.
        idempotency_key: Names this call among all calls of all chats, the same if it is carried out again after a
            crash: hand it to what the tool asks, so that it takes effect once. Outside of a turn it is the call's id.
        attempt: 1, and more when a run that carried the call out has died.
    """

    tool_call_id: str
    tool_name: str
    messages: Sequence[ModelMessage] = ()
    idempotency_key: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ApprovalDecision:
    """Whether a call may run: ask a person, or decide at once by policy.

    Attributes:
        kind: `none` (it runs, nothing is said), `ask`, `approve` or `deny` (the last two are shown as automatic).
        reason: Why; the model sees the reason of a denial.
    """

    kind: Literal["none", "ask", "approve", "deny"]
    reason: str | None = None

    @classmethod
    def ask(cls, reason: str | None = None) -> Self:
        """Wait for a person."""
        return cls("ask", reason)

    @classmethod
    def approve(cls, reason: str | None = None) -> Self:
        """Run it, and say that policy approved it."""
        return cls("approve", reason)

    @classmethod
    def deny(cls, reason: str | None = None) -> Self:
        """Do not run it, and say that policy denied it."""
        return cls("deny", reason)


Effect = Literal["pure", "idempotent", "unsafe"]
"""What carrying out a call twice does: nothing that matters; the same as once, by its idempotency key; or harm.

It decides what becomes of a call when the run that carried it out died before its result was stored. The first two are
carried out again and the answer goes on; whether an `unsafe` one took effect nobody knows, and nobody tries (D33).
"""

Approval = bool | ApprovalDecision
NeedsApproval = Approval | Callable[[Any, ToolContext], Approval | Awaitable[Approval]]
ToModelOutput = Callable[[str, Any, Any], Mapping[str, Any]]
OnPreliminary = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Tool:
    """Something a model may call. Made by `tool`, `Tool.client` or `Tool.from_schema`.

    Attributes:
        name: Letters, digits, dashes and underscores, at most 64.
        description: For the model.
        input_schema: JSON schema of the input.
        validate: Turns an input into what `body` takes; whatever it raises means that the input is not acceptable.
        body: Takes what `validate` gave and the context. May give a value, an awaitable or an async iterator. None for
            a tool that the client answers.
        threaded: Whether `body` is called in a thread because it may block.
        needs_approval: A bool, a decision, or a predicate of the input (JSON-shaped, as the model gave it) and the
            context that gives either.
        effect: What carrying out a call twice does; see `Effect`.
        to_model_output: Makes what the model sees of an output, from the tool call id, the input and the output:
            `{"type": "text" | "json" | "content", "value": ...}`.
        dynamic: Whether its shape is only known at run time; clients then get `dynamic-tool` parts.
        provider_options: What a provider is told about the tool, by provider; see `chatrt.prompt_cache`.
        function: What it was made of, for direct calls.
        output_type: What it gives, as a type that pydantic takes; None if that is not said. Clients are told of it.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    validate: Callable[[Any], Any]
    body: Callable[[Any, ToolContext], Any] | None = None
    threaded: bool = False
    needs_approval: NeedsApproval = False
    effect: Effect = "unsafe"
    to_model_output: ToModelOutput | None = None
    dynamic: bool = False
    provider_options: Mapping[str, Any] | None = None
    function: Callable[..., Any] | None = None
    output_type: Any = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"{self.name!r} is no name for a tool: use letters, digits, _ and -, at most 64")
        if self.effect not in get_args(Effect):
            raise UsageError(f"the effect of a tool is one of {', '.join(get_args(Effect))}, not {self.effect!r}")
        if self.body is None and self.needs_approval is not False:
            raise UsageError(f"tool {self.name!r} is answered by the client, which can ask there: no needs_approval")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function the tool was made of, as if it were not decorated."""
        if self.function is None:
            raise UsageError(f"tool {self.name!r} was not made of a function")
        return self.function(*args, **kwargs)

    @property
    def has_body(self) -> bool:
        """Whether the server runs it; otherwise the client answers."""
        return self.body is not None

    def without_body(self) -> Tool:
        """Return the tool as a model sees it, for where it may be called and not carried out."""
        return self if self.body is None else replace(self, body=None, needs_approval=False)

    @classmethod
    def client(
        cls,
        name: str,
        input_model: Any,
        *,
        description: str = "",
        output_type: Any = None,
        to_model_output: ToModelOutput | None = None,
    ) -> Tool:
        """Declare a tool that the client answers.

        Args:
            name: Its name.
            input_model: A pydantic model, or any other type pydantic takes, for the whole input.
            description: For the model; the docstring of `input_model` if empty.
            output_type: See the class.
            to_model_output: See the class.
        """
        adapter: TypeAdapter[Any] = TypeAdapter(input_model)
        schema = adapter.json_schema(schema_generator=PlainJsonSchema)
        schema.pop("title", None)
        return cls(
            name=name,
            description=description or inspect.cleandoc(getattr(input_model, "__doc__", None) or ""),
            input_schema=schema,
            validate=adapter.validate_python,
            to_model_output=to_model_output,
            output_type=output_type,
        )

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        schema: Mapping[str, Any],
        execute: Callable[[Any, ToolContext], Any] | None = None,
        *,
        validate: Callable[[Any], Any] | None = None,
        needs_approval: NeedsApproval = False,
        effect: Effect = "unsafe",
        to_model_output: ToModelOutput | None = None,
        dynamic: bool = False,
    ) -> Tool:
        """Declare a tool from a JSON schema of its input.

        Args:
            name: Its name.
            description: For the model.
            schema: JSON schema of the input.
            execute: Takes the input and the context; None for a tool that the client answers.
            validate: Checks the input and gives what `execute` takes. Without it the input must be an object that has
                the keys the schema requires; the rest of the schema is for the model only.
            needs_approval: See the class.
            effect: See `Effect`.
            to_model_output: See the class.
            dynamic: See the class.
        """
        return cls(
            name=name,
            description=description,
            input_schema=schema,
            validate=validate or _object_check(schema),
            body=execute,
            threaded=execute is not None and _may_block(execute),
            needs_approval=needs_approval,
            effect=effect,
            to_model_output=to_model_output,
            dynamic=dynamic,
        )

    def validate_input(self, value: Any) -> Any:
        """Check an input and return what the body takes.

        Raises:
            InvalidToolInputError: If it does not fit; the reason names every problem.
        """
        try:
            return self.validate(value)
        except Exception as error:
            shown = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr)
            raise InvalidToolInputError(
                self.name,
                f"AI_TypeValidationError: Type validation failed: Value: {shown}.\nError message: {explain(error)}",
            ) from error

    async def approval(self, value: Any, context: ToolContext) -> ApprovalDecision:
        """Decide whether a call may run. What a predicate raises is raised."""
        approval: Any = self.needs_approval
        if callable(approval):
            approval = approval(value, context)
            if inspect.isawaitable(approval):
                approval = await approval
        if isinstance(approval, ApprovalDecision):
            return approval
        return ApprovalDecision("ask" if approval else "none")

    async def execute(self, value: Any, context: ToolContext, *, on_preliminary: OnPreliminary | None = None) -> Any:
        """Run the body and return its output, JSON-shaped.

        An async iterator gives preliminary outputs, each passed to `on_preliminary`; the last is the output.
        Cancellation ends a coroutine or an iterator at its next await. A thread cannot be ended: what a plain function
        returns after a cancellation is dropped.

        Raises:
            InvalidToolInputError: If the input does not fit.
            ToolError: If the output cannot be made JSON, or the tool has no body.
            Exception: Whatever the body raises.
        """
        if self.body is None:
            raise ToolError(f"tool {self.name!r} is answered by the client")
        arguments = self.validate_input(value)
        if self.threaded:
            result = await asyncio.to_thread(self.body, arguments, context)
        else:
            result = self.body(arguments, context)
        if inspect.isawaitable(result):
            result = await result
        if not isinstance(result, AsyncIterator):
            return _to_json(result)
        return await _drain(cast("AsyncIterator[Any]", result), on_preliminary)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    needs_approval: NeedsApproval = False,
    effect: Effect = "unsafe",
    to_model_output: ToModelOutput | None = None,
    client: bool | None = None,
    provider_options: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    needs_approval: NeedsApproval = False,
    effect: Effect = "unsafe",
    to_model_output: ToModelOutput | None = None,
    client: bool | None = None,
    provider_options: Mapping[str, Any] | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function; use as `@tool` or `@tool(...)`.

    Args:
        function: A coroutine function, an async generator function or a plain function.
        name: Its name; the function's if left out.
        description: For the model; what the docstring says before its Args section if left out.
        needs_approval: See `Tool`.
        effect: See `Effect`.
        to_model_output: See `Tool`.
        client: Whether the client answers it. Left out, a function whose body is only a docstring, `...`, `pass` or
            `return None` is the client's.
        provider_options: See `Tool`.

    Raises:
        UsageError: If the signature cannot be turned into a schema, or the function is a plain generator.
    """
    frame = inspect.currentframe()
    local_names = dict(frame.f_back.f_locals) if frame and frame.f_back else {}

    def declare(function: Callable[..., Any]) -> Tool:
        if inspect.isgeneratorfunction(function):
            raise UsageError(f"{function.__name__}: preliminary outputs come from an async generator, not a plain one")
        arguments = read_arguments(function, ToolContext, local_names)

        def body(values: dict[str, Any], context: ToolContext) -> Any:
            return function(**values, **({arguments.context: context} if arguments.context else {}))

        answered_here = has_body(function) if client is None else not client
        return Tool(
            name=name or function.__name__,
            description=parse_docstring(inspect.getdoc(function) or "")[0] if description is None else description,
            input_schema=arguments.schema,
            validate=arguments.validate,
            body=body if answered_here else None,
            threaded=_may_block(function),
            needs_approval=needs_approval,
            effect=effect,
            to_model_output=to_model_output,
            provider_options=provider_options,
            function=function,
            output_type=read_output(function, local_names),
        )

    return declare if function is None else declare(function)


def tool_map(tools: Iterable[Tool] | Mapping[str, Tool] | None) -> dict[str, Tool]:
    """Return tools by name.

    Raises:
        UsageError: If two have one name, a key is not its tool's name, or something is no tool.
    """
    pairs = (
        list(cast("Mapping[str, Tool]", tools).items())
        if isinstance(tools, Mapping)
        else [(getattr(item, "name", ""), item) for item in tools or ()]
    )
    result: dict[str, Tool] = {}
    for name, item in pairs:
        if not isinstance(item, Tool):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise UsageError(f"{item!r} is no tool: decorate the function with @tool")
        if name != item.name:
            raise UsageError(f"tool {item.name!r} stands under the name {name!r}")
        if name in result:
            raise UsageError(f"two tools are called {name!r}")
        result[name] = item
    return result


def overlay_tools(base: Iterable[Tool], own: Iterable[Tool]) -> list[Tool]:
    """Return the tools of `base` and then `own`, without those of `base` in whose place `own` puts another."""
    replacing = tool_map(own)
    return [*(item for item in base if item.name not in replacing), *replacing.values()]


def _may_block(function: Callable[..., Any]) -> bool:
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return not (inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called))


def _object_check(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    required: Sequence[str] = schema.get("required", ())

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError("the input is not an object")
        if missing := [key for key in required if key not in value]:
            raise ValueError(f"missing: {', '.join(missing)}")
        return cast("dict[str, Any]", value)

    return check


async def _drain(outputs: AsyncIterator[Any], on_preliminary: OnPreliminary | None) -> Any:
    last: Any = None
    try:
        async for output in outputs:
            last = _to_json(output)
            if on_preliminary is not None:
                await on_preliminary(last)
    finally:
        aclose = getattr(outputs, "aclose", None)
        if aclose is not None:
            await aclose()
    return last


def _to_json(output: Any) -> Any:
    # The check keeps out what would break the stream for every reader: lone surrogates, huge integers, __proto__.
    try:
        value = to_jsonable_python(output, inf_nan_mode="null")
        codec.check(value, _OUTPUT_LIMITS)
    except (ValueError, RecursionError, InvalidInputError) as error:
        raise ToolError(f"the output is not JSON: {error}") from error
    return value
