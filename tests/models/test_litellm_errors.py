"""What LiteLLMModel raises when a provider refuses, breaks off, falls silent or sends garbage; litellm is in between."""

from __future__ import annotations

import asyncio
import traceback
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from chatrt.errors import (
    ModelAuthError,
    ModelError,
    ModelRateLimitError,
    ModelResponseError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from chatrt.models.base import ModelPart
from chatrt.models.litellm import LiteLLMModel
from chatrt.models.litellm_errors import mask_secrets, model_error
from chatrt.models.litellm_upstream import close_litellm
from tests.models.provider import anthropic_wire as a
from tests.models.provider import openai_wire as o
from tests.models.provider.calls import (
    ANTHROPIC,
    KEY,
    OPENAI,
    QUIET,
    model,
    parts_of,
    request,
    text_of,
    warm_up,
)
from tests.models.provider.server import ProviderServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *QUIET]

BOTH = pytest.mark.parametrize("name", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
BEGUN = {OPENAI: o.text("partial"), ANTHROPIC: a.start() + a.text(0, "partial")}
WHOLE = {OPENAI: o.text("one") + o.text("two") + o.finish() + o.DONE, ANTHROPIC: a.start() + a.text(0, "ab") + a.end()}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    server = ProviderServer().start()
    yield server
    server.close()


@pytest.fixture
def provider(server: ProviderServer) -> ProviderServer:
    server.reset()
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def clients(server: ProviderServer) -> AsyncIterator[None]:
    with warnings.catch_warnings(action="ignore"):
        await warm_up(server)
    yield
    await close_litellm()


async def until_error(called: LiteLLMModel) -> tuple[list[ModelPart], ModelError]:
    """Read to the error that must come, and return it with the parts before it."""
    parts: list[ModelPart] = []
    try:
        async for part in called.stream(request()):
            parts.append(part)
    except ModelError as error:
        return parts, error
    pytest.fail(f"no error after {parts}")


class TestStatus:
    @BOTH
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, ModelResponseError),
            (401, ModelAuthError),
            (403, ModelAuthError),
            (404, ModelResponseError),
            (429, ModelRateLimitError),
            (500, ModelUnavailableError),
            (503, ModelUnavailableError),
            (529, ModelUnavailableError),
        ],
    )
    async def test_status_decides(
        self, provider: ProviderServer, name: str, status: int, kind: type[ModelError]
    ) -> None:
        """Each status of a provider has its error, which keeps the status."""
        provider.refuse(status, {"type": "error", "error": {"type": "t", "message": "no"}})
        _, error = await until_error(model(provider, name))
        assert (type(error), error.provider_status) == (kind, status)

    @BOTH
    async def test_nothing_is_retried(self, provider: ProviderServer, name: str) -> None:
        """A failed call is one request: whoever wants another asks for it."""
        for _ in range(3):
            provider.refuse(500, {"error": {"message": "no"}})
        await until_error(model(provider, name))
        assert len(provider.requests) == 1

    async def test_html_in_an_error_is_no_obstacle(self, provider: ProviderServer) -> None:
        """A gateway's page in place of a JSON error is judged by its status."""
        provider.refuse(502, b"<html>Bad Gateway</html>", content_type="text/html")
        _, error = await until_error(model(provider))
        assert (type(error), error.provider_status) == (ModelUnavailableError, 502)

    async def test_no_key_is_an_auth_error(self, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call for which no key was given fails as one whose key is refused, without a request."""
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        _, error = await until_error(LiteLLMModel(OPENAI, api_base=provider.url))
        assert (type(error), provider.requests) == (ModelAuthError, [])

    async def test_unknown_provider(self) -> None:
        """A name that belongs to no provider is a request that nobody accepts."""
        _, error = await until_error(LiteLLMModel("no-such-model"))
        assert type(error) is ModelResponseError


class TestBrokenStream:
    @BOTH
    async def test_refused_connection(self, name: str) -> None:
        """A provider that does not listen is unavailable, and gave no status."""
        _, error = await until_error(LiteLLMModel(name, api_base="http://127.0.0.1:1", api_key=KEY))
        assert (type(error), error.provider_status) == (ModelUnavailableError, None)

    @BOTH
    async def test_cut_in_mid_frame_keeps_what_came_before(self, provider: ProviderServer, name: str) -> None:
        """A connection reset inside a frame ends the call as unavailable, after the parts that were whole."""
        provider.play(BEGUN[name], BEGUN[name][:20], "cut")
        parts, error = await until_error(model(provider, name))
        assert (text_of(parts), type(error)) == ("partial", ModelUnavailableError)

    @BOTH
    async def test_cut_at_any_byte_never_looks_finished(self, provider: ProviderServer, name: str) -> None:
        """Wherever a stream is cut before its finish reason, the call fails and its text is a beginning of the whole."""
        script = WHOLE[name]
        provider.play(script)
        whole = text_of(await parts_of(model(provider, name)))
        reason = script.index(b'"stop"' if name == OPENAI else b'"end_turn"')
        for offset in range(1, reason, 5):
            provider.play(script[:offset], "cut")
            parts, error = await until_error(model(provider, name))
            assert isinstance(error, ModelUnavailableError)
            assert whole.startswith(text_of(parts))

    @BOTH
    async def test_end_without_a_finish_reason_is_a_break(self, provider: ProviderServer, name: str) -> None:
        """A stream that ends politely but says no reason was cut upstream: it is no whole answer."""
        provider.play(BEGUN[name])
        parts, error = await until_error(model(provider, name))
        assert (text_of(parts), type(error)) == ("partial", ModelUnavailableError)

    @BOTH
    async def test_html_with_status_200(self, provider: ProviderServer, name: str) -> None:
        """A page in place of a stream is no response a model gave."""
        provider.play(b"<html><body>Sign in</body></html>", content_type="text/html")
        _, error = await until_error(model(provider, name))
        assert type(error) is ModelResponseError

    async def test_garbage_in_a_frame(self, provider: ProviderServer) -> None:
        """A frame that is no JSON is unusable; the parts before it stand."""
        provider.play(o.text("partial"), b"data: {oops\n\n", o.finish(), o.DONE)
        parts, error = await until_error(model(provider))
        assert (text_of(parts), type(error)) == ("partial", ModelResponseError)

    async def test_garbage_in_a_frame_of_anthropic(self, provider: ProviderServer) -> None:
        """The same on Anthropic's wire, where litellm swallows the frame and all after it."""
        provider.play(a.start(), b"data: {oops\n\n", a.text(0, "x") + a.end())
        _, error = await until_error(model(provider, ANTHROPIC))
        assert type(error) is ModelResponseError

    @pytest.mark.parametrize(
        ("event", "kind"),
        [
            ({"message": "slow down", "code": 429}, ModelRateLimitError),
            ({"message": "over", "type": "overloaded_error"}, ModelUnavailableError),
            ({"message": "over", "type": "server_error"}, ModelUnavailableError),
        ],
    )
    async def test_error_event(self, provider: ProviderServer, event: dict[str, Any], kind: type[ModelError]) -> None:
        """An error that comes as an event of the stream is judged by its code or type."""
        provider.play(o.text("partial"), o.frame({"error": event}))
        parts, error = await until_error(model(provider))
        assert (text_of(parts), type(error)) == ("partial", kind)

    async def test_error_event_of_anthropic(self, provider: ProviderServer) -> None:
        """Anthropic's error event makes the provider unavailable."""
        event = a.event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        provider.play(BEGUN[ANTHROPIC], event)
        parts, error = await until_error(model(provider, ANTHROPIC))
        assert (text_of(parts), type(error)) == ("partial", ModelUnavailableError)


class TestSilence:
    @BOTH
    async def test_silence_before_the_first_byte(self, provider: ProviderServer, name: str) -> None:
        """A provider that accepts the request and says nothing times out, and is left."""
        provider.play(silent_before_headers=True)
        _, error = await until_error(model(provider, name, first_byte_timeout=0.1))
        assert type(error) is ModelTimeoutError
        assert await provider.closed()

    @BOTH
    async def test_silence_between_parts(self, provider: ProviderServer, name: str) -> None:
        """A provider that falls silent in the middle times out after its parts, and is left."""
        provider.play(BEGUN[name], "silence")
        parts, error = await until_error(model(provider, name, idle_timeout=0.1))
        assert (text_of(parts), type(error)) == ("partial", ModelTimeoutError)
        assert await provider.closed()

    async def test_a_timeout_of_the_caller_stays_the_callers(self, provider: ProviderServer) -> None:
        """A time limit set around the call is not mistaken for the provider's silence."""
        provider.play(o.text("partial"), "silence")
        stream = model(provider).stream(request())
        assert [(await anext(stream))["type"] for _ in range(3)] == ["response-metadata", "text-start", "text-delta"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(stream)
        assert await provider.closed()


class TestSecrets:
    @BOTH
    async def test_no_key_in_the_text_or_the_traceback(self, provider: ProviderServer, name: str) -> None:
        """A provider that repeats the key in its refusal does not get it into a log."""
        provider.refuse(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
        _, error = await until_error(model(provider, name))
        assert KEY not in "".join(traceback.format_exception(error))

    async def test_a_key_of_any_form_is_masked_when_it_was_a_setting(self, provider: ProviderServer) -> None:
        """A key that looks like nothing special is known from the settings."""
        provider.refuse(400, {"error": {"message": "bad key plain-words-key"}})
        called = LiteLLMModel(OPENAI, api_base=provider.url, api_key="plain-words-key")
        _, error = await until_error(called)
        assert "plain-words-key" not in str(error)
        assert "***" in str(error)

    @pytest.mark.parametrize(
        "text",
        [
            "key sk-proj-SECRET123456 refused",
            "authorization: Bearer SECRET123456",
            "https://host/v1?key=SECRET123456&alt=sse",
            "'x-api-key': 'SECRET123456'",
            "AIzaSECRET123456789",
        ],
    )
    async def test_what_looks_like_a_key_is_masked(self, text: str) -> None:
        """The usual shapes of keys disappear from a text."""
        assert "SECRET" not in mask_secrets(text)

    async def test_plain_words_are_left_alone(self) -> None:
        """A text without keys stays as it is."""
        assert mask_secrets("the task-force key was found in risk-free air") == (
            "the task-force key was found in risk-free air"
        )

    async def test_a_long_page_is_cut(self) -> None:
        """An error's text is a line for a log, however long the body of the refusal was."""
        assert len(str(model_error(ValueError("x" * 10_000)))) < 600


class TestNoise:
    async def test_nothing_is_printed(self, provider: ProviderServer, capfd: pytest.CaptureFixture[str]) -> None:
        """litellm's advice to people stays off the standard output, when a call fails as well."""
        provider.refuse(401, {"error": {"message": "no"}})
        await until_error(model(provider))
        assert capfd.readouterr().out == ""
