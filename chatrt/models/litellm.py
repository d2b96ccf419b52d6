"""Any language model that litellm knows, by its litellm name.

litellm is imported by the first call, not by this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

from chatrt.errors import ModelResponseError, ModelUnavailableError
from chatrt.models.base import ModelPart, ModelRequest
from chatrt.models.litellm_cache import limit_breakpoints
from chatrt.models.litellm_chunks import ChunkAssembler
from chatrt.models.litellm_messages import provider_family, to_litellm, tool_definitions
from chatrt.models.litellm_upstream import Upstream, load_litellm
from chatrt.models.permission import check_model_call
from chatrt.ui import ModelMessage

_DEFAULTS: Mapping[str, Any] = {
    "first_byte_timeout": 60.0,
    "idle_timeout": 60.0,
    "num_retries": 0,  # a retry is the runtime's to decide: behind its back an answer could start twice
    "stream_options": {"include_usage": True},
    "_skip_mcp_handler": True,  # its gateway for MCP servers: with any tools litellm would want the package `mcp`
}


class LiteLLMModel:
    """A model called through `litellm.acompletion`.

    Args:
        name: litellm's name of it, provider first: `anthropic/claude-sonnet-4-5`, `openai/gpt-5`.
        settings: For every call; those of a request win. `first_byte_timeout` and `idle_timeout` are seconds of
            silence, before and between the provider's chunks, after which a call fails (60 each, None for no limit);
            the rest go to litellm as they are (`temperature`, `max_tokens`, `api_key`, `api_base`, `thinking`, ...).
    """

    def __init__(self, name: str, **settings: Any) -> None:
        self._name = name
        self._settings = settings

    @property
    def name(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"LiteLLMModel({self._name!r})"  # without the settings: a key may be among them

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelPart]:
        """Call the model and yield its parts as they arrive; closing the iterator drops the connection.

        Raises:
            ModelAuthError: The provider refused the key (401, 403).
            ModelRateLimitError: It asks to slow down (429).
            ModelTimeoutError: It was silent for too long.
            ModelUnavailableError: It could not be reached, failed (5xx), or broke off before a finish reason.
            ModelResponseError: It refused the request (other 4xx), or what it sent is no chat-completions stream.
            ModelCallForbiddenError: Real model calls are forbidden here, and nothing was sent.
        """
        check_model_call(self._name)
        settings = {**_DEFAULTS, **self._settings, **request.settings}
        first_byte_timeout, idle_timeout = settings.pop("first_byte_timeout"), settings.pop("idle_timeout")
        litellm = await load_litellm()
        family = self._family(litellm, settings)
        assembler = ChunkAssembler(family=family, taken_ids=_call_ids(request.messages))
        arguments = self._arguments(request, settings, family)
        upstream = Upstream(litellm, arguments, first_byte_timeout=first_byte_timeout, idle_timeout=idle_timeout)
        try:
            while (chunk := await upstream.read()) is not None:
                for part in _parts(assembler, chunk):
                    yield part
                if assembler.finish_reason is not None and getattr(chunk, "usage", None) is not None:
                    break  # litellm's last chunk; reading on would only start its bookkeeping
            reason, usage = upstream.finish_reason, upstream.usage
        finally:
            await upstream.aclose()
        if reason is None:
            if assembler.has_content:
                raise ModelUnavailableError("the provider broke off before it finished")
            raise ModelResponseError("the provider's answer is no stream of chat completions")
        for part in assembler.finish(raw=reason, usage=usage):
            yield part

    def _family(self, litellm: Any, settings: Mapping[str, Any]) -> str:
        try:
            model, provider, _, _ = litellm.get_llm_provider(
                self._name,
                custom_llm_provider=settings.get("custom_llm_provider"),
                api_base=settings.get("api_base") or settings.get("base_url"),
            )
        except litellm.BadRequestError:  # no provider of that name: the call itself will say so
            return ""
        return provider_family(provider, model)

    def _arguments(self, request: ModelRequest, settings: dict[str, Any], family: str) -> dict[str, Any]:
        given: Iterable[Mapping[str, Any]] = settings.pop("tools", None) or ()
        tools = [*tool_definitions(request.tools, provider=family), *(dict(tool) for tool in given)]
        rows = to_litellm(request.messages, provider=family)
        limit_breakpoints(rows, tools)
        arguments = {**settings, "model": self._name, "stream": True}
        arguments["messages"] = rows
        if tools:
            arguments["tools"] = tools
        return arguments


def _parts(assembler: ChunkAssembler, chunk: Any) -> list[ModelPart]:
    try:
        return assembler.feed(chunk)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelResponseError(f"a chunk of no known shape: {type(error).__name__}") from None


def _call_ids(messages: Sequence[ModelMessage]) -> set[str]:
    return {
        part["toolCallId"]
        for message in messages
        if message["role"] == "assistant" and not isinstance(message["content"], str)
        for part in cast("Iterable[Mapping[str, Any]]", message["content"])
        if part["type"] == "tool-call"
    }
