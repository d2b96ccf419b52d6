"""The shapes of messages and parts as pydantic checks them where they enter (ai 7.0.173, its zod schemas).

Unknown keys are left out of the result. A tool part has one shape for each state, so that an output, an error or an
approval cannot stand where the state has none.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Tag, TypeAdapter, with_config
from typing_extensions import TypedDict

from chatrt.ui.json_values import is_index, is_json

VARIANTS = frozenset({"(url)", "(document)", "(text)", "(file)"})
"""The names pydantic puts into the path of an error to say which of several shapes it tried."""

_STRICT = ConfigDict(strict=True, extra="ignore")


def _refuse(value: Any) -> Any:
    del value
    raise ValueError("this state has no such key")


def _check_index(value: Any) -> Any:
    if not is_index(value):
        raise ValueError("expected a whole number from 0 on")
    return value


def _check_json(value: Any) -> Any:
    if not is_json(value):
        raise ValueError("expected a JSON value")
    return value


def _variant_by(key: str) -> Discriminator:
    """Choose among shapes by the text at `key`."""

    def choose(value: Any) -> str | None:
        return f"({cast('dict[str, Any]', value).get(key)})" if isinstance(value, dict) else None

    return Discriminator(choose)


_Absent = Annotated[Any, BeforeValidator(_refuse)]
_Index = Annotated[Any, AfterValidator(_check_index)]
_Json = Annotated[Any, AfterValidator(_check_json)]
_ProviderMetadata = dict[str, dict[str, _Json]]


@with_config(_STRICT)
class _Envelope(TypedDict):
    id: str
    role: Literal["system", "user", "assistant"]
    metadata: NotRequired[Any]
    parts: list[Any]


# --- parts that are no tool calls -----------------------------------------------------------------------------------


@with_config(_STRICT)
class _UrlSource(TypedDict):
    type: Literal["source"]
    sourceType: Literal["url"]
    id: str
    url: str
    title: NotRequired[str]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _DocumentSource(TypedDict):
    type: Literal["source"]
    sourceType: Literal["document"]
    id: str
    mediaType: str
    title: str
    filename: NotRequired[str]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _Citation(TypedDict):
    source: Annotated[
        Annotated[_UrlSource, Tag("(url)")] | Annotated[_DocumentSource, Tag("(document)")], _variant_by("sourceType")
    ]
    startIndex: NotRequired[_Index]
    endIndex: NotRequired[_Index]
    citedText: NotRequired[str]


@with_config(_STRICT)
class _TextPart(TypedDict):
    type: Literal["text"]
    text: str
    citations: NotRequired[list[_Citation]]
    state: NotRequired[Literal["streaming", "done"]]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _ReasoningPart(TypedDict):
    type: Literal["reasoning"]
    id: NotRequired[str]
    text: str
    state: NotRequired[Literal["streaming", "done"]]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _CustomPart(TypedDict):
    type: Literal["custom"]
    kind: str
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _SourceUrlPart(TypedDict):
    type: Literal["source-url"]
    sourceId: str
    url: str
    title: NotRequired[str]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _SourceDocumentPart(TypedDict):
    type: Literal["source-document"]
    sourceId: str
    mediaType: str
    title: str
    filename: NotRequired[str]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _FilePart(TypedDict):
    type: Literal["file"]
    mediaType: str
    filename: NotRequired[str]
    url: str
    providerReference: NotRequired[dict[str, str]]
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _ReasoningFilePart(TypedDict):
    type: Literal["reasoning-file"]
    mediaType: str
    url: str
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _SteeringTextPart(TypedDict):
    type: Literal["text"]
    text: str
    providerMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _SteeringMessagePart(TypedDict):
    type: Literal["steering-message"]
    id: str
    parts: list[
        Annotated[
            Annotated[_SteeringTextPart, Tag("(text)")] | Annotated[_FilePart, Tag("(file)")], _variant_by("type")
        ]
    ]


@with_config(_STRICT)
class _StepStartPart(TypedDict):
    type: Literal["step-start"]


@with_config(_STRICT)
class _DataPart(TypedDict):
    type: str
    id: NotRequired[str]
    data: Any


# --- tool calls, one shape for each state ---------------------------------------------------------------------------


@with_config(_STRICT)
class _PendingApproval(TypedDict):
    id: str
    approved: NotRequired[_Absent]
    descriptor: NotRequired[Any]
    requestReason: NotRequired[str]
    reason: NotRequired[_Absent]
    isAutomatic: NotRequired[bool]
    signature: NotRequired[str]
    inputSchemaInput: NotRequired[Any]


@with_config(_STRICT)
class _AnsweredApproval(TypedDict):
    id: str
    approved: bool
    descriptor: NotRequired[Any]
    requestReason: NotRequired[str]
    reason: NotRequired[str]
    isAutomatic: NotRequired[bool]
    signature: NotRequired[str]
    inputSchemaInput: NotRequired[Any]


def _check_granted(approval: _AnsweredApproval) -> _AnsweredApproval:
    if not approval["approved"]:
        raise ValueError("expected an approval that was given")
    return approval


def _check_denied(approval: _AnsweredApproval) -> _AnsweredApproval:
    if approval["approved"]:
        raise ValueError("expected an approval that was denied")
    return approval


_GrantedApproval = Annotated[_AnsweredApproval, AfterValidator(_check_granted)]
_DeniedApproval = Annotated[_AnsweredApproval, AfterValidator(_check_denied)]


@with_config(_STRICT)
class _ToolCall(TypedDict):
    type: str
    toolCallId: str
    state: str
    title: NotRequired[str]
    toolMetadata: NotRequired[dict[str, _Json]]
    providerExecuted: NotRequired[bool]
    callProviderMetadata: NotRequired[_ProviderMetadata]


@with_config(_STRICT)
class _InputStreaming(_ToolCall):
    input: NotRequired[Any]
    rawInput: NotRequired[str]
    inputEncoding: NotRequired[Literal["json", "text"]]
    output: NotRequired[_Absent]
    errorText: NotRequired[_Absent]
    approval: NotRequired[_Absent]


@with_config(_STRICT)
class _InputAvailable(_ToolCall):
    input: Any
    output: NotRequired[_Absent]
    errorText: NotRequired[_Absent]
    approval: NotRequired[_Absent]


@with_config(_STRICT)
class _ApprovalRequested(_ToolCall):
    input: Any
    output: NotRequired[_Absent]
    errorText: NotRequired[_Absent]
    approval: _PendingApproval


@with_config(_STRICT)
class _ApprovalResponded(_ToolCall):
    input: Any
    output: NotRequired[_Absent]
    errorText: NotRequired[_Absent]
    approval: _AnsweredApproval


@with_config(_STRICT)
class _OutputAvailable(_ToolCall):
    input: Any
    output: Any
    errorText: NotRequired[_Absent]
    resultProviderMetadata: NotRequired[_ProviderMetadata]
    preliminary: NotRequired[bool]
    approval: NotRequired[_GrantedApproval]


@with_config(_STRICT)
class _OutputError(_ToolCall):
    input: NotRequired[Any]
    rawInput: NotRequired[Any]
    output: NotRequired[_Absent]
    errorText: str
    resultProviderMetadata: NotRequired[_ProviderMetadata]
    approval: NotRequired[_GrantedApproval]


@with_config(_STRICT)
class _OutputDenied(_ToolCall):
    input: Any
    output: NotRequired[_Absent]
    errorText: NotRequired[_Absent]
    approval: _DeniedApproval


@with_config(_STRICT)
class _DynamicTool(TypedDict):
    """What a `dynamic-tool` part has besides the keys of its state."""

    toolName: str
    dynamic: NotRequired[Literal[False]]


# --- what a client sends to advance a tool call ---------------------------------------------------------------------


@with_config(_STRICT)
class _Answer(TypedDict):
    type: str
    toolCallId: str


@with_config(_STRICT)
class _OutputAnswer(_Answer):
    output: Any


@with_config(_STRICT)
class _ErrorAnswer(_Answer):
    errorText: str


@with_config(_STRICT)
class _ApprovalAnswer(_Answer):
    approval: _AnsweredApproval


# Adapters are built when first needed: most programs meet only a few kinds of parts, and imports stay quick.

_PARTS: dict[str, Any] = {
    "text": _TextPart,
    "reasoning": _ReasoningPart,
    "custom": _CustomPart,
    "source-url": _SourceUrlPart,
    "source-document": _SourceDocumentPart,
    "file": _FilePart,
    "reasoning-file": _ReasoningFilePart,
    "steering-message": _SteeringMessagePart,
    "step-start": _StepStartPart,
}
_TOOL_STATES: dict[str, Any] = {
    "input-streaming": _InputStreaming,
    "input-available": _InputAvailable,
    "approval-requested": _ApprovalRequested,
    "approval-responded": _ApprovalResponded,
    "output-available": _OutputAvailable,
    "output-error": _OutputError,
    "output-denied": _OutputDenied,
}
_ANSWERS: dict[str, Any] = {
    "output-available": _OutputAnswer,
    "output-error": _ErrorAnswer,
    "approval-responded": _ApprovalAnswer,
}


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    # Kept by shape and never by a name from outside, of which there is no end.
    return TypeAdapter(shape)


def envelope_adapter() -> TypeAdapter[Any]:
    """A message without a look into its parts."""
    return _adapter(_Envelope)


def part_adapter(kind: str) -> TypeAdapter[Any] | None:
    """A part that is no tool call; None for an unknown type."""
    shape = _DataPart if kind.startswith("data-") else _PARTS.get(kind)
    return None if shape is None else _adapter(shape)


def tool_adapter(state: str) -> TypeAdapter[Any] | None:
    """A tool part in that state, without `toolName`; None for an unknown state."""
    shape = _TOOL_STATES.get(state)
    return None if shape is None else _adapter(shape)


def dynamic_tool_adapter() -> TypeAdapter[Any]:
    """The keys that only `dynamic-tool` parts have."""
    return _adapter(_DynamicTool)


def answer_adapter(state: str) -> TypeAdapter[Any]:
    """A tool part with only the keys a client needs to advance it to that state."""
    return _adapter(_ANSWERS.get(state, _Answer))
