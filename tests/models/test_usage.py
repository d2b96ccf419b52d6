"""Token usage."""

from chatrt.models import Usage


def test_what_both_miss_stays_missing_and_what_one_misses_counts_as_nothing():
    """Addition never invents a number and never loses one."""
    total = Usage(input_tokens=2, cache_read_tokens=1) + Usage(input_tokens=3, output_tokens=4)
    assert total == Usage(input_tokens=5, output_tokens=4, cache_read_tokens=1)


def test_a_finish_part_gives_the_total_of_both_sides():
    """The usage of a finish part is read with its details, and its total is input and output."""
    usage = Usage.from_finish(
        {
            "inputTokens": {"total": 5, "noCache": 3, "cacheRead": 2, "cacheWrite": 1},
            "outputTokens": {"total": 7, "text": 4, "reasoning": 3},
        }
    )
    assert usage == Usage(
        input_tokens=5,
        output_tokens=7,
        total_tokens=12,
        no_cache_tokens=3,
        cache_read_tokens=2,
        cache_write_tokens=1,
        text_tokens=4,
        reasoning_tokens=3,
    )


def test_no_usage_is_no_numbers():
    """A provider that says nothing leaves every field missing."""
    assert Usage.from_finish(None) == Usage()
    assert Usage().to_json() == {}


def test_json_leaves_out_what_is_missing_and_comes_back_the_same():
    """to_json has the AI SDK's camelCase shape, and from_json reads it."""
    usage = Usage(input_tokens=1, total_tokens=1, cache_read_tokens=1, reasoning_tokens=0)
    written = usage.to_json()
    assert written == {
        "inputTokens": 1,
        "totalTokens": 1,
        "inputTokenDetails": {"cacheReadTokens": 1},
        "outputTokenDetails": {"reasoningTokens": 0},
    }
    assert Usage.from_json(written) == usage
