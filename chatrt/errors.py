"""The errors of chatrt: one tree, one stable code for each class.

    ChatrtError                     internal-error        500
    +-- PublicError                 (given)               500  a text that people may read
    +-- InvalidInputError           invalid-input         400  what came in is not acceptable
    |   +-- InvalidJSONError        invalid-json          400
    |   +-- InvalidMessageError     invalid-message       400
    |   +-- InvalidChunkError       invalid-chunk         400
    |   +-- InvalidClientDataError  invalid-client-data   400
    |   +-- InvalidActionError      invalid-action        400
    |   +-- InvalidCursorError      invalid-cursor        400
    |   +-- ForbiddenChangeError    forbidden-change      403  a client tried to change what is the server's (D15)
    |   +-- TooLargeError           too-large             413
    |   +-- UnsupportedTypeError    unsupported-type      415
    |   +-- RequestTimeoutError     request-timeout       408
    |   +-- MethodNotAllowedError   method-not-allowed    405
    |   +-- InvalidAttachmentError  invalid-attachment    422  a file that is empty, cut short, or not the announced one
    |   +-- AttachmentLimitError    too-many-attachments  413  the chat holds as many files, or bytes of them, as it may
    |   +-- URLNotAllowedError      url-not-allowed       422  a file part has a URL that is not let in
    |   +-- UnsatisfiableRangeError invalid-range         416
    +-- NotFoundError               not-found             404
    |   +-- AgentNotFoundError      agent-not-found       404
    |   +-- SessionNotFoundError    session-not-found     404
    |   +-- MessageNotFoundError    message-not-found     404
    |   +-- CursorAheadError        cursor-ahead          404
    |   +-- AttachmentNotFoundError attachment-not-found  404
    +-- ConflictError               conflict              409
    |   +-- SessionClosedError      session-closed        409
    |   +-- SessionBusyError        session-busy          409
    |   +-- AgentMismatchError      agent-mismatch        409
    |   +-- SubAgentDepthError      sub-agent-depth       409  too many turns would wait for one another
    |   +-- SubAgentDeadlockError   sub-agent-deadlock    409  a turn would wait for itself
    |   +-- SubAgentTakenError      sub-agent-taken       409  the chat id of a sub-agent is somebody else's
    +-- UnauthorizedError           unauthorized          401
    |   +-- InvalidTokenError       invalid-token         401
    +-- InvalidSignatureError       invalid-signature     401  a webhook that its sender did not sign, or long ago
    +-- WebhookFailedError          webhook-failed        500  an event was not taken in; its sender tries again
    +-- ForbiddenError              forbidden             403
    +-- ShuttingDownError           shutting-down         503
    +-- StoreError                  store-error           503
    |   +-- StoreUnavailableError   store-unavailable     503
    |   +-- StoreLockedError        store-locked          503  another process serves this file
    |   +-- StaleEpochError         stale-epoch           409  somebody else holds the lease now
    |   +-- UnreadableRecordError   unreadable-record     500  stored, but not in a form this version reads
    +-- ModelError                  model-error           502
    |   +-- ModelAuthError          model-auth            502
    |   +-- ModelRateLimitError     model-rate-limit      503
    |   +-- ModelTimeoutError       model-timeout         504
    |   +-- ModelUnavailableError   model-unavailable     502
    |   +-- ModelResponseError      model-response        502  the provider answered with something unusable
    |   +-- ScriptExhaustedError    script-exhausted      500  a scripted model was asked once too often
    |   +-- ModelCallForbiddenError model-call-forbidden  500  a test was about to call a real model
    +-- TurnInterruptedError        turn-interrupted      503  the run that served a turn died
    +-- InputQuarantinedError       input-quarantined     500  workers died over an input, one after another
    +-- UIMessageStreamError        message-stream        500  chunks that contradict each other
    +-- MessageConversionError      message-conversion    500
    +-- UnstorableLocalError        unstorable-local      500  the durable value of a local is not JSON
    +-- ToolError                   tool-error            500
    |   +-- InvalidToolInputError   invalid-tool-input    400
    |   +-- NoSuchToolError         no-such-tool          400
    |   +-- ToolServerUnavailableError  tool-server-unavailable  503  an MCP server cannot be reached, or is lost
    +-- RemoteError                 remote-error          502  a client got an answer it has no class for
    |   +-- ServerUnavailableError  server-unavailable    503  a client cannot reach the server, or lost it for good
    |   +-- MalformedStreamError    malformed-stream      502  a client reads what is no stream of records
    +-- TurnFailedError             turn-failed           500  a client waited for an answer, and the turn failed
    +-- UsageError                  usage                 500  chatrt itself is used wrongly
        +-- InvalidSkillError       invalid-skill         500  a SKILL.md is missing or says too little

An exception's text is for logs. What a client reads is the code, a fixed text and an opaque id (D11); only a
`PublicError` carries a text of its own to the outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class ChatrtError(Exception):
    """Base of everything chatrt raises on purpose.

    Attributes:
        code: Stable, kebab-case; what programs compare.
        status: The HTTP status a server answers with.
        retryable: Whether the same request may succeed later without change.
    """

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class PublicError(ChatrtError):
    """A failure whose text was written for people and may cross to the client.

    Raise it from a run function, a hook or a tool when the reader of the chat should see why.
    """

    code = "public-error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


# --- what came in ---------------------------------------------------------------------------------------------------


class InvalidInputError(ChatrtError):
    """What came in is not acceptable; `path` says where, in JSON-pointer style, when known."""

    code = "invalid-input"
    status = 400

    def __init__(self, reason: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class InvalidJSONError(InvalidInputError):
    """The body is not JSON, or is JSON that not every store and client can carry."""

    code = "invalid-json"


class InvalidMessageError(InvalidInputError):
    """A UI message does not have the shape of one."""

    code = "invalid-message"


class InvalidChunkError(InvalidInputError):
    """A UI message chunk does not have the shape of one."""

    code = "invalid-chunk"


class InvalidClientDataError(InvalidInputError):
    """The client data do not fit the agent's `client_data` type."""

    code = "invalid-client-data"


