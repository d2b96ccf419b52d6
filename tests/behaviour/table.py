"""Writes docs/behaviour.md: what users of such a runtime expect, and the test or the decision that answers it.

`assertions.toml` has the numbered assertions, which tests name in the marker `behaviour`; `checklist.toml` has what
the runtime is made of, item by item. Tests are found by reading their files, not by importing them. Run it with
`make behaviour`; `test_table.py` sees to it that nothing is missing and that the page is the one that this writes.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "behaviour.md"
SUITE = "chatrt/testing/store_suite"

FINISHED = True
"""Whether nothing may be open any more."""

TAGS = ("core", "adv", "platform")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What chatrt makes of an assertion or an item: at least one of these is there."""

    says: str = ""
    instead: str = ""
    left_out: str = ""
    tests: Sequence[str] = ()
    shown: Sequence[int] = ()
    open: bool | str = False


@dataclass(frozen=True, kw_only=True)
class Assertion(Answer):
    """A numbered assertion; its tests are those of the file and those that carry its number."""

    number: int
    heading: str
    tag: str


@dataclass(frozen=True, kw_only=True)
class Item(Answer):
    """Some items of a section of the checklist."""

    section: str
    numbers: Sequence[int]
    of: str


@dataclass(frozen=True)
class Found:
    """The tests of the repository by their ids, each with the numbers it carries, and what is wrong with markers."""

    tests: Mapping[str, frozenset[int]] = field(default_factory=dict)
    faults: Sequence[str] = ()

    def showing(self, number: int) -> list[str]:
        """The tests that carry a number."""
        return sorted(name for name, numbers in self.tests.items() if number in numbers)


# --- what is there


def find_tests(root: Path = ROOT) -> Found:
    """Read every test file; ids are paths below `tests/`, those of the store suite paths from the root."""
    tests: dict[str, frozenset[int]] = {}
    faults: list[str] = []
    for path in sorted((*root.glob("tests/**/test_*.py"), *root.glob(f"{SUITE}/*.py"))):
        if "node_modules" in path.parts:
            continue
        name = path.relative_to(root).as_posix().removeprefix("tests/")
        read_tests(name, path.read_text(encoding="utf-8"), tests, faults)
    return Found(tests, faults)


def read_tests(name: str, source: str, tests: dict[str, frozenset[int]], faults: list[str]) -> None:
    """Add the tests of one file, and say which markers stand on nothing or hold no numbers."""
    tree = ast.parse(source)
    marked = {id(call) for call in _markers(tree)}
    for prefix, node, inherited in _test_functions(tree.body):
        numbers = set(inherited)
        for call in (call for decorator in node.decorator_list for call in _markers(decorator)):
            marked.discard(id(call))
            numbers |= _numbers(call, f"{name}::{prefix}{node.name}", faults)
        tests[f"{name}::{prefix}{node.name}"] = frozenset(numbers)
    faults += [f"{name}: a marker `behaviour` stands on something that is no test"] * len(marked)


def _test_functions(
    body: Sequence[ast.stmt],
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, frozenset[int]]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield "", node, frozenset()
        elif isinstance(node, ast.ClassDef):
            for _, test, inherited in _test_functions(node.body):
                yield f"{node.name}::", test, inherited


def _markers(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.behaviour"):
            yield node


def _numbers(call: ast.Call, where: str, faults: list[str]) -> set[int]:
    numbers = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and type(arg.value) is int]
    if not numbers or len(numbers) != len(call.args) or call.keywords:
        faults.append(f"{where}: the marker `behaviour` takes numbers")
    return {number for number in numbers if isinstance(number, int)}


def load_assertions() -> list[Assertion]:
    """Read assertions.toml."""
    tables = tomllib.loads((Path(__file__).parent / "assertions.toml").read_text(encoding="utf-8"))
    return [
        Assertion(number=int(number), heading=heading, **entry)
        for heading, entries in tables.items()
        for number, entry in entries.items()
    ]


