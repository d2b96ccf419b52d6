"""Model messages: what a language model is shown, in the shape of the AI SDK's `ModelMessage` (ai 7.0.173).

    role       content
    system     str
    user       list of text {text} and file {mediaType, data, filename?} parts, or str
    assistant  list of text, reasoning, file, reasoning-file, custom, tool-call {toolCallId, toolName, input,
               providerExecuted?}, tool-approval-request {approvalId, toolCallId, ...},
               tool-result (of tools the provider ran), or str
    tool       list of tool-result {toolCallId, toolName, output: {type, value}} and
               tool-approval-response {approvalId, approved, reason?, providerExecuted?}

Any message and part may carry `providerOptions`.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class ModelMessage(TypedDict):
    """One row of a prompt; `content` is a text or a list of parts, see the table of this module."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Any
    providerOptions: NotRequired[dict[str, Any]]