class InvalidActionError(InvalidInputError):
    """The action does not fit the agent's `action` type, or the agent takes none."""

    code = "invalid-action"


class InvalidCursorError(InvalidInputError):
    """A cursor is not a decimal sequence number."""

    code = "invalid-cursor"


class ForbiddenChangeError(InvalidInputError):
    """A client tried to change what is the server's: texts, roles, inputs, finished tool calls (D15)."""

    code = "forbidden-change"
    status = 403


class TooLargeError(InvalidInputError):
    """The body, its depth or its number of nodes is over the limit."""

    code = "too-large"
    status = 413


class UnsupportedTypeError(InvalidInputError):
    """The body is of a type that is not taken here, or is not of the type that it is declared as."""

    code = "unsupported-type"
    status = 415


class RequestTimeoutError(InvalidInputError):
    """The body did not arrive in time."""

    code = "request-timeout"
    status = 408
    retryable = True


class MethodNotAllowedError(InvalidInputError):
    """The path exists, but not with this method."""

    code = "method-not-allowed"
    status = 405


class InvalidAttachmentError(InvalidInputError):
    """A file is empty, was cut short, or is not the one that was announced."""

    code = "invalid-attachment"
    status = 422


class AttachmentLimitError(InvalidInputError):
    """The session holds as many files, or as many bytes of them, as it may."""

    code = "too-many-attachments"
    status = 413


class URLNotAllowedError(InvalidInputError):
    """A file part has a URL that the agent does not let in."""

    code = "url-not-allowed"
    status = 422


class UnsatisfiableRangeError(InvalidInputError):
    """The wanted bytes lie behind the end of the file.

    Attributes:
        size: How many bytes the file has.
    """

    code = "invalid-range"
    status = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes", path="range")
        self.size = size


# --- what is not there ----------------------------------------------------------------------------------------------


class NotFoundError(ChatrtError):
    """Something that was named does not exist."""

    code = "not-found"
    status = 404


