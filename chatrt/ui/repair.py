"""Repairs a prompt: each tool call has one truthful result directly behind it, and no result stands alone (D12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from chatrt.ui.model_messages import ModelMessage

_UNKNOWN = "The result of this call is unknown: the call was interrupted."
_NOT_APPROVED = "This call was not carried out: nobody has approved it."

_PAIRED = frozenset({"tool-call", "tool-result", "tool-approval-request", "tool-approval-response"})

_Part = dict[str, Any]


_Place = tuple[int, int]
"""Where a part stands: the index of its row, its index in the row."""


@dataclass(slots=True)
class _Call:
    """A tool call of a prompt and what belongs to it."""

    row: int
    part: _Part
    requested: bool = False
    response: _Part | None = None
    response_row: int = -1
    result: _Part | None = None
    result_row: int = -1

    @property
    def by_provider(self) -> bool:
        return self.part.get("providerExecuted") is True


@dataclass(slots=True)
class _Pairing:
    """Which parts belong together.

    Attributes:
        calls: The calls of each assistant row, by the row's index.
        owners: The call each tool part belongs to; a tool part that is not in here stands alone.
    """

    calls: dict[int, list[_Call]] = field(default_factory=dict[int, list[_Call]])
    owners: dict[_Place, _Call] = field(default_factory=dict[_Place, _Call])


def repair_model_messages(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Return a prompt that every provider takes: tool calls and their results are paired.

    * Each call has exactly one result in the tool rows directly behind its assistant row; of several the first
      counts. Results that stand further on are moved there. A call of a tool the provider runs may have its result
      beside it in an assistant row.
    * A result or an approval part without its call is dropped, a call repeated in one row as well.
    * A call without a result gets one that tells the truth: denied, not approved, or unknown because interrupted.
      Only calls whose approval is answered in the last row of the prompt stay open; they run next.
    * Assistant rows that say nothing are dropped, and empty texts in them.

    Rows with nothing to mend are the same objects as before. Repairing twice equals repairing once.
    """
    rows = [trimmed for row in messages if (trimmed := _without_empty_texts(row)) is not None]
    pairing = _pair(rows)
    repaired: list[ModelMessage] = []
    index = 0
    while index < len(rows):
        role = rows[index]["role"]
        end = index + 1
        if role == "assistant":
            end = _end_of_results(rows, end)
            repaired.extend(_repair_step(rows, index, end, pairing))
        elif role != "tool":
            repaired.append(rows[index])
        index = end
    return repaired


# --- who belongs to whom --------------------------------------------------------------------------------------------


def _pair(rows: list[ModelMessage]) -> _Pairing:
    """Find the call of each result and approval part: the newest one of that id before it."""
    pairing = _Pairing()
    newest: dict[str, _Call] = {}
    asked: dict[str, _Call] = {}
    for row_index, row in enumerate(rows):
        said = row["role"] == "assistant"
        if not said and row["role"] != "tool":
            continue
        for part_index, part in enumerate(_content(row)):
            match part["type"]:
                case "tool-call" if said:
                    owner = _pair_call(pairing, newest, row_index, part)
                case "tool-approval-request" if said:
                    owner = _pair_request(newest, asked, row_index, part)
                case "tool-approval-response" if not said:
                    owner = _pair_response(asked, row_index, part)
                case "tool-result":
                    owner = _pair_result(newest, row_index, part)
                case _:
                    owner = None
            if owner is not None:
                pairing.owners[row_index, part_index] = owner
    return pairing


def _pair_call(pairing: _Pairing, newest: dict[str, _Call], row: int, part: _Part) -> _Call | None:
    known = newest.get(part["toolCallId"])
    if known is not None and known.row == row:
        return None
    call = _Call(row, part)
    newest[part["toolCallId"]] = call
    pairing.calls.setdefault(row, []).append(call)
    return call


def _pair_request(newest: dict[str, _Call], asked: dict[str, _Call], row: int, part: _Part) -> _Call | None:
    call = newest.get(part["toolCallId"])
    known = asked.get(part["approvalId"])
    if call is None or call.row != row or (known is not None and known.row == row):
        return None
    call.requested = True
    asked[part["approvalId"]] = call
    return call


