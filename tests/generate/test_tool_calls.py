"""stream_text: calling tools, and what goes wrong with them."""

import asyncio
import contextvars

import pytest

from chatrt.errors import PublicError, ToolError
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, error, finish, text, tool_call
from chatrt.tools import Tool, ToolContext, tool

QUESTION = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]


@tool
async def double(n: int) -> int:
    return 2 * n


async def read(stream):
    return [chunk async for chunk in stream]


def outputs(chunks):
    return [chunk for chunk in chunks if chunk["type"].startswith("tool-output")]


def results(model):
    """What the second call was told of the tools."""
    (row,) = [row for row in model.requests[1].messages if row["role"] == "tool"]
    return [(part["toolCallId"], part["output"]) for part in row["content"]]


def raising(exception, name="fail"):
    def execute(value, context):
        raise exception

    return Tool.from_schema(name, "", {"type": "object"}, execute)


# --- order ----------------------------------------------------------------------------------------------------------


async def test_a_tool_starts_only_when_its_input_is_out_and_more_is_asked_for():
    """Between the input chunk and the start of the tool, its reader can make the chunk durable."""
    started = []

    @tool
    async def note():
        started.append(True)

    model = ScriptedModel([call(tool_call("note", {})), "done"])
    stream = stream_text(model, QUESTION, tools=[note])
    async for chunk in stream:
        if chunk["type"] == "tool-input-available":
            break
    for _ in range(10):
        await asyncio.sleep(0)
    assert started == []
    assert (await anext(stream))["type"] == "tool-output-available"
    assert started == [True]
    await stream.aclose()


async def test_tools_of_a_step_run_at_the_same_time_and_answer_in_order_of_completion():
    """Tools that wait for each other both finish; clients see who was first, the model sees the order of its calls."""
    second_done = asyncio.Event()

    @tool
    async def first():
        await second_done.wait()
        return 1

    @tool
    async def second():
        second_done.set()
        return 2

    model = ScriptedModel([call(tool_call("first", {}, id="c1"), tool_call("second", {}, id="c2")), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[first, second]))
    assert [chunk["toolCallId"] for chunk in outputs(chunks)] == ["c2", "c1"]
    assert [call_id for call_id, _ in results(model)] == ["c1", "c2"]


async def test_tools_start_when_the_model_is_done_speaking():
    """A call runs only once the whole answer is known to be whole: a stream that breaks off has caused nothing."""
    ran = []

    @tool
    async def note():
        ran.append(True)

    model = ScriptedModel([[*tool_call("note", {}), *text("and"), ConnectionError("cut")]])
    with pytest.raises(ConnectionError):
        await read(stream_text(model, QUESTION, tools=[note]))
    assert ran == []


@pytest.mark.parametrize("reason", ["length", "content-filter", "other", "error"])
async def test_nothing_runs_after_an_answer_that_was_cut(reason):
    """Input that may not be what the model meant is not acted on; the loop ends with the reason."""
    model = ScriptedModel([call(tool_call("double", {"n": 1}), finish(reason))])
    chunks = await read(stream_text(model, QUESTION, tools=[double]))
    assert outputs(chunks) == []
    assert chunks[-1] == {"type": "finish", "finishReason": reason}


async def test_nothing_runs_after_an_error_part():
    """A failed answer calls no tools and is not continued."""
    model = ScriptedModel([call(tool_call("double", {"n": 1}), error("boom"), finish("tool-calls"))])
    chunks = await read(stream_text(model, QUESTION, tools=[double]))
    assert outputs(chunks) == []


async def test_a_client_tool_ends_the_loop_and_server_tools_beside_it_still_run():
    """The loop waits for the client; what the server can do is done."""
    ask = Tool.from_schema("ask", "", {"type": "object"})
    model = ScriptedModel([call(tool_call("ask", {}, id="c1"), tool_call("double", {"n": 2}, id="c2"))])
    chunks = await read(stream_text(model, QUESTION, tools=[ask, double]))
    assert outputs(chunks) == [{"type": "tool-output-available", "toolCallId": "c2", "output": 4}]
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}
    model.assert_exhausted()