class AgentNotFoundError(NotFoundError):
    """No agent of that id is served here."""

    code = "agent-not-found"

    def __init__(self, agent_id: str) -> None:
        super().__init__(f"no agent {agent_id!r}")
        self.agent_id = agent_id


class SessionNotFoundError(NotFoundError):
    """No session of that chat id exists."""

    code = "session-not-found"

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"no session {chat_id!r}")
        self.chat_id = chat_id


class MessageNotFoundError(NotFoundError):
    """The history holds no message of that id (D4)."""

    code = "message-not-found"

    def __init__(self, message_id: str) -> None:
        super().__init__(f"no message {message_id!r} in the history")
        self.message_id = message_id


class AttachmentNotFoundError(NotFoundError):
    """The session has no file of that id, or not yet."""

    code = "attachment-not-found"

    def __init__(self, attachment_id: str) -> None:
        super().__init__(f"no attachment {attachment_id!r}")
        self.attachment_id = attachment_id


class CursorAheadError(NotFoundError):
    """A cursor lies beyond the end of the log: it was made by another store or a lost future."""

    code = "cursor-ahead"

    def __init__(self, cursor: int, last_seq: int) -> None:
        super().__init__(f"cursor {cursor} is beyond the last record {last_seq}")
        self.cursor = cursor
        self.last_seq = last_seq


# --- what is in the way ---------------------------------------------------------------------------------------------


class ConflictError(ChatrtError):
    """The request contradicts the present state."""

    code = "conflict"
    status = 409


class SessionClosedError(ConflictError):
    """The session takes no more records, for good."""

    code = "session-closed"

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"session {chat_id!r} is closed")
        self.chat_id = chat_id


class SessionBusyError(ConflictError):
    """Something is unsettled, and what came in was to be taken only by an idle session (busy policy `reject`)."""

    code = "session-busy"
    retryable = True

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"session {chat_id!r} is busy with a turn")
        self.chat_id = chat_id


class AgentMismatchError(ConflictError):
    """The session exists and belongs to another agent."""

    code = "agent-mismatch"

    def __init__(self, chat_id: str, agent_id: str) -> None:
        super().__init__(f"session {chat_id!r} does not belong to agent {agent_id!r}")
        self.chat_id = chat_id
        self.agent_id = agent_id


class SubAgentDepthError(ConflictError):
    """One sub-agent more would make too many turns wait for one another."""

    code = "sub-agent-depth"

    def __init__(self, chat_id: str, limit: int) -> None:
        super().__init__(f"session {chat_id!r} is at the end of a chain of {limit} turns that wait for one another")
        self.chat_id = chat_id
        self.limit = limit


class SubAgentDeadlockError(ConflictError):
    """A turn would wait for an answer that cannot begin before the turn itself has ended."""

    code = "sub-agent-deadlock"

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"session {chat_id!r} waits for this turn and cannot answer before it has ended")
        self.chat_id = chat_id


class SubAgentTakenError(ConflictError):
    """The session that has the chat id of a sub-agent was not started by the session that asks for it."""

    code = "sub-agent-taken"

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"session {chat_id!r} is no sub-agent of this session")
        self.chat_id = chat_id


# --- who asks -------------------------------------------------------------------------------------------------------


class UnauthorizedError(ChatrtError):
    """The request carries no credentials, and they are needed."""

    code = "unauthorized"
    status = 401

    def __init__(self, reason: str = "credentials are needed") -> None:
        super().__init__(reason)


class InvalidTokenError(UnauthorizedError):
    """The credentials are wrong, expired or malformed; which of these is not told."""

    code = "invalid-token"

    def __init__(self, reason: str = "the token is not valid") -> None:
        super().__init__(reason)


class InvalidSignatureError(ChatrtError):
    """A webhook was not signed by its sender, or too long ago; which of these is not told."""

    code = "invalid-signature"
    status = 401

    def __init__(self, reason: str = "the signature is not valid") -> None:
        super().__init__(reason)


