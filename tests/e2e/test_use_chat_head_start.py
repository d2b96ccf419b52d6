"""The published `useChat` hooks, unmodified, against the playbook with a head start: the page sees what it always sees."""

from __future__ import annotations

import pytest

from tests.e2e.test_use_chat import (
    run,
    run_with_approvals,
    test_a_client_tool_continues_the_same_message,
    test_a_message_is_answered,
    test_a_reload_in_mid_answer_loses_and_repeats_nothing,
    test_a_second_message_finds_the_first,
    test_a_server_tool_is_shown_with_its_result,
    test_after_stop_a_new_message_is_answered_at_once,
    test_an_approved_tool_runs,
    test_an_exception_is_masked,
    test_reasoning_comes_before_the_text,
)

__all__ = [
    "run",
    "run_with_approvals",
    "test_a_client_tool_continues_the_same_message",
    "test_a_message_is_answered",
    "test_a_reload_in_mid_answer_loses_and_repeats_nothing",
    "test_a_second_message_finds_the_first",
    "test_a_server_tool_is_shown_with_its_result",
    "test_after_stop_a_new_message_is_answered_at_once",
    "test_an_approved_tool_runs",
    "test_an_exception_is_masked",
    "test_reasoning_comes_before_the_text",
]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url(start_server) -> str:
    """The playbook with a slow boot and a head start."""
    return start_server("tests/e2e/head_start_app.py:app").url
