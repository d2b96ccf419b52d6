"""The rules of messages and chunks: pure functions over JSON-shaped values, no I/O."""

from __future__ import annotations

from chatrt.ui.assemble import assemble, read_ui_message_stream
from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.compaction import find_compaction_place, is_compaction_safe
from chatrt.ui.complete import (
    last_assistant_message_is_complete_with_approval_responses,
    last_assistant_message_is_complete_with_tool_calls,
)
from chatrt.ui.convert import convert_to_model_messages
from chatrt.ui.merge import (
    cleanup_aborted_parts,
    find_answered_message,
    merge_by_id,
    overlay_tool_states,
    slim_message,
    upsert_incoming_message,
)
from chatrt.ui.messages import (
    UIMessage,
    UIPart,
    get_tool_name,
    is_data_part,
    is_dynamic_tool_part,
    is_file_part,
    is_reasoning_part,
    is_static_tool_part,
    is_text_part,
    is_tool_part,
    last_text,
    message_text,
)
from chatrt.ui.model_messages import ModelMessage
from chatrt.ui.partial_json import ParseState, parse_json, parse_partial_json
from chatrt.ui.persist import ResponseCollector
from chatrt.ui.reducer import MessageReducer
from chatrt.ui.repair import repair_model_messages
from chatrt.ui.replay import rebuild_chunks
from chatrt.ui.segments import (
    INJECTED,
    ModelRows,
    Segment,
    convert_segments,
    expand_injected,
    injected_chunk,
)
from chatrt.ui.smooth import smooth_stream
from chatrt.ui.tool_answers import check_tool_answers
from chatrt.ui.validate import validate_incoming_message, validate_ui_message, validate_ui_messages
from chatrt.ui.validate_chunk import validate_chunk

__all__ = [
    "INJECTED",
    "MessageReducer",
    "ModelMessage",
    "ModelRows",
    "ParseState",
    "ResponseCollector",
    "Segment",
    "UIMessage",
    "UIMessageChunk",
    "UIPart",
    "assemble",
    "check_tool_answers",
    "cleanup_aborted_parts",
    "convert_segments",
    "convert_to_model_messages",
    "expand_injected",
    "find_answered_message",
    "find_compaction_place",
    "get_tool_name",
    "injected_chunk",
    "is_compaction_safe",
    "is_data_part",
    "is_dynamic_tool_part",
    "is_file_part",
    "is_reasoning_part",
    "is_static_tool_part",
    "is_text_part",
    "is_tool_part",
    "last_assistant_message_is_complete_with_approval_responses",
    "last_assistant_message_is_complete_with_tool_calls",
    "last_text",
    "merge_by_id",
    "message_text",
    "overlay_tool_states",
    "parse_json",
    "parse_partial_json",
    "read_ui_message_stream",
    "rebuild_chunks",
    "repair_model_messages",
    "slim_message",
    "smooth_stream",
    "upsert_incoming_message",
    "validate_chunk",
    "validate_incoming_message",
    "validate_ui_message",
    "validate_ui_messages",
]
