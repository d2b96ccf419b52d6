"""`ChatrtTransport` of @chatrt/client under the published `useChat` hooks of ai 5, 6 and 7, over the native wire."""

from __future__ import annotations

import pytest

from tests.e2e.test_use_chat import (
    VERSIONS,
    Run,
    runner,
    test_a_client_tool_continues_the_same_message,
    test_a_client_tool_may_give_an_object,
    test_a_continued_message_is_resumed_whole,
    test_a_denied_tool_does_not_run,
    test_a_message_is_answered,
    test_a_page_that_kept_the_partial_answer_resumes_it,
    test_a_reload_in_mid_answer_loses_and_repeats_nothing,
    test_a_second_message_finds_the_first,
    test_a_server_tool_is_shown_with_its_result,
    test_after_stop_a_new_message_is_answered_at_once,
    test_an_approved_tool_runs,
    test_an_edited_message_takes_the_place_of_what_followed,
    test_an_exception_is_masked,
    test_confirm_denied,
    test_confirm_says_what_was_done,
    test_data_parts_are_updated_in_place,
    test_files_are_parts,
    test_metadata_reach_the_message,
    test_reasoning_comes_before_the_text,
    test_regenerate_gives_another_answer,
    test_sources_are_parts,
)

__all__ = [
    "test_a_client_tool_continues_the_same_message",
    "test_a_client_tool_may_give_an_object",
    "test_a_continued_message_is_resumed_whole",
    "test_a_denied_tool_does_not_run",
    "test_a_message_is_answered",
    "test_a_page_that_kept_the_partial_answer_resumes_it",
    "test_a_reload_in_mid_answer_loses_and_repeats_nothing",
    "test_a_second_message_finds_the_first",
    "test_a_server_tool_is_shown_with_its_result",
    "test_after_stop_a_new_message_is_answered_at_once",
    "test_an_approved_tool_runs",
    "test_an_edited_message_takes_the_place_of_what_followed",
    "test_an_exception_is_masked",
    "test_confirm_denied",
    "test_confirm_says_what_was_done",
    "test_data_parts_are_updated_in_place",
    "test_files_are_parts",
    "test_metadata_reach_the_message",
    "test_reasoning_comes_before_the_text",
    "test_regenerate_gives_another_answer",
    "test_sources_are_parts",
]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url(start_server) -> str:
    """One playbook for all scenarios: each has a chat of its own."""
    return start_server("chatrt.testing.playbook:app").url


@pytest.fixture(params=VERSIONS, ids=[f"ai{version}" for version in VERSIONS])
def run(request, node, url) -> Run:
    """Run a scenario that the stock transport passes, too."""
    return runner(request.param, node, url, "chatrt")


@pytest.fixture(params=VERSIONS[1:], ids=[f"ai{version}" for version in VERSIONS[1:]])
def run_with_approvals(request, node, url) -> Run:
    """The same for the versions that know approvals."""
    return runner(request.param, node, url, "chatrt")