def load_checklist() -> tuple[dict[str, dict[str, Any]], list[Item]]:
    """Read checklist.toml: the sections, and the rows of all of them."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(
        (Path(__file__).parent / "checklist.toml").read_text(encoding="utf-8")
    )
    items = [
        Item(section=section, numbers=_range(str(row["of"])), **row)
        for section, table in tables.items()
        for row in table["rows"]
    ]
    return tables, items


def _range(text: str) -> list[int]:
    numbers: list[int] = []
    for piece in text.replace(" ", "").split(","):
        first, _, last = piece.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def load_decisions() -> set[str]:
    """Read which decisions CONTRIBUTING.md lists."""
    return set(re.findall(r"^\| (D\d+) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE))


# --- what is wrong


def tests_of(answer: Answer, found: Found) -> list[str]:
    """The tests that show an answer."""
    numbers = [answer.number] if isinstance(answer, Assertion) else answer.shown
    shown = [test for number in numbers for test in found.showing(number)]
    return list(dict.fromkeys([*answer.tests, *shown]))


def is_open(answer: Answer, found: Found, assertions: Sequence[Assertion] = ()) -> bool:
    """Whether something is missing.

    A text says what. A flag holds for an assertion until a test carries it, and for an item until none of the
    assertions that it names is open.
    """
    if isinstance(answer.open, str):
        return True
    if isinstance(answer, Item) and answer.shown:
        return any(is_open(assertion, found) for assertion in assertions if assertion.number in answer.shown)
    return answer.open and not tests_of(answer, found)


def find_faults(assertions: Sequence[Assertion], items: Sequence[Item], found: Found, decisions: set[str]) -> list[str]:
    """Say what does not fit together; an empty list if all does."""
    faults = list(found.faults)
    numbers = [assertion.number for assertion in assertions]
    faults += [f"assertion {number} stands twice" for number in sorted({n for n in numbers if numbers.count(n) > 1})]
    known = set(numbers)
    for test, carried in found.tests.items():
        faults += [f"{test}: there is no assertion {number}" for number in sorted(carried - known)]
    for assertion in assertions:
        where = f"assertion {assertion.number}"
        if assertion.tag not in TAGS:
            faults.append(f"{where}: {assertion.tag!r} is no tag")
        if assertion.left_out and assertion.tag != "platform":
            faults.append(f"{where}: only what belongs to a platform may be left out")
        faults += _answer_faults(where, assertion, found, decisions)
    for item in items:
        where = f"item {item.section}.{item.of}"
        faults += [f"{where}: there is no assertion {number}" for number in item.shown if number not in known]
        if is_open(item, found, assertions) and not item.open:
            faults.append(f"{where}: it names an assertion that is open")
        faults += _answer_faults(where, item, found, decisions)
    return faults


def _answer_faults(where: str, answer: Answer, found: Found, decisions: set[str]) -> list[str]:
    faults = [f"{where}: there is no test {test}" for test in answer.tests if test not in found.tests]
    named = re.findall(r"\bD\d+\b", f"{answer.instead} {answer.left_out}")
    faults += [f"{where}: there is no decision {name}" for name in named if name not in decisions]
    waits = isinstance(answer, Item) and bool(answer.shown)
    if not (tests_of(answer, found) or answer.instead or answer.left_out or answer.open or waits):
        faults.append(f"{where}: neither a test nor a decision answers it")
    return faults


def find_gaps(sections: Mapping[str, Mapping[str, Any]], items: Sequence[Item]) -> list[str]:
    """Say which items of the checklist have no row, or more than one."""
    faults: list[str] = []
    for section, table in sections.items():
        numbers = sorted(number for item in items if item.section == section for number in item.numbers)
        if numbers != list(range(1, table["items"] + 1)):
            faults.append(f"section {section}: the rows are about {numbers}, not each of 1 to {table['items']} once")
    return faults


# --- the page

HEAD = """\
# Behaviour

What users of a chat-agent runtime expect, and what answers it here: tests that show it, or a decision that says what
chatrt does in its place. `make behaviour` writes this page from the marker `behaviour` of the tests and from two files
in `tests/behaviour/`. Tests are named from `tests/` on; decisions are those of [CONTRIBUTING.md](../CONTRIBUTING.md).
"""


def render(
    assertions: Sequence[Assertion], sections: Mapping[str, Mapping[str, Any]], items: Sequence[Item], found: Found
) -> str:
    """Return the page."""
    lines = [HEAD, "## Assertions", ""]
    lines += [_count(assertions, found), ""]
    heading = ""
    for assertion in assertions:
        if assertion.heading != heading:
            heading = assertion.heading
            lines += ["", f"### {heading}", "", "| | | |", "| --- | --- | --- |"]
        lines.append(f"| {assertion.number} | {_cell(assertion.says)} | {_answered(assertion, found)} |")
    lines += ["", "## Checklist", "", "What the runtime is made of, item by item; a number is an assertion above."]
    for section, table in sections.items():
        lines += ["", f"### {section} {table['title']}", "", "| | | |", "| --- | --- | --- |"]
        lines += [
            f"| {section}.{item.of} | {_cell(item.says)} | {_answered(item, found, assertions)} |"
            for item in items
            if item.section == section
        ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _count(assertions: Sequence[Assertion], found: Found) -> str:
    shown = sum(1 for assertion in assertions if tests_of(assertion, found))
    waiting = sum(1 for assertion in assertions if is_open(assertion, found))
    decided = len(assertions) - shown - waiting
    return (
        f"{len(assertions)} assertions: {shown} shown by tests, {decided} answered by a decision alone, {waiting} open."
    )


def _answered(answer: Answer, found: Found, assertions: Sequence[Assertion] = ()) -> str:
    pieces: list[str] = []
    if answer.instead:
        pieces.append(_cell(answer.instead))
    if answer.left_out:
        pieces.append(f"left out: {_cell(answer.left_out)}")
    if isinstance(answer, Item) and answer.shown:
        pieces.append(_spans(answer.shown))
    tests = answer.tests if isinstance(answer, Item) else tests_of(answer, found)
    pieces += [f"`{test}`" for test in tests]
    if is_open(answer, found, assertions):
        pieces.append(f"**open**: {_cell(answer.open)}" if isinstance(answer.open, str) else "**open**")
    return "<br>".join(pieces)


def _spans(numbers: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ", ".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0]) for span in spans)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page(found: Found | None = None) -> str:
    """Return the page as it should be now."""
    sections, items = load_checklist()
    return render(load_assertions(), sections, items, found or find_tests())


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
