"""What the encoder sends is accepted by every published version of `ai`, as `ai_versions.json` has it.

The data were made by running the packages: see `probe_ai_versions.mjs`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatrt import codec
from chatrt.stores import Record
from chatrt.ui import validate_chunk
from chatrt.wires.chunk_encoder import ChunkEncoder
from chatrt.wires.chunk_versions import STOCK, Dialect, all_dialects, parse_version
from tests.conformance.conftest import load

_DATA = json.loads((Path(__file__).parent / "ai_versions.json").read_text())
VERSIONS = {version: _DATA[facts] if isinstance(facts, str) else facts for version, facts in _DATA.items()}
NEWEST = VERSIONS["7.0.173"]

FIELDS: dict[str, list[Any]] = {
    "finishReason": NEWEST["finishReasons"],
    "inputEncoding": ["json", "text"],
    "citations": [[], [{"source": {"type": "source", "sourceType": "url", "id": "s", "url": "https://e.com/"}}]],
    "parts": [[], [{"type": "text", "text": "hi"}]],
    "providerMetadata": [{"p": {"k": [1, None]}}, {}],
    "toolMetadata": [{"k": {"n": 1}}],
    **{key: [None, "text", {"k": [1]}] for key in ("input", "output", "data")},
    **{key: [{"k": 1}, 1] for key in ("messageMetadata", "approvalDescriptor", "inputSchemaInput")},
    **{
        key: [True, False]
        for key in ("dynamic", "providerExecuted", "preliminary", "isAutomatic", "approved", "transient")
    },
}


REQUIRED = {
    "message-metadata": ("messageMetadata",),
    "error": ("errorText",),
    **dict.fromkeys(("text-start", "text-end", "reasoning-start", "reasoning-end"), ("id",)),
    **dict.fromkeys(("text-delta", "reasoning-delta"), ("id", "delta")),
    "source-url": ("sourceId", "url"),
    "source-document": ("sourceId", "mediaType", "title"),
    **dict.fromkeys(("file", "reasoning-file"), ("url", "mediaType")),
    "custom": ("kind",),
    "tool-input-start": ("toolCallId", "toolName"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
    "tool-input-available": ("toolCallId", "toolName", "input"),
    "tool-input-error": ("toolCallId", "toolName", "input", "errorText"),
    "tool-approval-request": ("approvalId", "toolCallId"),
    "tool-approval-response": ("approvalId", "approved"),
    "tool-output-available": ("toolCallId", "output"),
    "tool-output-error": ("toolCallId", "errorText"),
    "tool-output-denied": ("toolCallId",),
    "steering-message": ("id", "parts"),
    "data-x": ("data",),
}


def generated() -> Iterator[dict[str, Any]]:
    """Every type with all its keys, and with many choices among them."""
    dice = random.Random(5)
    for kind, keys in NEWEST["chunks"].items():
        for share in (1.0, *(dice.random() for _ in range(40))):
            chunk = {"type": kind, **{key: dice.choice(FIELDS.get(key, ["a", "b"])) for key in keys}}
            yield {
                key: value
                for key, value in chunk.items()
                if key == "type" or key in REQUIRED.get(kind, ()) or dice.random() < share
            }


def corpus() -> list[list[dict[str, Any]]]:
    """Streams of chunks: what the real AI SDK was seen to read and to send, and generated ones."""
    streams = [[case["chunk"]] for case in load("chunk_schema") if case["valid"]]
    streams += [case["chunks"] for name in ("reducer_hand", "reducer_random", "server_traces") for case in load(name)]
    streams += [case["emitted"] for case in load("persist")]
    return [*streams, *([chunk] for chunk in generated())]


CORPUS = corpus()


def encoded(stream: list[dict[str, Any]], dialect: Dialect) -> Iterator[dict[str, Any]]:
    """What a reader is sent of a stream."""
    encoder = ChunkEncoder(dialect)
    for seq, chunk in enumerate(stream, 1):
        for frame in encoder.record(Record(seq, 0, "chunk", codec.dumps(chunk))).split(b"\n\n"):
            if frame:
                yield json.loads(frame.removeprefix(b"data: "))


def complaint(chunk: dict[str, Any], facts: dict[str, Any]) -> str | None:
    """Why a version refuses a chunk; None if it takes it."""
    kind = "data-x" if chunk["type"].startswith("data-") else chunk["type"]
    known = facts["chunks"].get(kind)
    if known is None:
        return f"no type {kind}"
    if not facts["unknownKeys"] and (unknown := chunk.keys() - {"type", *known}):
        return f"no {sorted(unknown)} in {kind}"
    if "finishReason" in chunk and chunk["finishReason"] not in facts["finishReasons"]:
        return f"no finish reason {chunk['finishReason']}"
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_is_what_the_version_accepts(version: str):
    """No type and no field is sent that a version refuses, and none is kept from it that it takes."""
    facts, dialect = VERSIONS[version], parse_version(version)
    fields = {kind: {*keys, "type"} for kind, keys in facts["chunks"].items() if kind != "data-x"}
    assert {kind: set(keys) for kind, keys in dialect.fields.items()} == fields
    assert dialect.plain_outputs == facts["follows"]["plainOutputOfDynamicCall"]
    assert dialect.block_beyond_step == facts["follows"]["blockBeyondStep"]
    assert dialect.second_message == facts["follows"]["secondMessageOnResume"]
    assert dialect.interrupted == ("interrupted" in facts["finishReasons"])


def test_the_data_have_both_sides_of_every_border():
    """Each dialect begins with a version that was run, and ends with one."""
    names = [dialect.name for dialect in all_dialects() if dialect is not STOCK]
    assert set(names) <= VERSIONS.keys()
    versions = list(VERSIONS)
    for name in names:
        line, _, patch = name.rpartition(".")
        if patch != "0":
            assert versions[versions.index(name) - 1] == f"{line}.{int(patch) - 1}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_chunk_is_accepted(version: str):
    """Whatever chunks an agent sends, no client of a version that is named gives up on one."""
    for stream in CORPUS:
        for chunk in encoded(stream, parse_version(version)):
            assert complaint(chunk, VERSIONS[version]) is None, chunk


@pytest.mark.parametrize(
    "version", [version for version, facts in VERSIONS.items() if facts["unknownKeys"] and version > "6"]
)
def test_every_chunk_of_stock_is_accepted(version: str):
    """Who says no version gets what all of v6 and v7 take that let unknown keys through."""
    for stream in CORPUS:
        for chunk in encoded(stream, STOCK):
            assert complaint(chunk, VERSIONS[version]) is None, chunk


def test_the_corpus_has_what_matters():
    """What is generated are chunks that 7.0.173 takes, every key of every type among them."""
    kinds: dict[str, set[str]] = {}
    for chunk in generated():
        validate_chunk(chunk)
        kinds.setdefault(chunk["type"], set()).update(chunk)
    assert kinds == {kind: {"type", *keys} for kind, keys in NEWEST["chunks"].items()}