# --- outputs --------------------------------------------------------------------------------------------------------


async def test_a_text_output_is_text_for_the_model():
    """Strings are shown as text, everything else as JSON."""
    say = Tool.from_schema("say", "", {"type": "object"}, lambda value, context: "hello")
    model = ScriptedModel([call(tool_call("say", {}, id="c1"), tool_call("double", {"n": 1}, id="c2")), "done"])
    await read(stream_text(model, QUESTION, tools=[say, double]))
    assert results(model) == [
        ("c1", {"type": "text", "value": "hello"}),
        ("c2", {"type": "json", "value": 2}),
    ]


async def test_to_model_output_changes_what_the_model_sees_and_nothing_else():
    """The client gets the whole output, the model what the tool makes of it."""

    @tool(to_model_output=lambda call_id, value, output: {"type": "text", "value": f"{call_id} {value} {output['a']}"})
    async def report():
        return {"a": 1, "b": 2}

    model = ScriptedModel([call(tool_call("report", {}, id="c1")), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[report]))
    assert outputs(chunks)[0]["output"] == {"a": 1, "b": 2}
    assert results(model) == [("c1", {"type": "text", "value": "c1 {} 1"})]


async def test_preliminary_outputs_are_shown_and_only_the_last_is_for_the_model():
    """Each yield is preliminary; the last is sent once more as the output."""

    @tool
    async def count():
        for n in (1, 2):
            yield n

    model = ScriptedModel([call(tool_call("count", {}, id="c1")), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[count]))
    assert [(chunk["output"], chunk.get("preliminary")) for chunk in outputs(chunks)] == [
        (1, True),
        (2, True),
        (2, None),
    ]
    assert results(model) == [("c1", {"type": "json", "value": 2})]


async def test_a_tool_that_hurries_waits_for_its_reader():
    """Preliminary outputs that nobody reads do not pile up without end."""
    made = []

    @tool
    async def flood():
        for n in range(1000):
            made.append(n)
            yield n

    model = ScriptedModel([call(tool_call("flood", {})), "done"])
    stream = stream_text(model, QUESTION, tools=[flood])
    async for chunk in stream:
        if chunk["type"] == "tool-output-available":
            break
    for _ in range(2000):
        await asyncio.sleep(0)
    assert len(made) < 50
    await stream.aclose()


async def test_a_dynamic_tool_says_so_on_its_chunks():
    """Input start, input and output carry dynamic."""
    dyn = Tool.from_schema("dyn", "", {"type": "object"}, lambda value, context: 1, dynamic=True)
    model = ScriptedModel([call(tool_call("dyn", {}, deltas=1)), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[dyn]))
    flagged = [chunk["type"] for chunk in chunks if chunk.get("dynamic")]
    assert flagged == ["tool-input-start", "tool-input-available", "tool-output-available"]


async def test_tools_know_their_call_and_run_in_the_callers_context():
    """The context has the id and the prompt; context variables of whoever iterates are there."""
    variable = contextvars.ContextVar("variable")
    variable.set("seen")

    @tool
    async def who(context: ToolContext):
        return [context.tool_call_id, context.tool_name, len(context.messages), variable.get()]

    model = ScriptedModel([call(tool_call("who", {}, id="c7")), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[who]))
    assert outputs(chunks)[0]["output"] == ["c7", "who", 1, "seen"]


async def test_provider_metadata_of_a_call_goes_back_with_its_result():
    """What a provider attaches to a call is on the chunks and on both rows of the next prompt."""
    parts = tool_call("double", {"n": 1})
    parts[-1]["providerMetadata"] = {"p": {"k": 1}}
    model = ScriptedModel([call(parts), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[double]))
    assert outputs(chunks)[0]["providerMetadata"] == {"p": {"k": 1}}
    _, assistant, row = model.requests[1].messages
    assert assistant["content"][0]["providerOptions"] == row["content"][0]["providerOptions"] == {"p": {"k": 1}}


