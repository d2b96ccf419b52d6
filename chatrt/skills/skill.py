"""A skill as it lies on disk: a folder with a `SKILL.md`, whose front matter says what the skill is for.

    ---
    name: refunds
    description: Decide whether an order may be refunded, and refund it.
    ---
    Read `references/policy.md` first. ...

The front matter is the part of YAML that such files use: `key: value` lines at the margin, values in quotes or without,
`>` and `|` blocks, lines that are indented under a value and go on with it, and comments. Lists and nested keys are
read as text, so that files with fields of other programs can be loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from chatrt.errors import InvalidSkillError, UsageError

SKILL_FILE = "SKILL.md"

_FENCE = re.compile(r"---[ \t]*")
_FIELD = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*:(?:[ \t]+(.*)|)$")
_BLOCK = re.compile(r"([|>])[-+1-9]*")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')[ \t]*(?:#.*)?""")
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*$")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}

PREAMBLE = """\
You have skills: instructions and files for certain tasks. When a task is one that a skill is for, call load_skill \
with the skill's name before you begin, and follow what it says. read_file reads the files that it mentions.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Instructions for a kind of task, and files that belong to them.

    Attributes:
        name: What the model calls it.
        description: What it is for; stands in the prompt.
        body: The instructions, Markdown.
        path: Its folder, absolute.
    """

    name: str
    description: str
    body: str = field(repr=False)
    path: Path

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a skill.

        Args:
            path: Its folder, or its `SKILL.md`.

        Raises:
            InvalidSkillError: If there is no such file, it has no front matter, or `name` or `description` is missing.
        """
        given = Path(path)
        file = given if given.name == SKILL_FILE else given / SKILL_FILE
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidSkillError(file, "it is not UTF-8") from None
        except OSError as error:
            raise InvalidSkillError(file, f"it cannot be read: {error.strerror}") from error
        fields, body = _split(file, text)
        for name in ("name", "description"):
            if not fields.get(name):
                raise InvalidSkillError(file, f"its front matter has no {name}", field=name)
        return cls(
            name=" ".join(fields["name"].split()),
            description=fields["description"],
            body=body.strip(),
            path=file.parent.resolve(),
        )


def load_skills(directory: Path | str) -> list[Skill]:
    """Read every skill of a folder: each folder in it that holds a `SKILL.md`, in the order of their names.

    Raises:
        UsageError: If there is no such folder.
        InvalidSkillError: If one of them cannot be read; see `Skill.load`.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    return [Skill.load(file) for file in sorted(folder.glob(f"*/{SKILL_FILE}"))]


def skills_preamble(skills: Iterable[Skill]) -> str:
    """Return what the system text says of skills: their names, and what each is for. Empty without skills."""
    lines = [f"- {skill.name}: {' '.join(skill.description.split())}" for skill in skills]
    return PREAMBLE + "\n".join(lines) if lines else ""


def _split(file: Path, text: str) -> tuple[dict[str, str], str]:
    lines = text.splitlines()
    if not lines or not _FENCE.fullmatch(lines[0]):
        raise InvalidSkillError(file, "it does not begin with front matter between two lines of ---")
    end = next((number for number, line in enumerate(lines[1:], 1) if _FENCE.fullmatch(line)), None)
    if end is None:
        raise InvalidSkillError(file, "its front matter has no end: a line of ---")
    return _read_fields(lines[1:end]), "\n".join(lines[end + 1 :])


def _read_fields(lines: list[str]) -> dict[str, str]:
    """Read fields; the first of two with the same name counts."""
    fields: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if found := _FIELD.fullmatch(line):
            current = [found[2] or ""]
            fields.setdefault(found[1], current)
        elif not line.strip() or line[0] in " \t":
            current.append(line.strip())
    return {name: _read_value(value) for name, value in fields.items()}


def _read_value(lines: list[str]) -> str:
    first, *more = lines
    if block := _BLOCK.fullmatch(_COMMENT.sub("", first).strip()):
        return ("\n" if block[1] == "|" else " ").join(more).strip()
    if quoted := _QUOTED.fullmatch(" ".join(line for line in (first.strip(), *more) if line)):
        return _unescape(quoted[1]) if quoted[1] is not None else quoted[2].replace("''", "'")
    plain = (_COMMENT.sub("", line).strip() for line in lines)
    return " ".join(line for line in plain if line)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), text)
