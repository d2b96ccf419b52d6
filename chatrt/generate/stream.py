"""stream_text: the loop of model calls and tools, as one stream of message chunks."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from chatrt import failpoints
from chatrt.errors import UsageError
from chatrt.generate.approvals import ApprovalRound
from chatrt.generate.error_texts import OnError
from chatrt.generate.files import with_files
from chatrt.generate.metadata import MessageMetadata, with_message_metadata
from chatrt.generate.part_ids import PartIds
from chatrt.generate.prompt import build_prompt
from chatrt.generate.recorder import StepOptions, StepRecorder
from chatrt.generate.step import Step
from chatrt.generate.stop import StopCondition, is_met, step_count_is
from chatrt.ids import Ids, RandomIds
from chatrt.models import Model, ModelPart, ModelRequest, ToolSpec, resolve_model
from chatrt.models.usage import Usage
from chatrt.prompt import SystemPrompt
from chatrt.tools import Tool, tool_map
from chatrt.ui import ModelMessage, UIMessageChunk

Tools = Iterable[Tool] | Mapping[str, Tool]
PrepareStep = Callable[..., Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None]
Transform = Callable[[AsyncIterator[ModelPart]], AsyncIterator[ModelPart]]

_PREPARED = frozenset({"messages", "model", "tools", "system", "settings"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBoundary:
    """The place between two steps of an answer: tools have answered, the next model call is not made yet.

    Attributes:
        steps: The steps so far, at least one.
        messages: The prompt so far, with all that these steps said and got.
        model: What the answer was to be made with.
    """

    steps: Sequence[Step]
    messages: list[ModelMessage]
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPrompt:
    """What goes on from a step boundary.

    Attributes:
        messages: The prompt from here on; later steps add to it.
        shown: What only the next model call is shown instead.
    """

    messages: list[ModelMessage]
    shown: list[ModelMessage] | None = None


BeforeStep = Callable[[StepBoundary], Awaitable[StepPrompt | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What an answer is made from; `prepare_step` may change a copy for a step."""

    model: Model
    tools: Mapping[str, Tool]
    system: str | SystemPrompt | None
    system_provider_options: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    stop_when: StopCondition | Sequence[StopCondition]
    prepare_step: PrepareStep | None
    transform: Transform | None
    options: StepOptions
    carries_out: bool = True


def stream_text(
    model: str | Model,
    messages: Sequence[ModelMessage],
    *,
    system: str | SystemPrompt | None = None,
    system_provider_options: Mapping[str, Any] | None = None,
    tools: Tools = (),
    stop_when: StopCondition | Sequence[StopCondition] | None = None,
    prepare_step: PrepareStep | None = None,
    on_error: OnError | None = None,
    transform: Transform | None = None,
    send_reasoning: bool = True,
    send_sources: bool = False,
    message_metadata: MessageMetadata | None = None,
    ids: Ids | None = None,
    **model_settings: Any,
) -> TextStream:
    """Answer with a model that may call tools, as a stream of `UIMessageChunk`s from `start` to `finish`.

    Nothing happens before the first chunk is asked for. Each model call is a step; its tools run together once the
    model is done speaking, inside the same step. The loop ends with a call that uses no tool, with a call that only
    the client or a person can answer, with a cut answer, or when `stop_when` holds.

    Approvals that stand in the last row of `messages` are carried out before the first step. Every prompt is mended
    (D12).

    Args:
        model: A litellm name or a model.
        messages: What was said; the model messages of `turn.messages` or `convert_to_model_messages`.
        system: The system text, or `turn.prompt`, whose settings hold where others say nothing.
        system_provider_options: What a provider is told about the system text, instead of what a prompt says itself:
            `cache_control()` for instance.
        tools: What the model may call.
        stop_when: Conditions on the steps so far, looked at while tools were called; 20 steps if left out.
        prepare_step: Called before each step with the keywords `step_number`, `steps`, `messages` and `model`; may
            give `model`, `tools` and `settings` (added to the others) for this step, and `messages` and `system` for
            this and the later ones. Sync or async.
        on_error: What a client reads of an error, instead of a fixed text (D11). The model always reads the truth. The
            texts of `PublicError` and `ToolError` are meant for people and pass as they are.
        transform: Changes the parts of each model call on their way, `smooth_stream` for instance.
        send_reasoning: Whether clients see reasoning.
        send_sources: Whether clients see sources.
        message_metadata: Gives metadata for a part, or None: it is shown every chunk; those of type `finish-step` and
            `finish` with `usage` and `finishReason`.
        ids: Where fresh ids come from.
        **model_settings: By their chat-completions names: `temperature`, `max_tokens`, `tool_choice`, ...

    Raises:
        UsageError: If the messages are UI messages.
    """
    if any("parts" in message and "content" not in message for message in messages):
        raise UsageError("these are UI messages; a model takes turn.messages or convert_to_model_messages(messages)")
    ids = ids or RandomIds()
    options = StepOptions(
        ids=ids,
        part_ids=PartIds(ids),
        on_error=on_error,
        send_reasoning=send_reasoning,
        send_sources=send_sources,
    )
    plan = _Plan(
        model=resolve_model(model),
        tools=tool_map(tools),
        system=system,
        system_provider_options=system_provider_options,
        settings=model_settings,
        stop_when=step_count_is(20) if stop_when is None else stop_when,
        prepare_step=prepare_step,
        transform=transform,
        options=options,
    )
    return TextStream(plan, messages, message_metadata)