def _pair_response(asked: dict[str, _Call], row: int, part: _Part) -> _Call | None:
    call = asked.get(part["approvalId"])
    if call is None or call.response is not None:
        return None
    call.response, call.response_row = part, row
    return call


def _pair_result(newest: dict[str, _Call], row: int, part: _Part) -> _Call | None:
    call = newest.get(part["toolCallId"])
    if call is None or call.result is not None:
        return None
    call.result, call.result_row = part, row
    return call


# --- one step: an assistant row and the tool rows behind it ---------------------------------------------------------


def _repair_step(rows: list[ModelMessage], start: int, end: int, pairing: _Pairing) -> list[ModelMessage]:
    said = [
        part
        for index, part in enumerate(_content(rows[start]))
        if part["type"] not in _PAIRED
        or ((owner := pairing.owners.get((start, index))) and (part["type"] != "tool-result" or owner.by_provider))
    ]
    answers = {row: _answers_to(rows, row, start, pairing) for row in range(start + 1, end)}
    added: list[_Part] = []
    for call in pairing.calls.get(start, []):
        beside, behind = _missing(call, rows, end)
        said += beside
        added += behind
    kept = [row for row, content in answers.items() if content]
    if kept:
        answers[kept[-1]] += added
    repaired = [_with_content(rows[start], said)] if said or isinstance(rows[start]["content"], str) else []
    repaired += [_with_content(rows[row], answers[row]) for row in kept]
    if added and not kept:
        repaired.append({"role": "tool", "content": added})
    return repaired


def _answers_to(rows: list[ModelMessage], row: int, start: int, pairing: _Pairing) -> list[_Part]:
    """What a tool row holds for the calls of the assistant row `start`."""
    return [
        part
        for index, part in enumerate(_content(rows[row]))
        if (owner := pairing.owners.get((row, index))) is not None and owner.row == start
    ]


def _missing(call: _Call, rows: list[ModelMessage], end: int) -> tuple[list[_Part], list[_Part]]:
    """What has to be added for a call: beside it in the assistant's row, and behind it in a tool row."""
    beside: list[_Part] = []
    behind: list[_Part] = []
    if call.response is not None and call.response_row >= end:
        behind.append(call.response)
    place = beside if call.by_provider else behind
    if call.result is None:
        runs_next = end == len(rows) and call.response_row == end - 1
        if not runs_next:
            place.append(_truthful_result(call))
    elif rows[call.result_row]["role"] == "assistant":
        if not call.by_provider:
            behind.append(call.result)
    elif call.result_row >= end:
        place.append(call.result)
    return beside, behind


def _truthful_result(call: _Call) -> _Part:
    output: dict[str, Any]
    if call.response is not None and call.response.get("approved") is False:
        output = {"type": "execution-denied"}
        if "reason" in call.response:
            output["reason"] = call.response["reason"]
    elif call.requested and call.response is None:
        output = {"type": "error-text", "value": _NOT_APPROVED}
    else:
        output = {"type": "error-text", "value": _UNKNOWN}
    return {
        "type": "tool-result",
        "toolCallId": call.part["toolCallId"],
        "toolName": call.part["toolName"],
        "output": output,
    }


# --- rows -----------------------------------------------------------------------------------------------------------


def _without_empty_texts(row: ModelMessage) -> ModelMessage | None:
    """An assistant row without texts that say nothing; None if nothing is left of it."""
    if row["role"] != "assistant":
        return row
    if isinstance(row["content"], str):
        return row if row["content"] else None
    kept = [part for part in _content(row) if part["type"] != "text" or part["text"] != "" or "providerOptions" in part]
    return _with_content(row, kept) if kept else None


def _content(row: ModelMessage) -> list[_Part]:
    content = row["content"]
    return cast("list[_Part]", content) if isinstance(content, list) else []


def _with_content(row: ModelMessage, content: list[_Part]) -> ModelMessage:
    """The row with that content, and the row itself if it has it already."""
    before = _content(row)
    same = len(before) == len(content) and all(old is new for old, new in zip(before, content, strict=True))
    return row if same else {**row, "content": content}


def _end_of_results(rows: list[ModelMessage], start: int) -> int:
    """The index behind the tool rows that stand at `start`."""
    while start < len(rows) and rows[start]["role"] == "tool":
        start += 1
    return start
