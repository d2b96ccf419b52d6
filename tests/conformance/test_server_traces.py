"""The traces recorded from `streamText` of the real AI SDK, played by our models, tools and loop."""

import itertools

from chatrt.generate import step_count_is, stream_text
from chatrt.models import ScriptedModel
from chatrt.tools import ApprovalDecision, Tool
from chatrt.ui import convert_to_model_messages

VECTORS = "server_traces"

# There the SDK gives up before the model is called, because a call has no result. Here every prompt is mended (D12):
# the model learns that the result is not known, and answers.
MENDED = {"trace/open-client-call-then-user"}


class Error(Exception):
    """JavaScript's Error, whose name the recorded texts carry."""


def any_object(value):
    if not isinstance(value, dict | list) or "bad" in value:
        raise Error("bad arg")
    return value


def returning(make):
    # Coroutines, not threads: what needs no time then completes in the order of the calls, as it does in JavaScript.
    async def execute(value, context):
        return make(value)

    return execute


def raising(text):
    async def execute(value, context):
        raise Error(text)

    return execute


async def gen(value, context):
    for number in (1, 2, 3):
        yield {"p": number}


def make_tools():
    def declare(name, execute, **options):
        return Tool.from_schema(name, "", {"type": "object"}, execute, validate=any_object, **options)

    return [
        declare("server", returning(lambda value: {"got": value})),
        declare("thrower", raising("tool-secret")),
        declare("client", None),
        declare("gen", gen),
        declare("mail", returning(lambda value: {"sent": True}), needs_approval=True),
        declare("mailfail", raising("smtp"), needs_approval=True),
        declare("auto", returning(lambda value: 1), needs_approval=ApprovalDecision.approve("policy ok")),
        declare("never", returning(lambda value: 1), needs_approval=ApprovalDecision.deny("policy no")),
        declare("dyn", returning(lambda value: 1), dynamic=True),
    ]


def to_script(case):
    return [[Error(part["throw"]) if "throw" in part else part for part in call] for call in case["script"]]


class Names:
    """Ids that read as in the recordings: approvals AP1, AP2, ..., renamed texts ID1, ID2, ..."""

    def __init__(self):
        self._approvals = itertools.count(1)
        self._texts = itertools.count(1)

    def new(self, prefix):
        return f"AP{next(self._approvals)}" if prefix == "approval" else f"ID{next(self._texts)}"


def message_id(case):
    last = case["messages"][-1]
    return last["id"] if last["role"] == "assistant" else "M"


def shown(error):
    """Show the errors of tools and mask those of the model's stream, which is what the recordings do."""
    return f"{type(error).__name__}: {error}" if isinstance(error, Error) else "An error occurred."


async def play(case):
    model = ScriptedModel(to_script(case))
    tools = make_tools()
    messages = convert_to_model_messages(case["messages"], tools={tool.name: tool for tool in tools})
    stream = stream_text(
        model,
        messages,
        tools=tools,
        stop_when=step_count_is(case.get("maxSteps", 5)),
        on_error=shown,
        ids=Names(),
    )
    chunks = []
    failure = None
    try:
        async for chunk in stream:
            # The id is put on by whoever owns the message.
            chunks.append({**chunk, "messageId": message_id(case)} if chunk["type"] == "start" else chunk)
    except Error as error:
        failure = error
    return model, chunks, failure


async def test_an_answer_streams_calls_and_prompts_as_the_ai_sdk_does(case):
    """Chunks, number of model calls and prompts are those of the AI SDK; where its body breaks off, iterating raises."""
    model, chunks, failure = await play(case)
    prompts = [list(request.messages) for request in model.requests]
    if case["name"] in MENDED:
        assert failure is None
        assert chunks[-1] == {"type": "finish", "finishReason": "stop"}
        assert [[row["role"] for row in prompt] for prompt in prompts] == [["user", "assistant", "tool", "user"]]
        return
    assert chunks == case["chunks"]
    assert len(prompts) == case["modelCalls"]
    assert prompts == case["prompts"]
    assert (failure is not None) == case.get("bodyBroken", False)
