"""The chat page of the demo in Chromium: streaming, reload, kill of the server, undo, edit, approvals."""

from __future__ import annotations

import pytest

from tests.e2e.browser import play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def demo(start_server):
    """The demo as `make demo` serves it, a little faster."""
    return start_server("examples/01_demo.py:app", CHATRT_DEMO_PAUSE="0.02")


@pytest.fixture
def drive(node, demo):
    """Play a scenario in a new browser; keyword arguments say what to do when the script asks for something."""
    return lambda scenario, **please: play(node, "page.mjs", scenario, demo.url, **please)


def test_a_reload_in_mid_answer_shows_the_whole_answer_once(drive):
    """A person types, sees words arrive, reloads, and reads the question and the whole answer, once."""
    seen = drive("reload")
    assert seen["grew"]
    assert seen["restored"] == ["Tell me a story"]
    assert (seen["titles"], seen["middles"], seen["ends"]) == (1, 1, 1)
    assert seen["users"] == ["Tell me a story"]
    assert seen["answers"] == 1
    assert seen["again"] == 2


def test_undo_takes_back_the_last_question(drive):
    """Tools are shown, and undo takes back a question with its answer."""
    seen = drive("undo")
    assert seen["tools"] == ["add", "get_weather"]
    assert seen["before"] == 4
    assert seen["after"] == ["What is 17.5 + 24.5?"]


def test_a_question_and_an_approval_are_answered_on_the_page(drive):
    """The agent asks, shows what it wants to do, and does it or leaves it."""
    seen = drive("approve")
    assert seen["factsApprove"] == ["Trattoria da Nino", "4", "19:30"]
    assert seen["factsDeny"] == seen["factsApprove"]
    assert seen["answers"] == 2


def test_edit_regenerate_stop_and_a_failure(drive):
    """A question is changed, an answer given again, another stopped, a failure told; the chat goes on."""
    seen = drive("edit")
    assert seen["edited"] == ["What is 20 + 3?"]
    assert seen["regenerated"] == 2
    assert seen["stopped"] == 0
    assert "part of the demo" in seen["problem"]


def test_a_killed_server_is_survived_on_screen(drive, demo):
    """The server dies in mid-answer: what was seen stays, what is said meanwhile is answered once it is back."""
    seen = drive("kill", kill=demo.kill, start=demo.start)
    assert seen["users"] == ["Tell me a story", "What is 1 + 1?"]
    assert seen["kept"] == 1
    assert seen["answers"] == 2
    assert "That makes 2." in seen["last"]


def test_two_windows_show_the_same_chat(drive):
    """What one window says and hears, the other shows too."""
    first, second = drive("two")["both"]
    assert first == second
    assert first["users"] == ["What is 3 + 4?", "Tell me a story"]
    assert (first["titles"], first["ends"], first["answers"]) == (1, 1, 2)


def test_the_page_fits_a_phone(drive):
    """On a phone nothing is wider than the screen, and the chats are behind a button."""
    seen = drive("phone")
    assert not seen["wide"]
    assert seen["recent"] == ["Help me, please"]
