"""The table of behaviour: complete, truthful, and the one that is committed."""

from __future__ import annotations

import pytest

from tests.behaviour import table
from tests.behaviour.table import Assertion, Found, Item


@pytest.fixture(scope="module")
def found() -> Found:
    return table.find_tests()


def test_every_assertion_and_every_item_is_answered(found: Found):
    """Each has a test that exists, a decision that exists, or is known to be open; no marker names what is not there."""
    sections, items = table.load_checklist()

    assert table.find_faults(table.load_assertions(), items, found, table.load_decisions()) == []
    assert table.find_gaps(sections, items) == []


def test_the_assertions_are_219():
    """The numbers go from 1 to 219 without a hole."""
    assert [assertion.number for assertion in table.load_assertions()] == list(range(1, 220))


def test_the_page_is_up_to_date(found: Found):
    """docs/behaviour.md is what `make behaviour` writes."""
    assert table.PAGE.read_text(encoding="utf-8") == table.page(found), "run `make behaviour`"


def test_nothing_is_open_in_the_end(found: Found):
    """Once chatrt is finished, no assertion and no item is open, nor marked as open."""
    assertions, (_, items) = table.load_assertions(), table.load_checklist()
    answers = [*assertions, *items]
    waiting = [_name(answer) for answer in answers if table.is_open(answer, found, assertions)]
    print(f"{len(waiting)} open:", ", ".join(waiting))  # shown with -rP
    marked = [_name(answer) for answer in answers if answer.open]

    assert not table.FINISHED or (waiting, marked) == ([], [])


def _name(answer: table.Answer) -> str:
    return str(answer.number) if isinstance(answer, Assertion) else f"{answer.section}.{answer.of}"  # type: ignore[attr-defined]


# --- the table can fail


SOURCE = """
import pytest

@pytest.mark.behaviour(1, 2)
def test_a(): ...

class TestB:
    @pytest.mark.parametrize("x", [1])
    @pytest.mark.behaviour(3)
    async def test_b(self, x): ...

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.behaviour(4))])
def test_c(x): ...

def test_d(): ...
"""


def read(source: str) -> Found:
    tests: dict[str, frozenset[int]] = {}
    faults: list[str] = []
    table.read_tests("f.py", source, tests, faults)
    return Found(tests, faults)


def assertion(number: int = 1, **options) -> Assertion:
    return Assertion(**{"number": number, "heading": "H", "tag": "core", "says": "It is so.", **options})


def test_tests_are_found_with_their_numbers():
    """Functions, methods and single cases carry numbers; a test without a marker carries none."""
    assert read(SOURCE) == Found(
        {
            "f.py::test_a": frozenset({1, 2}),
            "f.py::TestB::test_b": frozenset({3}),
            "f.py::test_c": frozenset({4}),
            "f.py::test_d": frozenset(),
        },
        [],
    )


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.behaviour(1)\ndef helper(): ...",
        "pytestmark = pytest.mark.behaviour(1)",
        "@pytest.mark.behaviour(1)\nclass TestA:\n    def test_a(self): ...",
        "@pytest.mark.behaviour()\ndef test_a(): ...",
        "@pytest.mark.behaviour('1')\ndef test_a(): ...",
        "@pytest.mark.behaviour(True)\ndef test_a(): ...",
        "@pytest.mark.behaviour(*range(3))\ndef test_a(): ...",
        "@pytest.mark.behaviour(1, n=2)\ndef test_a(): ...",
    ],
)
def test_a_marker_that_says_nothing_is_found(source: str):
    """A marker stands on a test and holds numbers; anything else is a fault."""
    assert len(read(source).faults) == 1


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (assertion(9), "neither a test nor a decision"),
        (assertion(9, tests=["f.py::test_z"]), "no test f.py::test_z"),
        (assertion(9, left_out="No."), "only what belongs to a platform"),
        (assertion(9, instead="D99: no."), "no decision D99"),
        (assertion(9, tag="nice", open=True), "no tag"),
        (assertion(1), "stands twice"),
    ],
)
def test_a_fault_in_an_assertion_is_found(entry: Assertion, fault: str):
    """What is unanswered, names what is not there, or is left out without leave is a fault."""
    known = [assertion(number) for number in (1, 2, 3, 4)]

    (told,) = table.find_faults([*known, entry], [], read(SOURCE), {"D1"})

    assert fault in told


def test_an_item_of_an_open_assertion_is_open():
    """An item that names an assertion which is open has to say that it is open, and is so as long as that one is."""
    found, waiting = read(SOURCE), assertion(9, open=True)
    known = [*(assertion(number) for number in (1, 2, 3, 4)), waiting]
    silent = Item(section="1", of="1", numbers=[1], shown=[1, 9])
    flagged = Item(section="1", of="2", numbers=[2], shown=[1, 9], open=True)
    settled = Item(section="1", of="3", numbers=[3], shown=[1, 2], open=True)

    (told,) = table.find_faults(known, [silent, flagged, settled], found, set())

    assert told == "item 1.1: it names an assertion that is open"
    assert [table.is_open(item, found, known) for item in (flagged, settled)] == [True, False]


def test_an_unknown_number_is_found():
    """A marker with a number that no assertion has is a fault."""
    (told,) = table.find_faults([assertion(number) for number in (1, 2, 3)], [], read(SOURCE), set())

    assert told == "f.py::test_c: there is no assertion 4"


@pytest.mark.parametrize(
    ("rows", "whole"), [(["1-2", "3"], True), (["1, 3", "2"], True), (["1-2"], False), (["1-3", "3"], False)]
)
def test_a_gap_in_the_checklist_is_found(rows: list[str], whole: bool):
    """Each item of a section has exactly one row."""
    items = [Item(section="1", of=row, numbers=table._range(row), open=True) for row in rows]

    assert (table.find_gaps({"1": {"items": 3}}, items) == []) is whole


def test_an_assertion_is_open_until_a_test_carries_it():
    """The flag holds as long as there is no test; what an item lacks is open until its text goes."""
    found = read(SOURCE)

    assert not table.is_open(assertion(1, open=True), found)
    assert table.is_open(assertion(9, open=True), found)
    assert table.is_open(Item(section="1", of="1", numbers=[1], shown=[1], open="the rest"), found)


def test_a_row_says_what_answers():
    """The page has the decision, the tests and what is open, each on a line of the cell."""
    found = read(SOURCE)
    item = Item(section="1", of="1", numbers=[1], says="So.", shown=[1, 2, 3], instead="D1: not so.", open="a | b")

    written = table.render([assertion(1)], {"1": {"title": "T", "items": 1}}, [item], found)

    assert "| 1 | It is so. | `f.py::test_a` |" in written
    assert "| 1.1 | So. | D1: not so.<br>1-3<br>**open**: a \\| b |" in written
    assert "1 assertions: 1 shown by tests, 0 answered by a decision alone, 0 open." in written
