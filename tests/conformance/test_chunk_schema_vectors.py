"""`validate_chunk` takes and refuses what the schema of the real AI SDK takes and refuses."""

import pytest

from chatrt.errors import InvalidChunkError
from chatrt.ui import validate_chunk

VECTORS = "chunk_schema"


def test_a_chunk_is_taken_or_refused_as_by_the_ai_sdk(case):
    """A chunk is valid exactly when `uiMessageChunkSchema` says so, and comes back as it is."""
    if case["valid"]:
        assert validate_chunk(case["chunk"]) is case["chunk"]
    else:
        with pytest.raises(InvalidChunkError):
            validate_chunk(case["chunk"])