class WebhookFailedError(ChatrtError):
    """What the application does with the events of a webhook failed; the sender is to try again."""

    code = "webhook-failed"
    status = 500
    retryable = True

    def __init__(self, webhook: str, reason: str) -> None:
        super().__init__(f"webhook {webhook!r}: {reason}")
        self.webhook = webhook


class ForbiddenError(ChatrtError):
    """The credentials are good, but not for this."""

    code = "forbidden"
    status = 403

    def __init__(self, reason: str = "the token does not allow this") -> None:
        super().__init__(reason)


class ShuttingDownError(ChatrtError):
    """The server is about to stop; another one, or the same one after its restart, will answer."""

    code = "shutting-down"
    status = 503
    retryable = True


# --- where it is kept -----------------------------------------------------------------------------------------------


class StoreError(ChatrtError):
    """The store failed; nothing of the refused write exists."""

    code = "store-error"
    status = 503
    retryable = True


class StoreUnavailableError(StoreError):
    """The store cannot be reached or written right now."""

    code = "store-unavailable"


class StoreLockedError(StoreError):
    """Another process serves this SQLite file."""

    code = "store-locked"
    retryable = False

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"{path} is served by another process ({holder})")
        self.path = path
        self.holder = holder


class StaleEpochError(StoreError):
    """The lease of this epoch has been taken over; nothing was written."""

    code = "stale-epoch"
    status = 409
    retryable = False

    def __init__(self, chat_id: str, epoch: int) -> None:
        super().__init__(f"epoch {epoch} of session {chat_id!r} is over")
        self.chat_id = chat_id
        self.epoch = epoch


class UnreadableRecordError(StoreError):
    """Something is stored but cannot be read; it is never treated as absent."""

    code = "unreadable-record"
    status = 500
    retryable = False

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"cannot read {what}: {reason}")
        self.what = what


# --- the model ------------------------------------------------------------------------------------------------------


class ModelError(ChatrtError):
    """A model call failed.

    Attributes:
        provider_status: The HTTP status the provider gave, when there was one.
    """

    code = "model-error"
    status = 502

    def __init__(self, reason: str, *, provider_status: int | None = None) -> None:
        super().__init__(reason)
        self.provider_status = provider_status


class ModelAuthError(ModelError):
    """The provider refused the key (401, 403)."""

    code = "model-auth"


class ModelRateLimitError(ModelError):
    """The provider asks to slow down (429)."""

    code = "model-rate-limit"
    status = 503
    retryable = True


class ModelTimeoutError(ModelError):
    """The provider was silent for too long."""

    code = "model-timeout"
    status = 504
    retryable = True


class ModelUnavailableError(ModelError):
    """The provider cannot be reached, broke off, or failed inside (5xx)."""

    code = "model-unavailable"
    retryable = True


class ModelResponseError(ModelError):
    """The provider answered with something that is no answer (4xx, garbage, a broken frame)."""

    code = "model-response"


class ScriptExhaustedError(ModelError):
    """A scripted model was asked for more steps than its script has."""

    code = "script-exhausted"
    status = 500


class ModelCallForbiddenError(ModelError):
    """A real model was about to be called where that is forbidden: in a test, for instance."""

    code = "model-call-forbidden"
    status = 500

    def __init__(self, model: str) -> None:
        super().__init__(
            f"model {model!r} was not called: real model calls are forbidden here. Put another model in its place with "
            "chatrt.testing.override_model, or allow the call with chatrt.testing.allow_model_calls"
        )
        self.model = model


# --- turns, messages and tools --------------------------------------------------------------------------------------


class TurnInterruptedError(ChatrtError):
    """The run that served a turn died; what it had said is kept."""

    code = "turn-interrupted"
    status = 503
    retryable = True

    def __init__(self) -> None:
        super().__init__("the run that served this turn died")


class InputQuarantinedError(ChatrtError):
    """An input over which workers died, one after another: it was settled without being served once more."""

    code = "input-quarantined"

    def __init__(self, chat_id: str, in_seq: int, deaths: int) -> None:
        super().__init__(f"input {in_seq} of chat {chat_id!r} was given up: {deaths} workers have died over it")
        self.in_seq = in_seq
        self.deaths = deaths


