"""A collected response is what `createUIMessageStream` keeps in persistence mode."""

from __future__ import annotations

from chatrt.errors import UIMessageStreamError
from chatrt.ui import ResponseCollector

VECTORS = "persist"


def test_what_is_sent_and_kept_is_what_the_ai_sdk_sends_and_keeps(case):
    """The chunks that go out, the message at the end of each step, and the conversation in the end are the same."""
    originals = case.get("originalMessages", [])
    collector = ResponseCollector(originals, message_id=case["generatedId"])
    emitted, step_ends, failed = [], [], False
    for chunk in case["chunks"]:
        try:
            emitted.append(collector.feed(chunk))
        except UIMessageStreamError:
            failed = True
            break
        if chunk["type"] == "finish-step":
            step = {"responseMessage": collector.response_message, "isContinuation": collector.is_continuation}
            step_ends.append(step)
    assert emitted == case["emitted"]
    assert step_ends == case["stepEnds"]
    assert failed == ("error" in case)
    end = {
        "messages": collector.messages,
        "responseMessage": collector.response_message,
        "isContinuation": collector.is_continuation,
        "isAborted": collector.is_aborted,
    }
    if collector.finish_reason is not None:
        end["finishReason"] = collector.finish_reason
    # The AI SDK reports no end when the stream broke.
    assert case.get("end") in (end, None) if failed else end == case["end"]
