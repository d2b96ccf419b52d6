"""Event streams are read as the AI SDK's transport reads them, up to the first chunk it refuses."""

from __future__ import annotations

import pytest

from chatrt.errors import InvalidChunkError, InvalidJSONError
from chatrt.sse import SSEDecoder
from chatrt.ui import parse_json, validate_chunk

VECTORS = "sse_decode"
ERRORS = {InvalidJSONError: "AI_JSONParseError", InvalidChunkError: "AI_TypeValidationError"}


def read_chunks(pieces) -> tuple[list[dict], str | None]:
    """Return the chunks in the pieces of bytes, and what the AI SDK calls the error that ended them."""
    decoder = SSEDecoder()
    chunks = []
    for piece in pieces:
        for event in decoder.decode(piece):
            if event.data == "[DONE]":
                continue
            try:
                chunks.append(validate_chunk(parse_json(event.data)))
            except (InvalidJSONError, InvalidChunkError) as error:
                return chunks, ERRORS[type(error)]
    return chunks, None


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_chunks_and_the_error_are_those_of_the_ai_sdk(case, size):
    """However the bytes are cut, the same chunks come out and the same kind of error ends them."""
    data = case["text"].encode()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert read_chunks(pieces) == (case["chunks"], case.get("errorName"))