class UIMessageStreamError(ChatrtError):
    """A chunk contradicts the ones before it (`AI_UIMessageStreamError` of `ai` 7.0.173, same texts)."""

    code = "message-stream"

    def __init__(self, chunk_type: str, chunk_id: str, message: str) -> None:
        super().__init__(message)
        self.chunk_type = chunk_type
        self.chunk_id = chunk_id


class MessageConversionError(ChatrtError):
    """A UI message cannot be shown to a model."""

    code = "message-conversion"


class UnstorableLocalError(ChatrtError):
    """The durable value of a local cannot be written as JSON, or not be read again; nothing of it was stored."""

    code = "unstorable-local"

    def __init__(self, local_id: str, reason: str) -> None:
        super().__init__(f"local {local_id!r} cannot be stored: {reason}")
        self.local_id = local_id
        self.reason = reason


class ToolError(ChatrtError):
    """A tool failed; its text is shown to the model. Raise it to say to the model what went wrong."""

    code = "tool-error"


class InvalidToolInputError(ToolError):
    """The model's arguments do not fit the tool."""

    code = "invalid-tool-input"
    status = 400

    def __init__(self, tool_name: str, reason: str) -> None:
        super().__init__(f"Invalid input for tool {tool_name}: {reason}")
        self.tool_name = tool_name
        self.reason = reason


class NoSuchToolError(ToolError):
    """The model called a tool that was not offered."""

    code = "no-such-tool"
    status = 400

    def __init__(self, tool_name: str, available: list[str]) -> None:
        names = ", ".join(available)
        known = f"Available tools: {names}." if names else "No tools are available."
        super().__init__(f"Model tried to call unavailable tool '{tool_name}'. {known}")
        self.tool_name = tool_name
        self.available = available


class ToolServerUnavailableError(ToolError):
    """The server that has the tool cannot be reached, or was lost before it answered."""

    code = "tool-server-unavailable"
    status = 503
    retryable = True

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"the MCP server {server} is not available: {reason}")
        self.server = server
        self.reason = reason


# --- what clients meet ----------------------------------------------------------------------------------------------


class RemoteError(ChatrtError):
    """A server refused a request with a code that has no class of its own here.

    Attributes:
        remote_code: The server's code; empty when the answer was not chatrt's.
        remote_status: The HTTP status of the answer.
        error_id: What the server's log calls this error; empty when it did not say.
    """

    code = "remote-error"
    status = 502

    def __init__(self, message: str, *, remote_code: str = "", remote_status: int = 0, error_id: str = "") -> None:
        super().__init__(message)
        self.remote_code = remote_code
        self.remote_status = remote_status
        self.error_id = error_id


class ServerUnavailableError(RemoteError):
    """The server cannot be reached, or broke off and did not come back in time."""

    code = "server-unavailable"
    status = 503
    retryable = True


class MalformedStreamError(RemoteError):
    """What came over a stream of records is none, or holds one that is larger than its reader takes."""

    code = "malformed-stream"

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a stream of records: {reason}")
        self.reason = reason


class TurnFailedError(ChatrtError):
    """The turn that was waited for failed or was interrupted; what was answered until then is in the history.

    Attributes:
        turn_code: The code of what failed; `turn-interrupted` when the run that served the turn died.
        error_id: What the server's log calls this error; empty when it did not say.
    """

    code = "turn-failed"

    def __init__(self, message: str, *, turn_code: str, error_id: str = "") -> None:
        super().__init__(message)
        self.turn_code = turn_code
        self.error_id = error_id


class UsageError(ChatrtError):
    """chatrt is used wrongly by the program around it: a bug to fix, not a state to handle."""

    code = "usage"


class InvalidSkillError(UsageError):
    """A skill cannot be loaded.

    Attributes:
        file: Its `SKILL.md`.
        field: The field of the front matter that is missing, if that is why.
    """

    code = "invalid-skill"

    def __init__(self, file: Path, reason: str, *, field: str | None = None) -> None:
        super().__init__(f"{file} is no skill: {reason}")
        self.file = file
        self.field = field