class TextStream:
    """An answer on its way: iterate it once for its chunks, or await `text()`.

    Whoever stops iterating early calls `aclose`, or is cancelled inside the iteration: that ends the model call and
    the tools, and waits for them.

    A failure of the model ends the iteration with its exception. An error that the provider reports inside its stream
    is an `error` chunk, after which the stream goes on to its `finish`; `error` keeps it.

    Attributes:
        steps: The steps so far.
        usage: Tokens of all steps so far.
        finish_reason: Of the last step, once it has ended; "error" if the answer failed.
        error: What went wrong, if something did.
    """

    def __init__(self, plan: _Plan, messages: Sequence[ModelMessage], message_metadata: MessageMetadata | None) -> None:
        self._plan = plan
        self._messages = list(messages)
        self._system = plan.system
        self.steps: list[Step] = []
        self.usage = Usage()
        self.finish_reason: str | None = None
        self.error: Exception | None = None
        self._before_step: BeforeStep | None = None
        self._earlier_steps = 0
        self._chunks = self._run()
        if message_metadata is not None:
            self._chunks = with_message_metadata(self._chunks, message_metadata, self._describe)

    def __aiter__(self) -> AsyncIterator[UIMessageChunk]:
        # The generator itself: a wrapper would cost each delta one more call.
        return self._chunks

    def __anext__(self) -> Awaitable[UIMessageChunk]:
        return self._chunks.__anext__()

    def attach(self, before_step: BeforeStep, *, earlier_steps: int = 0) -> None:
        """Let the turn this answer belongs to look in between the steps, before `prepare_step` does.

        The runtime attaches itself to the streams that become part of an answer; a stream that is only read, in a tool
        for instance, stays alone.

        Args:
            before_step: Called between two steps.
            earlier_steps: How many steps of the answer a run made that has died.
        """
        self._before_step, self._earlier_steps = before_step, earlier_steps

    def begin_only(self) -> None:
        """Make the first step and leave its calls, all of them, to whoever goes on with the answer.

        For a stream that nobody has read from yet.
        """
        plan = self._plan
        self._plan = replace(plan, tools=_without_bodies(plan.tools), stop_when=step_count_is(1), carries_out=False)

    async def aclose(self) -> None:
        """End it: nothing goes on in the model or a tool when this returns."""
        await self._chunks.aclose()

    async def text(self) -> str:
        """Read to the end and return the text of the last step.

        Raises:
            Exception: What went wrong, if something did.
        """
        async for _ in self._chunks:
            pass
        if self.error is not None:
            raise self.error
        return self.steps[-1].text if self.steps else ""

    @property
    def last_usage(self) -> Usage | None:
        """What the last finished step used; None before the first."""
        return self.steps[-1].usage if self.steps else None

    @property
    def messages(self) -> list[ModelMessage]:
        """What was said, with all finished steps: the next prompt, before it is mended."""
        return list(self._messages)

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def _run(self) -> AsyncGenerator[UIMessageChunk]:
        try:
            yield {"type": "start"}
            async with aclosing(self._answer_approvals()) as chunks:
                async for chunk in chunks:
                    yield chunk
            goes_on = True
            while goes_on:
                recorder, call = await self._begin_step()
                texts = recorder.texts
                failpoints.reach("turn.pre_model")
                async with call as parts:
                    async for part in parts:
                        if (
                            part["type"] == "text-delta"
                            and (block := texts.get(part["id"])) is not None
                            and (delta := part["delta"])
                            and "providerMetadata" not in part
                        ):
                            # The hot path: most chunks of most answers are these.
                            block.deltas.append(delta)
                            yield {"type": "text-delta", "id": block.id, "delta": delta}
                            continue
                        for chunk in recorder.take(part):
                            yield chunk
                        if recorder.tools.undecided:
                            for chunk in await recorder.tools.decide():
                                yield chunk
                recorder.check_complete()
                failpoints.reach("turn.model_end")
                async with aclosing(recorder.run_tools()) as chunks:
                    async for chunk in chunks:
                        yield chunk
                self._end_step(recorder)
                yield {"type": "finish-step"}
                goes_on = recorder.goes_on and not await is_met(
                    self._plan.stop_when, self.steps, earlier=self._earlier_steps
                )
            yield {"type": "finish", "finishReason": self.finish_reason}
        except Exception as error:
            self.error, self.finish_reason = error, "error"
            raise

    async def _answer_approvals(self) -> AsyncGenerator[UIMessageChunk]:
        approvals = ApprovalRound(self._messages, self._plan.tools, on_error=self._plan.options.on_error)
        async with aclosing(approvals.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
        if row := approvals.row():
            self._messages.append(row)

    async def _begin_step(self) -> tuple[StepRecorder, AbstractAsyncContextManager[AsyncIterator[ModelPart]]]:
        """Prepare the next step; the returned context is the model call."""
        shown = await self._cross_boundary()
        plan, messages = await self._prepare_step(shown)
        prompt = build_prompt(self._system_prompt, messages)
        request = ModelRequest(
            messages=await with_files(prompt),
            tools=[
                ToolSpec(
                    name=tool.name,
                    description=tool.description,
                    input_schema=tool.input_schema,
                    provider_options=tool.provider_options,
                )
                for tool in plan.tools.values()
            ],
            settings={**self._prompt_settings, **plan.settings},
        )
        recorder = StepRecorder(
            number=len(self.steps), model=plan.model.name, prompt=prompt, tools=plan.tools, options=plan.options
        )
        return recorder, _call_model(plan.model, request, plan.transform)

    @property
    def _system_prompt(self) -> str | SystemPrompt | None:
        system, options = self._system, self._plan.system_provider_options
        if system is None or options is None:
            return system
        return replace(SystemPrompt(system) if isinstance(system, str) else system, provider_options=options)

    @property
    def _prompt_settings(self) -> Mapping[str, Any]:
        return self._system.settings if isinstance(self._system, SystemPrompt) else {}

    async def _cross_boundary(self) -> list[ModelMessage]:
        """Return what the next model call is shown."""
        if self._before_step is None or not self.steps:
            return self._messages
        boundary = StepBoundary(steps=tuple(self.steps), messages=list(self._messages), model=self._plan.model)
        prompt = await self._before_step(boundary)
        if prompt is not None:
            self._messages = list(prompt.messages)
        return self._messages if prompt is None or prompt.shown is None else prompt.shown

    async def _prepare_step(self, shown: list[ModelMessage]) -> tuple[_Plan, list[ModelMessage]]:
        plan = self._plan
        if plan.prepare_step is None:
            return plan, shown
        prepared = plan.prepare_step(
            step_number=len(self.steps), steps=tuple(self.steps), messages=list(shown), model=plan.model
        )
        if inspect.isawaitable(prepared):
            prepared = await prepared
        if not prepared:
            return plan, shown
        if unknown := prepared.keys() - _PREPARED:
            raise UsageError(
                f"prepare_step gave {', '.join(sorted(unknown))}; it may give {', '.join(sorted(_PREPARED))}"
            )
        if "messages" in prepared:
            self._messages = shown = list(prepared["messages"])
        self._system = prepared.get("system", self._system)
        tools = tool_map(prepared.get("tools", plan.tools))
        changed = replace(
            plan,
            model=resolve_model(prepared.get("model", plan.model)),
            tools=tools if plan.carries_out else _without_bodies(tools),
            settings={**plan.settings, **prepared.get("settings", {})},
        )
        return changed, shown

    def _end_step(self, recorder: StepRecorder) -> None:
        step = recorder.finish()
        self.steps.append(step)
        self.usage += step.usage
        self.finish_reason = step.finish_reason
        self.error = recorder.error or self.error
        self._messages += step.messages

    def _describe(self, chunk: UIMessageChunk) -> Mapping[str, Any]:
        if chunk["type"] == "finish-step":
            step = self.steps[-1]
            return {**chunk, "finishReason": step.finish_reason, "usage": step.usage.to_json(), "model": step.model}
        if chunk["type"] == "finish":
            return {**chunk, "usage": self.usage.to_json()}
        return chunk


def _without_bodies(tools: Mapping[str, Tool]) -> dict[str, Tool]:
    return {name: tool.without_body() for name, tool in tools.items()}


@asynccontextmanager
async def _call_model(
    model: Model, request: ModelRequest, transform: Transform | None
) -> AsyncGenerator[AsyncIterator[ModelPart]]:
    """Give the parts of a call, and close the model's iterator however the block is left."""
    parts = model.stream(request)
    changed = parts if transform is None else transform(parts)
    try:
        yield changed
    finally:
        for iterator in (parts,) if changed is parts else (changed, parts):
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()
