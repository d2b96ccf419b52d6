"""UI message chunks: the increments a message is streamed in (ai 7.0.173).

Chunks by `type` (`?` marks keys that are absent rather than null; `PM` is
`providerMetadata?`, `TOOL` is `providerExecuted?, toolMetadata?, dynamic?, title?`):

    start                    messageId?, messageMetadata?
    finish                   finishReason?, messageMetadata?
    message-metadata         messageMetadata
    abort                    reason?
    error                    errorText
    start-step, finish-step, reset-step
    text-start               id, PM                 reasoning-start   id, PM
    text-delta               id, delta, PM          reasoning-delta   id, delta, PM
    text-end                 id, citations?, PM     reasoning-end     id, PM
    source-url               sourceId, url, title?, PM
    source-document          sourceId, mediaType, title, filename?, PM
    file, reasoning-file     url, mediaType, PM
    custom                   kind, PM
    tool-input-start         toolCallId, toolName, inputEncoding?, TOOL, PM
    tool-input-delta         toolCallId, inputTextDelta
    tool-input-available     toolCallId, toolName, input, TOOL, PM
    tool-input-error         the same and errorText
    tool-approval-request    approvalId, toolCallId, approvalDescriptor?, inputSchemaInput?,
                             reason?, isAutomatic?, signature?
    tool-approval-response   approvalId, approved, reason?, providerExecuted?, PM
    tool-output-available    toolCallId, output, preliminary?, providerExecuted?, toolMetadata?, dynamic?, PM
    tool-output-error        toolCallId, errorText, providerExecuted?, toolMetadata?, dynamic?, PM
    tool-output-denied       toolCallId
    steering-message         id, parts
    data-<name>              id?, data, transient?
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class UIMessageChunk(TypedDict, extra_items=Any):
    """One increment of a streamed message; what else it holds depends on `type`, see the table of this module."""

    type: str
