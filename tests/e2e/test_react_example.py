"""The React example in Chromium, over a line that is cut and to a server that is killed."""

from __future__ import annotations

import pytest

from tests.e2e.browser import play
from tests.served import ROOT

EXAMPLE = ROOT / "examples" / "13_react"
STORY = {"parts": [1, 1, 1, 1], "users": ["Tell me a story"]}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def serve(start_server):
    """Start the example as `make react` serves it, faster."""
    assert (EXAMPLE / "dist" / "index.html").is_file(), "the page is not built: make .make/react"
    return lambda **env: start_server(f"{EXAMPLE / 'server.py'}:app", **{"CHATRT_DEMO_PAUSE": "0.01", **env})


@pytest.fixture(scope="module")
def example(serve):
    return serve()


@pytest.fixture
def drive(node, example):
    """Play a scenario in a new browser; keyword arguments say what to do when the script asks for something."""
    return lambda scenario, **please: play(node, "react.mjs", scenario, example.url, **please)


def test_a_reload_in_mid_answer_shows_the_whole_answer_once(drive):
    """Screen readers hear it as a whole; what was typed, or sent and did not arrive, is still there after the reload."""
    seen = drive("reload")
    assert seen["grew"]
    assert (seen["draft"], seen["unsent"]) == ("a draft", "This never arrives")
    assert seen["whole"] == STORY
    assert seen["again"] == 2
    assert (seen["announced"], seen["said"]) == ("The guide is answering", 1)


def test_tools_thoughts_and_markdown_are_shown(drive):
    """Calls and thoughts can be opened; what a model writes becomes text and links, and nothing that runs."""
    seen = drive("tools")
    assert [text.split() for text in seen["opened"]] == [
        ["{", '"city":', '"Oslo"', "}"],
        ["{", '"city":', '"Oslo",', '"celsius":', "13,", '"sky":', '"sunny"', "}"],
    ]
    assert seen["folded"] is None
    assert "I should weigh it" in seen["thought"]
    assert seen["dangerous"] == 0
    assert seen["links"] == ["https://example.com/"]
    assert seen["cells"] == ["Night train", "21:04", "08:15", "Day train", "09:30", "16:48"]
    assert "return [thing" in seen["code"]


def test_questions_and_approvals_are_answered(drive):
    """By mouse and by keyboard, after a reload too; the focus goes back to where one writes."""
    seen = drive("approvals")
    assert seen["Approve"] == ["Trattoria da Nino", "4", "19:30"]
    assert seen["Deny"] == ["Trattoria da Nino", "5", "19:30"]
    assert (seen["focusApprove"], seen["focusDeny"]) == ("composer-input", "composer-input")
    assert seen["answers"] == 2


def test_the_history_is_edited_switched_and_taken_back(drive):
    """Arrow-up edits, versions are counted and switched, undo and rollback take back."""
    seen = drive("history")
    assert seen["offered"] == "What is the weather in Oslo?"
    assert seen["edited"] == ["What is the weather in Rome?"]
    assert seen["switched"] == ["What is the weather in Oslo?"]
    assert seen["undone"] == ["What is the weather in Rome?"]
    assert seen["rolledBack"] == ["What is the weather in Rome?"]
    assert seen["focus"] == "composer-input"


def test_messages_steer_wait_change_and_are_taken_back(drive):
    """What is said during an answer goes into it or waits in a list, and is answered as it stands then."""
    seen = drive("steering")
    assert seen["users"] == ["Plan a weekend in Lisbon", "Think about owls", "Think about dogs"]
    assert seen["added"] == ["only by train please"]
    assert seen["kept"] == 1
    assert seen["answers"] == 3