# --- failures -------------------------------------------------------------------------------------------------------


async def test_the_model_reads_what_a_tool_raised_and_the_client_does_not():
    """The loop goes on with the truth for the model and a fixed text for the client (D11)."""
    model = ScriptedModel([call(tool_call("fail", {}, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[raising(LookupError("key-secret"))]))
    assert outputs(chunks) == [{"type": "tool-output-error", "toolCallId": "c1", "errorText": "An error occurred."}]
    assert results(model) == [("c1", {"type": "error-text", "value": "LookupError: key-secret"})]
    assert chunks[-1] == {"type": "finish", "finishReason": "stop"}


@pytest.mark.parametrize(
    ("exception", "shown"),
    [
        (PublicError("The shop is closed."), "The shop is closed."),
        (ToolError("no such city"), "ToolError: no such city"),
    ],
)
async def test_errors_written_for_people_pass_as_they_are(exception, shown):
    """PublicError and ToolError are raised to be read."""
    model = ScriptedModel([call(tool_call("fail", {})), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[raising(exception)]))
    assert outputs(chunks)[0]["errorText"] == shown


async def test_on_error_chooses_the_text_of_a_tools_failure():
    """An application may show more, and the model still reads the truth."""
    model = ScriptedModel([call(tool_call("fail", {}, id="c1")), "sorry"])
    stream = stream_text(
        model, QUESTION, tools=[raising(LookupError("x"))], on_error=lambda error: f"[{type(error).__name__}]"
    )
    assert outputs(await read(stream))[0]["errorText"] == "[LookupError]"
    assert results(model) == [("c1", {"type": "error-text", "value": "LookupError: x"})]


async def test_an_output_that_is_not_json_is_a_tool_error():
    """The model learns that the tool gave nothing it can read."""
    odd = Tool.from_schema("odd", "", {"type": "object"}, lambda value, context: object())
    model = ScriptedModel([call(tool_call("odd", {}, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[odd]))
    assert outputs(chunks)[0]["type"] == "tool-output-error"
    assert results(model)[0][1]["value"].startswith("ToolError: the output is not JSON")


async def test_a_tool_that_cancels_itself_has_failed():
    """A cancellation from inside a tool is its failure; nobody waits for it forever."""

    @tool
    async def give_up():
        raise asyncio.CancelledError

    model = ScriptedModel([call(tool_call("give_up", {}, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[give_up]))
    assert outputs(chunks)[0]["type"] == "tool-output-error"
    assert results(model)[0][1] == {"type": "error-text", "value": "RuntimeError: the tool was cancelled"}


async def test_one_failing_tool_does_not_disturb_another():
    """Each call of a step has its own fate."""
    model = ScriptedModel([call(tool_call("fail", {}, id="c1"), tool_call("double", {"n": 2}, id="c2")), "so"])
    await read(stream_text(model, QUESTION, tools=[raising(OSError("x")), double]))
    assert [output["type"] for _, output in results(model)] == ["error-text", "json"]


@pytest.mark.parametrize(
    ("written", "shown", "reason"),
    [
        ('{"n":', '{"n":', "Unexpected end of JSON input"),
        ('{"n": "', '{"n": "', "Unterminated string in JSON at position 7"),
        ("no", "no", "Expecting value in JSON at position 0"),
        ('{"n": NaN}', '{"n": NaN}', "NaN is not JSON"),
        ('{"__proto__": 1}', '{"__proto__": 1}', "the key '__proto__' is not allowed"),
        ('"\\ud800"', '"\\ud800"', "text holds NUL or half a surrogate pair"),
        ("[" * 5000, "[" * 5000, "maximum recursion depth exceeded"),
    ],
)
async def test_arguments_that_are_not_json_are_shown_raw_and_said_to_the_model(written, shown, reason):
    """The client sees the text, the model reads what is wrong with it, and the loop goes on."""
    model = ScriptedModel([call(tool_call("double", written, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[double]))
    (bad,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-error"]
    assert bad["input"] == shown
    assert reason in bad["errorText"]
    assert results(model) == [("c1", {"type": "error-text", "value": bad["errorText"]})]
    assert model.requests[1].messages[1]["content"][0]["input"] == {}


async def test_no_arguments_at_all_are_an_empty_object():
    """Models leave the text empty where a tool takes nothing."""

    @tool
    async def ping():
        return "pong"

    model = ScriptedModel([call(tool_call("ping", " ")), "done"])
    chunks = await read(stream_text(model, QUESTION, tools=[ping]))
    assert [chunk["input"] for chunk in chunks if chunk["type"] == "tool-input-available"] == [{}]
    assert outputs(chunks)[0]["output"] == "pong"


async def test_arguments_that_do_not_fit_are_an_error_for_the_model():
    """The tool is not run; what is wrong is said in the AI SDK's words."""
    model = ScriptedModel([call(tool_call("double", {"n": "x"}, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[double]))
    (bad,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-error"]
    assert bad["errorText"].startswith(
        "AI_InvalidToolInputError: Invalid input for tool double: AI_TypeValidationError: Type validation failed: "
        'Value: {"n":"x"}.\nError message: ValidationError: n: Input should be a valid integer'
    )
    assert outputs(chunks) == []
    assert results(model) == [("c1", {"type": "error-text", "value": bad["errorText"]})]


@pytest.mark.parametrize(("tools", "known"), [([], "No tools are available."), ([double], "Available tools: double.")])
async def test_an_unknown_tool_is_an_error_for_the_model(tools, known):
    """The model is told what it may call."""
    model = ScriptedModel([call(tool_call("nope", {"a": 1}, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=tools))
    (bad,) = [chunk for chunk in chunks if chunk["type"] == "tool-input-error"]
    assert bad["dynamic"] is True
    assert bad["errorText"] == f"AI_NoSuchToolError: Model tried to call unavailable tool 'nope'. {known}"


# --- approval -------------------------------------------------------------------------------------------------------


async def test_a_call_that_needs_approval_waits_for_a_person():
    """The request follows the input, nothing runs, and the loop ends."""
    ran = []
    send = Tool.from_schema("send", "", {"type": "object"}, lambda value, context: ran.append(1), needs_approval=True)
    model = ScriptedModel([call(tool_call("send", {"to": "b"}, id="c1"))])
    stream = stream_text(model, QUESTION, tools=[send])
    chunks = await read(stream)
    request = chunks[3]
    assert request == {"type": "tool-approval-request", "approvalId": request["approvalId"], "toolCallId": "c1"}
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}
    assert ran == []
    (row,) = stream.steps[0].messages
    assert [part["type"] for part in row["content"]] == ["tool-call", "tool-approval-request"]


async def test_the_request_comes_before_what_the_model_says_next():
    """A person can decide while the model still speaks."""
    send = Tool.from_schema("send", "", {"type": "object"}, lambda value, context: 1, needs_approval=True)
    model = ScriptedModel([call(tool_call("send", {}), text("waiting"))])
    chunks = await read(stream_text(model, QUESTION, tools=[send]))
    assert [chunk["type"] for chunk in chunks[2:5]] == ["tool-input-available", "tool-approval-request", "text-start"]


async def test_a_policy_that_fails_lets_nothing_run():
    """An exception in the predicate is a tool error, not an approval."""
    ran = []

    def policy(value, context):
        raise OSError("policy-secret")

    send = Tool.from_schema("send", "", {"type": "object"}, lambda value, context: ran.append(1), needs_approval=policy)
    model = ScriptedModel([call(tool_call("send", {}, id="c1")), "sorry"])
    chunks = await read(stream_text(model, QUESTION, tools=[send]))
    assert outputs(chunks) == [{"type": "tool-output-error", "toolCallId": "c1", "errorText": "An error occurred."}]
    assert results(model) == [("c1", {"type": "error-text", "value": "OSError: policy-secret"})]
    assert ran == []
