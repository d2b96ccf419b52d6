"""Skills as they lie on disk."""

from __future__ import annotations

import pytest

from chatrt.errors import InvalidSkillError, UsageError
from chatrt.skills import Skill, load_skills, skills_preamble


def front(*lines: str) -> str:
    return "\n".join(("---", *lines, "---", "Body."))


# --- one skill


@pytest.mark.behaviour(176, 181)
def test_the_front_matter_gives_name_and_description(write):
    """A skill has the name and the description of its front matter, the text below it, and its folder."""
    path = write("---\nname: refunds\ndescription: Refund an order.\n---\n\n# Refunds\n\nBe kind.\n")

    skill = Skill.load(path)

    assert (skill.name, skill.description) == ("refunds", "Refund an order.")
    assert skill.body == "# Refunds\n\nBe kind."
    assert skill.path == path.resolve()


def test_the_file_itself_may_be_named(write):
    """A skill is loaded by its folder or by its `SKILL.md`."""
    path = write(front("name: a", "description: b"))
    assert Skill.load(path / "SKILL.md") == Skill.load(str(path))


@pytest.mark.behaviour(177)
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"Refund: an order"', "Refund: an order"),
        ("'It''s an order'", "It's an order"),
        (r'"a \"b\" \\c"', r'a "b" \c'),
        ('"# no comment" # a comment', "# no comment"),
        ('"one" and "two"', '"one" and "two"'),
        ("Use when: there is an order", "Use when: there is an order"),
        ("An order # a comment", "An order"),
        ("Issue#7", "Issue#7"),
        (">\n  An order\n  to refund.", "An order to refund."),
        ("|-\n  An order\n  to refund.", "An order\nto refund."),
        ("An order\n  to refund.", "An order to refund."),
        ("\n  An order", "An order"),
        ('"An order\n  to refund"', "An order to refund"),
    ],
)
def test_values_are_read_as_yaml_has_them(write, written: str, read: str):
    """Quotes are stripped, comments ignored, blocks and indented lines joined; a colon is text."""
    assert Skill.load(write(front("name: a", f"description: {written}"))).description == read


def test_other_fields_are_no_obstacle(write):
    """Fields of other programs, lists and nested ones too, and comments are passed over."""
    path = write(
        front(
            "# A comment",
            "license: MIT",
            "metadata:",
            "  name: nested",
            "tools:",
            "- a",
            "",
            "name: a",
            "description: b",
        )
    )
    assert Skill.load(path).name == "a"


def test_windows_wrote_it(write):
    """CRLF and a byte order mark change nothing."""
    path = write("\ufeff---\r\nname: a\r\ndescription: b\r\n---\r\nBody.\r\n")
    assert Skill.load(path) == Skill(name="a", description="b", body="Body.", path=path.resolve())


@pytest.mark.behaviour(178)
@pytest.mark.parametrize("text", ["", "# Refunds\n", "name: a\ndescription: b\n", "---\nname: a\ndescription: b\n"])
def test_without_a_block_it_is_no_skill(write, text: str):
    """A file without front matter, or with one that has no end, is refused by an error that names the file."""
    path = write(text)
    with pytest.raises(InvalidSkillError, match="front matter") as caught:
        Skill.load(path)
    assert caught.value.file == path / "SKILL.md"
    assert str(path / "SKILL.md") in str(caught.value)


@pytest.mark.behaviour(179, 180)
@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        (["description: b"], "name"),
        (["name: a"], "description"),
        (["name: a", "description:"], "description"),
        (["name: '' # empty", "description: b"], "name"),
    ],
)
def test_a_missing_field_is_named(write, lines: list[str], missing: str):
    """A front matter without a name or a description is refused by an error that names the file and the field."""
    with pytest.raises(InvalidSkillError, match=missing) as caught:
        Skill.load(write(front(*lines)))
    assert caught.value.field == missing


@pytest.mark.behaviour(182)
def test_a_missing_file_is_named(tmp_path):
    """Where there is no `SKILL.md` the error says where it was looked for."""
    with pytest.raises(InvalidSkillError, match=r"nowhere/SKILL\.md is no skill: it cannot be read: No such file"):
        Skill.load(tmp_path / "nowhere")


def test_other_encodings_are_refused(write):
    """A file that is not UTF-8 is no skill."""
    path = write("")
    (path / "SKILL.md").write_bytes(b"---\nname: \xe9\n---\n")
    with pytest.raises(InvalidSkillError, match="UTF-8"):
        Skill.load(path)


# --- several


def test_a_folder_of_skills_is_loaded_in_order(write, tmp_path):
    """Every folder that holds a `SKILL.md` is a skill; others are none."""
    for name in ("b", "a"):
        write(front(f"name: skill-{name}", "description: d"), folder=name)
    (tmp_path / "skills" / "notes").mkdir()
    assert [skill.name for skill in load_skills(tmp_path / "skills")] == ["skill-a", "skill-b"]


def test_a_missing_folder_is_an_error(tmp_path):
    """A folder that is not there is a mistake, not a folder without skills."""
    with pytest.raises(UsageError, match="nowhere"):
        load_skills(tmp_path / "nowhere")


@pytest.mark.behaviour(184)
def test_the_preamble_lists_what_there_is(write):
    """The system text names each skill and what it is for, in one line, and holds no instructions of it."""
    skills = [Skill.load(write(front("name: refunds", "description: |", "  Refund", "  an order.")))]
    preamble = skills_preamble(skills)
    assert preamble.splitlines()[-1] == "- refunds: Refund an order."
    assert "load_skill" in preamble
    assert "Body." not in preamble


def test_without_skills_there_is_no_preamble():
    """No skills, no words about them."""
    assert skills_preamble([]) == ""