def test_answers_are_stopped_and_failures_tried_again(drive):
    """Esc and the button stop; a failure is told, and the next try takes its place."""
    seen = drive("stop")
    assert seen["stopped"] == 0
    assert seen["focus"] == "composer-input"
    assert "part of the demo" in seen["problem"]
    assert seen["found"] == []
    assert seen["left"] == 0
    assert seen["users"] == ["Tell me a story", "Tell me a longer story", "Fail once"]


def test_two_tabs_see_everything_and_ask_in_turn(drive):
    """While one asks, the other sees the words come and is told so; what it says waits, and it may ask and stop next."""
    seen = drive("tabs")
    said = ["What is the weather in Oslo?", "Tell me a story", "Think about tabs"]
    assert seen["fixed"]
    assert seen["found"] == []
    assert seen["both"] == [{"parts": [1, 1, 1, 1], "users": said}] * 2
    assert seen["users"] == [said, said]


def test_a_tab_that_is_closed_hands_over(drive):
    """The answer goes on in the other tab, which may ask afterwards."""
    seen = drive("handover")
    assert seen["whole"] == STORY
    assert seen["users"] == ["Tell me a story", "Think about doors"]


def test_a_cut_line_is_survived(drive):
    """Nothing is lost or twice after a cut; what is said offline is sent once the network is back."""
    seen = drive("cut")
    assert seen["whole"] == STORY
    assert seen["found"] == []
    assert seen["users"] == ["Tell me a story", "Think about islands"]
    assert seen["answers"] == 2


def test_a_chat_that_is_left_goes_on(drive):
    """Who shows another chat in mid-answer finds the whole answer later; a closed chat can be read, and no more."""
    seen = drive("leave")
    assert seen["whole"] == STORY
    assert seen["disabled"]


def test_a_killed_server_is_survived(drive, example):
    """What was seen stays and is marked as interrupted; what is said meanwhile is answered once the server is back."""
    seen = drive("kill", kill=example.kill, start=example.start)
    assert seen["users"] == ["Tell me a story", "What is the weather in Oslo?"]
    assert (seen["kept"], seen["ends"], seen["answers"]) == (1, 0, 2)


def test_a_token_that_ends_is_renewed(node, serve):
    """An answer outlives the token that it was asked with; nobody notices."""
    server = serve(CHATRT_SECRET_KEY="the-secret-of-this-test", CHATRT_TOKEN_TTL="1", CHATRT_DEMO_PAUSE="0.03")
    seen = play(node, "react.mjs", "token", server.url)
    assert seen["whole"] == STORY
    assert seen["minted"] >= 1
    assert seen["users"] == ["Tell me a story", "Think about keys"]


def test_a_slow_line_only_makes_it_slower(drive):
    """What was said is shown at once, and the answer is whole."""
    seen = drive("slow")
    assert seen["took"] < 2000
    assert seen["whole"] == STORY


def test_the_page_fits_a_phone_in_the_dark(drive):
    """Nothing is wider than the screen; the theme can be chosen and is kept."""
    seen = drive("phone")
    assert seen["widths"] == [False, False, False]
    assert seen["found"] == []
    assert seen["chats"] == ["Show me Markdown"]
    assert seen["light"] != seen["background"]
    assert seen["kept"] == seen["light"]


def test_axe_finds_nothing_serious(node, serve):
    """In every main state, and in those with the most colours in the dark, too."""
    server = serve(CHATRT_DEMO_PAUSE="0.04")  # axe takes its time, and looks at an answer in the middle
    assert {state: found for state, found in play(node, "react.mjs", "axe", server.url).items() if found} == {}


def test_keyboard_scroll_and_chats(drive):
    """Shift+Enter begins a line; the scroll follows until the reader goes up; chats are listed and found again."""
    seen = drive("frame")
    assert seen["following"] < 4
    assert seen["letGo"]
    assert seen["back"] < 4
    assert seen["said"] == "Tell me\na story"
    assert (seen["focus"], seen["skipped"]) == ("composer-input", "composer-input")
    assert seen["listed"] == ["Think about the sea", "Tell me a story"]
